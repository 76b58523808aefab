//! An interface whose packets have no link-layer header, as those of tunnels.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::fd::AsRawFd,
};

use anyhow::{Context, Result};

use crate::netns::Netns;

/// The other end of a `tun` interface, which ends with it.
#[derive(Debug)]
pub struct Tunnel(File);

impl Tunnel {
    /// Makes the interface `name` in `netns`, up.
    pub fn open(netns: &Netns, name: &str) -> Result<Self> {
        let file = netns.run(|| make(name));
        let file = file.with_context(|| format!("make {name} in {}", netns.name()))?;
        netns.ip(&format!("link set {name} up"))?;
        Ok(Self(file))
    }

    /// Puts an IP packet into it.
    pub fn send(&self, packet: &[u8]) -> Result<()> {
        (&self.0).write_all(packet).context("send into a tunnel")
    }
}

fn make(name: &str) -> io::Result<File> {
    /// The part of `struct ifreq` that is read, and room for the rest of it.
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        flags: libc::c_short,
        _rest: [u8; 22],
    }
    let mut request = Request {
        name: [0; libc::IFNAMSIZ],
        flags: (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short,
        _rest: [0; 22],
    };
    for (byte, letter) in request.name.iter_mut().zip(name.bytes()) {
        *byte = letter;
    }
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: the request is a whole `struct ifreq`, and outlives the call.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    if made == 0 { Ok(file) } else { Err(io::Error::last_os_error()) }
}
