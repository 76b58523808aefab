//! One neti per uplink and one per instance.
//!
//! The uplink's lock is an abstract unix socket: it belongs to the network namespace as the
//! interface does, vanishes with its process, and the kernel tells who listens on it. The
//! instance's lock is a file, because the instance's name is one in all namespaces that share a bpf
//! file system.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::MetadataExt,
            net::{SocketAddr, UnixListener, UnixStream},
        },
    },
    path::PathBuf,
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::socket::{getsockopt, sockopt::PeerCredentials},
};

use super::Uplink;
use crate::status;

/// Held as long as it lives.
#[derive(Debug)]
pub struct UplinkLock(#[expect(dead_code, reason = "held, not used")] UnixListener);

/// Takes the uplink or names the process that has it.
pub fn uplink(uplink: &Uplink) -> Result<UplinkLock> {
    let address = SocketAddr::from_abstract_name(format!("neti-uplink-{}", uplink.index))?;
    match UnixListener::bind_addr(&address) {
        Ok(listener) => Ok(UplinkLock(listener)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let name = &uplink.name;
            match holder(&address) {
                Some(pid) => bail!("uplink {name}: neti (pid {pid}) already runs on it"),
                None => bail!("uplink {name}: another neti already runs on it"),
            }
        }
        Err(error) => Err(error).with_context(|| format!("uplink {}: locking it", uplink.name)),
    }
}

fn holder(address: &SocketAddr) -> Option<i32> {
    let stream = UnixStream::connect_addr(address).ok()?;
    Some(getsockopt(&stream, PeerCredentials).ok()?.pid())
}

/// Held as long as it lives.
#[derive(Debug)]
pub struct InstanceLock {
    path: PathBuf,
    #[expect(dead_code, reason = "held, not used")]
    file: Flock<File>,
}

/// Takes the instance or names the process that has it.
pub fn instance(instance: &str) -> Result<InstanceLock> {
    let path = PathBuf::from(status::RUN).join(format!("{instance}.lock"));
    fs::create_dir_all(status::RUN).with_context(|| format!("creating {}", status::RUN))?;
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).with_context(|| format!("opening {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            // Removed by its last holder between our opening and our locking it: a lock on a file
            // that nobody else can find.
            Ok(file) if file.metadata()?.nlink() == 0 => continue,
            Ok(mut file) => {
                file.set_len(0)?;
                write!(file, "{}", std::process::id())
                    .with_context(|| format!("writing {}", path.display()))?;
                return Ok(InstanceLock { path, file });
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                file.read_to_string(&mut pid)?;
                bail!("instance {instance}: neti (pid {}) already runs it", pid.trim());
            }
            Err((_, error)) => {
                return Err(error).with_context(|| format!("locking {}", path.display()));
            }
        }
    }
}

impl Drop for InstanceLock {
    /// The file goes before the lock does, or somebody's next lock could lose its file.
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
