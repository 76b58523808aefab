//! What egress keeps of flows that begin: hints for those that no socket stands for, and other ports for twins.

use super::Leaving;
use crate::{
    demux::{self, Form, Names, demux},
    family::Family,
    filter::refusal,
    headers::{Ip, Kind, TCP, Transport, UDP, flow},
    hints,
    maps::{DropKey, Ends, Flow, Member, Path, Settings, mode},
    packet::{Owner, Skb},
    rules::{Admission, admission},
    tables::{Class, Socket, Tables},
    twins,
    verdict::Reason,
};

/// What becomes of a packet's source port on the wire. No enum: LLVM would read a payload that is not there, and the
/// verifier minds.
#[derive(Clone, Copy)]
pub struct SourcePort {
    /// Network order.
    pub port: [u8; 2],
    /// Its flow has a twin and got this port.
    pub is_twin: bool,
    /// Its flow has a twin and must keep its port.
    pub is_shared: bool,
}

impl SourcePort {
    #[inline(always)]
    pub const fn own(port: [u8; 2]) -> Self {
        Self { port, is_twin: false, is_shared: false }
    }

    #[inline(always)]
    const fn twin(port: [u8; 2]) -> Self {
        Self { port, is_twin: true, is_shared: false }
    }
}

/// Keeps hints and separates twins, whose port goes into `port`; `Err` is why the packet cannot leave.
#[inline(always)]
pub fn remember<F: Family, P: Skb, T: Tables<F>>(
    packet: &P,
    tables: &T,
    settings: &Settings<F>,
    leaving: &Leaving<F>,
    transport: &Transport,
    port: &mut SourcePort,
) -> Result<(), Reason> {
    let ip = leaving.ip;
    let Transport { sport, dport, kind } = *transport;
    let socket = flow(ip, transport);
    let owner = match kind {
        Kind::Udp | Kind::Tcp | Kind::TcpClose => packet.owner(&socket),
        _ => Owner::None,
    };
    // A connection that netfilter leads elsewhere has no socket on the wire either: it is as good as forwarded.
    let forwarded = leaving.forwarded
        || (ip.protocol == TCP && owner == Owner::Translated)
        || (kind == Kind::TcpSyn && !has_socket(tables, &socket));
    *port = SourcePort::own(sport);
    if has_ports(ip.protocol)
        && let Some(twin) = twins::outbound(tables, &socket)
    {
        *port = SourcePort::twin(twin);
    }
    let hinted =
        hints::may_refresh(kind, forwarded) && !(kind == Kind::Udp && owner == Owner::Connected);
    let begins = kind == Kind::TcpSyn && !forwarded;
    if !hinted && !begins {
        return Ok(());
    }

    let path = match leaving.path {
        Some(path) => Some(path),
        None => tables.translated(&ip.dst).and_then(|member| tables.path(&member.overlays[0])),
    };
    let names = Names {
        real_peer: &leaving.peer,
        real_own: &leaving.own,
        overlay_peer: path.map_or(&leaving.peer, |path| &path.primary),
        overlay_own: &settings.overlays[0],
        peer_port: dport,
        own_port: port.port,
    };
    let mut key = match path {
        Some(_) => hints::member_key(settings, ip.protocol, &names),
        None => names.flow(Form::Real, ip.protocol),
    };
    let class = Class::of(forwarded, path.is_some());
    if hinted && hints::refresh(tables, class, &key, ip, kind) {
        return Ok(());
    }
    if !hints::may_open(kind, forwarded) && !begins {
        return Ok(());
    }
    let named = match path {
        None => true,
        Some(path) => {
            let named = match kind {
                Kind::Udp => !forwarded && is_named(tables, settings, &key, &names, ip),
                Kind::Tcp => !port.is_twin && is_default(settings, &names, ip),
                _ => false,
            };
            // In the middle of a connection it is too late for another port.
            if !named && kind != Kind::Tcp && has_ports(ip.protocol) && !port.is_twin {
                separate(tables, settings, path, &socket, &mut key, port)?;
            }
            named
        }
    };
    if !hinted {
        return Ok(());
    }
    // What is named, and what a peer may send to this port at any time, needs no hint, or spoofed queries would fill the
    // table.
    if named {
        let member = tables.member(&leaving.peer);
        if is_answer(tables, settings, leaving, transport, member, port.port)
            || admission(tables, settings, &leaving.peer, member, ip.protocol, sport)
                != Admission::No
        {
            return Ok(());
        }
    }
    tables.keep_hint(class, &key, &hints::opened(tables, ip));
    Ok(())
}

/// Whether a datagram answers one that `observe` alone has let in a moment ago: as its sender is not asked anything, he is
/// told again with whatever else he sends. `port` is our own on the wire.
#[inline(always)]
fn is_answer<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    leaving: &Leaving<F>,
    transport: &Transport,
    member: Option<&Member<F>>,
    port: [u8; 2],
) -> bool {
    if settings.mode != mode::OBSERVE || transport.kind != Kind::Udp {
        return false;
    }
    let reason = refusal(member, transport) as u8;
    let (src, protocol) = (leaving.peer, leaving.ip.protocol);
    let noted = tables.noted(&DropKey { src, port, protocol, reason, _pad: [0; 4] });
    noted.is_some_and(|seen| tables.now().saturating_sub(seen) < hints::UNANSWERED)
}

/// Whether the answer to an unconnected socket's datagram would be given its names with nothing more written down.
#[inline(always)]
fn is_named<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    key: &Flow<F>,
    names: &Names<F>,
    ip: &Ip<F>,
) -> bool {
    let is_it = |ends: &Ends<F>| ends.peer == ip.dst && ends.own == ip.src;
    match twins::inbound(tables, key) {
        Some(twin) => is_it(&twin.ends),
        None => is_it(&demux(tables, settings, key, names, Kind::Udp, false).ends),
    }
}

/// Whether what comes back would be given its names where nothing is known of its flow.
#[inline(always)]
fn is_default<F: Family>(settings: &Settings<F>, names: &Names<F>, ip: &Ip<F>) -> bool {
    let ends = names.ends(demux::default(settings));
    ends.peer == ip.dst && ends.own == ip.src
}

/// Whether a connection that begins here has a socket under the names that it leaves by. The packet's own socket is not asked:
/// it may be that of a container whose interface is stacked on ours (macvlan), which this host does not find again.
#[inline(always)]
fn has_socket<F: Family, T: Tables<F>>(tables: &T, socket: &Flow<F>) -> bool {
    matches!(tables.tcp_socket(&socket.reversed()), Socket::Live | Socket::HalfOpen)
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
    key: &mut Flow<F>,
    port: &mut SourcePort,
) -> Result<(), Reason> {
    let mut twin = twins::own_port(socket);
    if !twins::find(tables, settings, path, socket, key, &mut twin.ends) {
        // An earlier twin, which is no more, may have left this port behind.
        if twins::inbound(tables, key).is_some() {
            tables.keep_twin_in(key, &twin);
        }
        return Ok(());
    }
    if socket.transport() == UDP && socket.sport == socket.dport {
        port.is_shared = true;
    } else if twins::separate(tables, settings, socket, key, twin) {
        *port = SourcePort::twin(key.sport);
    } else {
        return Err(Reason::PortTwin);
    }
    Ok(())
}
