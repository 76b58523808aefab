//! The kernel's TCP sockets, by sock_diag(7).

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
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

/// All TCP sockets of this network namespace but listeners, as flows.
pub fn tcp() -> Result<BTreeSet<Flow<V4>>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG).context("opening sock_diag")?;
    socket.bind_auto().context("binding sock_diag")?;
    socket.connect(&SocketAddr::new(0, 0)).context("connecting sock_diag")?;
    let mut flows = BTreeSet::new();
    dump(&socket, AF_INET, SocketId::new_v4(), &mut flows)?;
    // Dual-stack sockets name IPv4 peers as v4-mapped IPv6 addresses.
    dump(&socket, AF_INET6, SocketId::new_v6(), &mut flows)?;
    Ok(flows)
}

fn dump(
    socket: &Socket,
    family: u8,
    socket_id: SocketId,
    flows: &mut BTreeSet<Flow<V4>>,
) -> Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = InetRequest {
        family,
        protocol: IPPROTO_TCP,
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
                    flows.extend(flow(&response.header.socket_id));
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

fn flow(id: &SocketId) -> Option<Flow<V4>> {
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
    Some(Flow { tuple, protocol: IPPROTO_TCP, _pad: [0; 3] })
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn finds_sockets_of_both_kinds() {
        for listen in ["127.0.0.1:0", "[::ffff:127.0.0.1]:0"] {
            let listener = TcpListener::bind(listen).unwrap();
            let port = listener.local_addr().unwrap().port();
            let peer: SocketAddr = ([127, 0, 0, 1], port).into();
            let client = TcpStream::connect(peer).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            let client_port = client.local_addr().unwrap().port();
            let flow = |sport: u16, dport: u16| Flow {
                tuple: Tuple {
                    src: [127, 0, 0, 1],
                    dst: [127, 0, 0, 1],
                    sport: sport.to_be_bytes(),
                    dport: dport.to_be_bytes(),
                },
                protocol: IPPROTO_TCP,
                _pad: [0; 3],
            };
            let sockets = tcp().unwrap();
            assert!(sockets.contains(&flow(client_port, port)), "{listen}: client");
            assert!(sockets.contains(&flow(port, client_port)), "{listen}: accepted");
            drop(accepted);
        }
    }
}
