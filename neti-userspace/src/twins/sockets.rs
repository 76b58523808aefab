//! The kernel's sockets, by sock_diag(7).

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context, Result, bail};
use neti_common::{
    family::V4,
    maps::{Flow, Tuple},
};
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

/// All TCP and UDP sockets of this network namespace that have a peer, as flows.
pub fn connected() -> Result<BTreeSet<Flow<V4>>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG).context("opening sock_diag")?;
    socket.bind_auto().context("binding sock_diag")?;
    socket.connect(&SocketAddr::new(0, 0)).context("connecting sock_diag")?;
    let mut flows = BTreeSet::new();
    for protocol in [IPPROTO_TCP, IPPROTO_UDP] {
        dump(&socket, protocol, AF_INET, SocketId::new_v4(), &mut flows)?;
        // Dual-stack sockets name IPv4 peers as v4-mapped IPv6 addresses.
        dump(&socket, protocol, AF_INET6, SocketId::new_v6(), &mut flows)?;
    }
    Ok(flows)
}

fn dump(
    socket: &Socket,
    protocol: u8,
    family: u8,
    socket_id: SocketId,
    flows: &mut BTreeSet<Flow<V4>>,
) -> Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = InetRequest {
        family,
        protocol,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all() - StateFlags::LISTEN,
        socket_id,
    };
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0).context("asking sock_diag")?;
    loop {
        let (datagram, _) = socket.recv_from_full().context("reading sock_diag")?;
        let mut left = datagram.as_slice();
        while !left.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(left)
                .context("parsing sock_diag")?;
            match message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    flows.extend(flow(protocol, &response.header.socket_id));
                }
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => bail!("sock_diag: {error}"),
                _ => {}
            }
            // Messages are aligned to 4 bytes.
            let length = (message.header.length as usize).next_multiple_of(4);
            left = left.get(length.max(4)..).unwrap_or_default();
        }
    }
}

fn flow(protocol: u8, id: &SocketId) -> Option<Flow<V4>> {
    let (IpAddr::V4(own), IpAddr::V4(peer)) =
        (id.source_address.to_canonical(), id.destination_address.to_canonical())
    else {
        return None;
    };
    let tuple = Tuple {
        src: own.octets(),
        dst: peer.octets(),
        sport: id.source_port.to_be_bytes(),
        dport: id.destination_port.to_be_bytes(),
    };
    (id.destination_port != 0).then_some(Flow { tuple, protocol, _pad: [0; 3] })
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

    use super::*;

    const LOCALHOST: [u8; 4] = [127, 0, 0, 1];

    fn from_to(protocol: u8, from: u16, to: u16) -> Flow<V4> {
        let (sport, dport) = (from.to_be_bytes(), to.to_be_bytes());
        let tuple = Tuple { src: LOCALHOST, dst: LOCALHOST, sport, dport };
        Flow { tuple, protocol, _pad: [0; 3] }
    }

    #[test]
    fn finds_tcp_sockets_of_both_families() {
        for listen in ["127.0.0.1:0", "[::ffff:127.0.0.1]:0"] {
            let listener = TcpListener::bind(listen).unwrap();
            let server = listener.local_addr().unwrap().port();
            let socket = TcpStream::connect(SocketAddr::from((LOCALHOST, server))).unwrap();
            let _accepted = listener.accept().unwrap();
            let client = socket.local_addr().unwrap().port();
            let found = connected().unwrap();
            assert!(found.contains(&from_to(IPPROTO_TCP, client, server)), "{listen}: client");
            assert!(found.contains(&from_to(IPPROTO_TCP, server, client)), "{listen}: accepted");
        }
    }

    #[test]
    fn finds_udp_sockets_once_connected() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let has_port = |flow: &Flow<V4>| flow.tuple.sport == port.to_be_bytes();
        assert!(!connected().unwrap().iter().any(has_port));
        socket.connect("127.0.0.1:53").unwrap();
        assert!(connected().unwrap().contains(&from_to(IPPROTO_UDP, port, 53)));
    }
}
