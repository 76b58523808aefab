//! The kernel's sockets, by sock_diag(7).

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result};
use neti_common::{family::Family, maps::Flow};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};

use crate::netlink;

/// A socket that has a peer. Both ends are of one family: a dual-stack socket that speaks IPv4 does
/// so under IPv4 addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connected {
    pub protocol: u8,
    pub own: SocketAddr,
    pub peer: SocketAddr,
}

impl Connected {
    /// The socket of a flow.
    pub fn of<F: Family>(flow: &Flow<F>) -> Self {
        let end = |address, port| SocketAddr::new(F::to_ip(address), u16::from_be_bytes(port));
        Self {
            protocol: flow.transport(),
            own: end(&flow.src, flow.sport),
            peer: end(&flow.dst, flow.dport),
        }
    }
}

/// All TCP and UDP sockets of this network namespace that have a peer.
pub fn connected() -> Result<BTreeSet<Connected>> {
    let socket = netlink::open(NETLINK_SOCK_DIAG).context("opening sock_diag")?;
    let mut connected = BTreeSet::new();
    for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
        dump(&socket, protocol, AF_INET, SocketId::new_v4(), &mut connected)?;
        dump(&socket, protocol, AF_INET6, SocketId::new_v6(), &mut connected)?;
    }
    Ok(connected)
}

fn dump(
    socket: &Socket,
    protocol: u8,
    family: u8,
    socket_id: SocketId,
    connected: &mut BTreeSet<Connected>,
) -> Result<()> {
    let request = SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all() - StateFlags::LISTEN,
        socket_id,
    });
    let dumped = netlink::dump(socket, request, |found| {
        if let SockDiagMessage::InetResponse(response) = found? {
            connected.extend(ends(protocol, &response.header.socket_id));
        }
        Ok(())
    });
    dumped.context("sock_diag")
}

fn ends(protocol: u8, id: &SocketId) -> Option<Connected> {
    let end = |address: IpAddr, port| SocketAddr::new(address.to_canonical(), port);
    let (own, peer) =
        (end(id.source_address, id.source_port), end(id.destination_address, id.destination_port));
    (peer.port() != 0).then_some(Connected { protocol, own, peer })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use neti_common::family::V6;

    use super::*;

    #[test]
    fn finds_tcp_sockets_of_both_families() {
        for (listen, dial) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("[::ffff:127.0.0.1]:0", "127.0.0.1"),
            ("[::]:0", "127.0.0.1"),
            ("[::1]:0", "::1"),
        ] {
            let listener = TcpListener::bind(listen).unwrap();
            let port = listener.local_addr().unwrap().port();
            let peer = SocketAddr::new(dial.parse().unwrap(), port);
            let socket = TcpStream::connect(peer).unwrap();
            let _accepted = listener.accept().unwrap();
            let own = socket.local_addr().unwrap();
            let found = connected().unwrap();
            let client = Connected { protocol: IPPROTO_TCP, own, peer };
            let server = Connected { protocol: IPPROTO_TCP, own: peer, peer: own };
            assert!(found.contains(&client), "{listen}: client");
            assert!(found.contains(&server), "{listen}: accepted");
        }
    }

    #[test]
    fn finds_udp_sockets_once_connected() {
        for (bind, peer) in [("127.0.0.1:0", "127.0.0.1:53"), ("[::1]:0", "[::1]:53")] {
            let socket = UdpSocket::bind(bind).unwrap();
            let own = socket.local_addr().unwrap();
            assert!(!connected().unwrap().iter().any(|found| found.own == own));
            socket.connect(peer).unwrap();
            let peer = peer.parse().unwrap();
            let expected = Connected { protocol: IPPROTO_UDP, own, peer };
            assert!(connected().unwrap().contains(&expected));
        }
    }

    #[test]
    fn a_flow_is_named_as_its_socket_is() {
        let flow = Flow::<V6> {
            src: V6::of("fd64::7".parse().unwrap()).unwrap(),
            dst: V6::of("fd64::8".parse().unwrap()).unwrap(),
            sport: [0x9c, 0x40],
            dport: [0, 53],
            protocol: IPPROTO_UDP.into(),
        };
        let expected = Connected {
            protocol: IPPROTO_UDP,
            own: "[fd64::7]:40000".parse().unwrap(),
            peer: "[fd64::8]:53".parse().unwrap(),
        };
        assert_eq!(Connected::of(&flow), expected);
    }
}
