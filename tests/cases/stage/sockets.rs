//! The sockets of a case's world.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
};

use neti_common::{headers::TCP, model::OpenSocket};
use socket2::{Domain, Socket, Type};

use crate::scene::Scene;

/// Which sockets a world's are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sockets {
    /// Those of the family alone.
    OwnFamily,
    /// IPv6 sockets that IPv4 reaches too, by mapped addresses (RFC 3493 3.7).
    DualStack,
}

/// A socket of this namespace. Connections are made without a word on the wire (`TCP_REPAIR`).
pub fn open<F: Scene>(wanted: &OpenSocket<F>, of: Sockets) -> io::Result<Socket> {
    let named = |address: F::Addr| match F::to_ip(&address) {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) if of == Sockets::DualStack => {
            Ipv6Addr::UNSPECIFIED.into()
        }
        IpAddr::V4(address) if of == Sockets::DualStack => address.to_ipv6_mapped().into(),
        address => address,
    };
    let local = named(wanted.local.unwrap_or(F::UNSPECIFIED));
    let kind = if wanted.protocol == TCP { Type::STREAM } else { Type::DGRAM };
    let domain = if local.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, kind, None)?;
    socket.set_reuse_address(true)?;
    if local.is_ipv6() {
        socket.set_only_v6(of == Sockets::OwnFamily)?;
    }
    if wanted.protocol == TCP && wanted.peer.is_some() {
        repair(&socket)?;
    }
    socket.bind(&SocketAddr::from((local, wanted.port)).into())?;
    if let Some((peer, port)) = wanted.peer {
        socket.connect(&SocketAddr::from((named(peer), port)).into())?;
    } else if wanted.protocol == TCP {
        socket.listen(16)?;
    }
    Ok(socket)
}

fn repair(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option is an int, and its length is given.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_REPAIR,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
