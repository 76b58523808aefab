//! Our own record: written, kept alive by touching it, removed at the end.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    fcntl::AT_FDCWD,
    sys::{
        stat::{UtimensatFlags, utimensat},
        time::TimeSpec,
    },
};
use tokio::{sync::oneshot, task::spawn_blocking, time::timeout};
use tracing::{info, warn};

use super::files;
use crate::membership::MemberRecord;

/// A record as it was written.
#[derive(Debug, Clone)]
pub struct Own {
    members: PathBuf,
    name: String,
    bytes: Vec<u8>,
}

/// Writes `record` with the time from which it holds its addresses.
pub fn announce(members: &Path, mut record: MemberRecord) -> Result<Own> {
    let name = record.id.to_string();
    let before = files::read(members, &name)?
        .and_then(|text| MemberRecord::parse(&name, text.as_bytes()).ok())
        .filter(|before| before.real_addresses() == record.real_addresses());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = now.as_millis() as u64;
    record.since = before.map_or(now, |before| before.since.min(now));

    let own = Own { members: members.to_owned(), name, bytes: serde_json::to_vec(&record)? };
    own.write()?;
    Ok(own)
}

/// Keeps the record alive, as [`super::Registration::start`] has it.
pub async fn keep(own: Own, period: Duration, mut withdrawn: oneshot::Receiver<()>) -> Result<()> {
    let mut failing = false;
    loop {
        let own = own.clone();
        match timeout(period, &mut withdrawn).await {
            Ok(Ok(())) => {
                return spawn_blocking(move || files::remove(&own.members, &own.name)).await?;
            }
            Ok(Err(_dropped)) => return Ok(()),
            Err(_elapsed) => {}
        }
        let touched = spawn_blocking(move || own.touch()).await?;
        // Said once, not at each beat.
        match &touched {
            Err(error) if !failing => warn!("our record cannot be kept alive: {error:#}"),
            Ok(()) if failing => info!("our record is kept alive again"),
            _ => {}
        }
        failing = touched.is_err();
    }
}

impl Own {
    fn write(&self) -> Result<()> {
        files::write(&self.members, &self.name, &self.bytes)
    }

    /// Touches the record; writes it again if somebody has removed it.
    fn touch(&self) -> Result<()> {
        let path = self.members.join(&self.name);
        let now = TimeSpec::UTIME_NOW;
        match utimensat(AT_FDCWD, &path, &now, &now, UtimensatFlags::FollowSymlink) {
            Ok(()) => Ok(()),
            Err(Errno::ENOENT) => self.write(),
            Err(errno) => {
                Err(errno).with_context(|| format!("{}: cannot be touched", path.display()))
            }
        }
    }
}
