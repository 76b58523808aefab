//! What an interface does in the stack's place: checksums and segments. Asked for by ioctl (`linux/ethtool.h`), so that
//! no tool is needed.

use std::{io, mem::zeroed};

use anyhow::{Context, Result, ensure};

use crate::netns::Netns;

/// A feature of an interface, by the command that sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Offload {
    /// Checksums of what arrives (`ETHTOOL_SRXCSUM`).
    ReceiveChecksum = 0x15,
    /// Checksums of what leaves (`ETHTOOL_STXCSUM`).
    SendChecksum = 0x17,
    /// Cutting TCP streams in the device (`ETHTOOL_STSO`).
    TcpSegmentation = 0x1f,
    /// Cutting streams and datagrams just before the device (`ETHTOOL_SGSO`).
    Segmentation = 0x24,
    /// Joining what arrives (`ETHTOOL_SGRO`).
    Receive = 0x2c,
}

impl Offload {
    pub const ALL: [Self; 5] = [
        Self::ReceiveChecksum,
        Self::SendChecksum,
        Self::TcpSegmentation,
        Self::Segmentation,
        Self::Receive,
    ];

    /// Turns it on or off.
    pub fn set(self, netns: &Netns, interface: &str, on: bool) -> Result<()> {
        let what = || format!("set {self:?} of {interface} in {} to {on}", netns.name());
        Self::ask(netns, interface, self as u32, on.into()).with_context(what)?;
        // The command that reads is the one before the command that sets.
        let is = Self::ask(netns, interface, self as u32 - 1, 0).with_context(what)?;
        ensure!((is != 0) == on, "{}: it is {is}", what());
        Ok(())
    }

    fn ask(netns: &Netns, interface: &str, command: u32, data: u32) -> Result<u32> {
        #[repr(C)]
        struct Value {
            command: u32,
            data: u32,
        }
        let mut value = Value { command, data };
        // SAFETY: all zeros are a valid ifreq.
        let mut request: libc::ifreq = unsafe { zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        let address = &raw mut request as usize;
        let ioctl = || -> io::Result<()> {
            let socket = std::net::UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
            let socket = std::os::fd::AsRawFd::as_raw_fd(&socket);
            // SAFETY: the request and the value it points to live until the caller has this answer.
            let result = unsafe { libc::ioctl(socket, libc::SIOCETHTOOL as _, address) };
            if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        };
        netns.run(ioctl)?;
        Ok(value.data)
    }
}
