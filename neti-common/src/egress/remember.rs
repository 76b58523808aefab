//! What egress keeps of flows that begin: hints for those that no socket stands for, and other ports for twins.

use super::Leaving;
use crate::{
    demux::{Names, demux},
    family::Family,
    filter::{Admission, admission},
    headers::{Kind, TCP, Transport, UDP, flow},
    hints::{self, Kept},
    maps::{Ends, Flow, Path, Settings, Tuple},
    packet::Skb,
    tables::{Class, Socket, Tables},
    twins,
    verdict::Reason,
};

/// What becomes of a packet's source port on the wire.
#[derive(Clone, Copy)]
pub enum SourcePort {
    Own,
    /// Its flow has a twin and got this port (network order).
    Twin([u8; 2]),
    /// Its flow has a twin and must keep its port.
    Shared,
}

/// Keeps hints and separates twins; `Err` is why the packet cannot leave.
#[inline(always)]
pub fn remember<F: Family, P: Skb, T: Tables<F>>(
    packet: &P,
    tables: &T,
    settings: &Settings<F>,
    leaving: &Leaving<F>,
    transport: &Transport,
) -> Result<SourcePort, Reason> {
    let Leaving { ip, wire, .. } = *leaving;
    let Transport { sport, dport, kind } = *transport;
    let socket = flow(ip.protocol, Tuple { src: ip.src, dst: ip.dst, sport, dport });
    let forwarded = leaving.forwarded || (kind == Kind::TcpSyn && !has_socket(tables, &socket));
    let mut on_wire = flow(ip.protocol, Tuple { src: wire.own, dst: wire.peer, sport, dport });
    let mut port = SourcePort::Own;
    if has_ports(ip.protocol)
        && let Some(twin) = twins::outbound(tables, &socket)
    {
        port = SourcePort::Twin(twin);
        on_wire.tuple.sport = twin;
    }
    let hinted =
        hints::may_refresh(kind, forwarded) && !(kind == Kind::Udp && packet.is_connected());
    let begins = kind == Kind::TcpSyn && !forwarded;
    if !hinted && !begins {
        return Ok(port);
    }

    let path = match leaving.path {
        Some(path) => Some(path),
        None => tables.translated(&ip.dst).and_then(|member| tables.path(&member.overlays[0])),
    };
    let mut key = match path {
        Some(path) => hints::member_key(settings, &on_wire, &path.primary),
        None => on_wire,
    };
    let class = Class::of(forwarded, path.is_some());
    let ends = Ends { peer: ip.dst, own: ip.src };
    let kept = if hinted { hints::kept(tables, class, &key, &ends, kind) } else { Kept::None };
    let hint = match kept {
        Kept::Same => return Ok(port),
        Kept::Refreshed(hint) => hint,
        Kept::None => {
            if !hints::may_open(kind, forwarded) && !begins {
                return Ok(port);
            }
            let needed = match path {
                // What a peer may send to this port at any time needs no hint, or spoofed queries would fill the table.
                None => admission(tables, &ip.dst, ip.protocol, sport) == Admission::No,
                Some(path) => {
                    let names = Names::of(&on_wire, &path.primary, settings);
                    let named = kind == Kind::Udp
                        && !forwarded
                        && is_named(tables, settings, &key, &names, &ends);
                    if !named && has_ports(ip.protocol) && matches!(port, SourcePort::Own) {
                        port = separate(tables, settings, path, &socket, &key)?;
                    }
                    !named
                }
            };
            if !needed || !hinted {
                return Ok(port);
            }
            hints::opened(tables, &ends)
        }
    };
    if let SourcePort::Twin(twin) = port {
        key.tuple.sport = twin;
    }
    tables.keep_hint(class, &key, &hint);
    Ok(port)
}

/// Whether the answer to an unconnected socket's datagram would be given these names with nothing more written down.
#[inline(always)]
fn is_named<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    key: &Flow<F>,
    names: &Names<F>,
    ends: &Ends<F>,
) -> bool {
    match twins::inbound(tables, key) {
        Some(twin) => twin.ends == *ends,
        None => demux(tables, settings, key, names, Kind::Udp).ends == *ends,
    }
}

/// Whether a connection that begins here has a socket under the port that it leaves by: conntrack gives it another where
/// a container's masqueraded flow has the same, and it is then as good as forwarded.
#[inline(always)]
fn has_socket<F: Family, T: Tables<F>>(tables: &T, socket: &Flow<F>) -> bool {
    let Tuple { src, dst, sport, dport } = socket.tuple;
    let inbound = Tuple { src: dst, dst: src, sport: dport, dport: sport };
    matches!(tables.tcp_socket(&inbound), Socket::Live | Socket::HalfOpen)
}

#[inline(always)]
fn has_ports(protocol: u8) -> bool {
    protocol == TCP || protocol == UDP
}

/// The port of a flow to a member that begins. Two UDP users of one fixed port on both sides (NTP, gossip) are one tuple
/// by nature: another port would cut them off.
#[inline(always)]
fn separate<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    path: &Path<F>,
    socket: &Flow<F>,
    key: &Flow<F>,
) -> Result<SourcePort, Reason> {
    let Some(other) = twins::find(tables, settings, path, socket, key) else {
        twins::take_over(tables, socket, key);
        return Ok(SourcePort::Own);
    };
    if socket.protocol == UDP && socket.tuple.sport == socket.tuple.dport {
        return Ok(SourcePort::Shared);
    }
    match twins::separate(tables, settings, socket, key, &other) {
        Some(port) => Ok(SourcePort::Twin(port)),
        None => Err(Reason::PortTwin),
    }
}
