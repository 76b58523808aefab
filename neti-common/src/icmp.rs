//! ICMP errors: about packets of ours (in), and about packets of our peers (out). The packet they quote is translated
//! too, so that sockets and path MTU discovery recognise it.

use crate::{
    demux::{Names, demux},
    family::Family,
    filter::{self, Admission},
    headers::{ICMP_HEADER, Ip, Kind, Part, TCP, Transport, UDP, flow, quoted_transport},
    hints,
    maps::{Ends, Flow, Settings, Tuple},
    packet::{Packet, Skb},
    rewrite::{self, Port, Quote},
    tables::{Socket, Tables},
    twins,
    verdict::Reason,
};

/// Bytes of a quoted transport header that are sure to be there (RFC 792).
const QUOTED_TRANSPORT: usize = 8;

/// An error about a packet of ours.
#[derive(Debug, Clone, Copy)]
pub struct Related<F: Family> {
    quoted: Ip<F>,
    /// How whoever sent that packet names its ends.
    ends: Ends<F>,
    /// The port it really has, where a twin got another one.
    port: Option<[u8; 2]>,
}

/// The packet that an error quotes, with its ports; `None` where it is too short or has none.
#[inline(always)]
fn quote<F: Family, P: Packet>(packet: &mut P, outer: &Ip<F>) -> Option<(Ip<F>, Flow<F>)> {
    let start = outer.l4 + ICMP_HEADER;
    packet.pull(start + F::MAX_HEADER + QUOTED_TRANSPORT);
    let ip = F::parse(packet, start, true).ok()?;
    let Transport { sport, dport, .. } = match ip.part {
        Part::Later => Transport { sport: [0; 2], dport: [0; 2], kind: Kind::Other },
        Part::Whole | Part::First => quoted_transport(packet, &ip)?,
    };
    Some((ip, flow(ip.protocol, Tuple { src: ip.src, dst: ip.dst, sport, dport })))
}

/// The packet of ours that an error which comes in is about: one that a socket or a fresh hint stands for. Any router may
/// send it, so nothing is asked of the sender.
#[inline(always)]
pub fn related<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    settings: &Settings<F>,
    outer: &Ip<F>,
) -> Result<Related<F>, Reason> {
    let (quoted, flow) = quote(packet, outer).ok_or(Reason::IcmpUnrelated)?;
    if settings.is_overlay(&quoted.src) || settings.is_overlay(&quoted.dst) {
        return Err(Reason::SpoofedOverlay);
    }
    if quoted.src != outer.dst || quoted.part == Part::Later {
        return Err(Reason::IcmpUnrelated);
    }
    let real = Related { quoted, ends: Ends { peer: quoted.dst, own: quoted.src }, port: None };
    let Some(member) = tables.translated(&quoted.dst) else {
        return if is_ours(tables, &flow, &flow, false) {
            Ok(real)
        } else {
            Err(Reason::IcmpUnrelated)
        };
    };
    let primary = &member.overlays[0];
    let key = hints::member_key(settings, &flow, primary);
    if !settings.is_own_real(&quoted.src) {
        return if is_ours(tables, &flow, &key, true) {
            Ok(real)
        } else {
            Err(Reason::IcmpUnrelated)
        };
    }
    if let Some(twin) = twins::inbound(tables, &key) {
        return Ok(Related { ends: twin.ends, port: Some(twin.port), ..real });
    }
    // Whatever the quoted packet was, we sent it: a hint may stand for it.
    let names = Names::of(&flow, primary, settings);
    let found = demux(tables, settings, &key, &names, Kind::Other);
    let ours = match found.socket {
        Socket::Live | Socket::HalfOpen => true,
        // An unconnected UDP socket answers any member, and keeps no hint for that.
        Socket::Wildcard | Socket::Specific => flow.protocol == UDP || found.hint.is_some(),
        Socket::None => found.hint.is_some(),
    };
    if ours { Ok(Related { ends: found.ends, ..real }) } else { Err(Reason::IcmpUnrelated) }
}

/// Whether a flow that has one form only is ours; `key` is what its hint would have.
#[inline(always)]
fn is_ours<F: Family, T: Tables<F>>(
    tables: &T,
    flow: &Flow<F>,
    key: &Flow<F>,
    member: bool,
) -> bool {
    let Tuple { src, dst, sport, dport } = flow.tuple;
    let inbound = Tuple { src: dst, dst: src, sport: dport, dport: sport };
    let socket = match flow.protocol {
        TCP => tables.tcp_socket(&inbound),
        UDP => tables.udp_socket(&inbound),
        _ => Socket::None,
    };
    match socket {
        Socket::Live | Socket::HalfOpen => return true,
        // A server keeps no hints of those who may always ask it.
        Socket::Wildcard | Socket::Specific
            if flow.protocol == UDP
                && (member || filter::admission(tables, &dst, UDP, sport) != Admission::No) =>
        {
            return true;
        }
        _ => {}
    }
    hints::find(tables, key, member).is_some()
}

/// Translates an error about a packet of ours for whoever sent that packet. The error's own source is translated where it
/// is the peer itself.
#[inline(always)]
pub fn translate_in<F: Family, P: Skb>(
    packet: &mut P,
    outer: &Ip<F>,
    related: &Related<F>,
) -> Option<Reason> {
    let Related { quoted, ends, port } = related;
    if ends.own == quoted.src && ends.peer == quoted.dst && port.is_none() {
        return Some(Reason::IcmpError);
    }
    rewrite::quoted(
        packet,
        outer,
        quoted,
        &Quote { src: ends.own, dst: ends.peer, port: port.map(|port| (Port::Source, port)) },
    )?;
    let src = if outer.src == quoted.dst { ends.peer } else { outer.src };
    rewrite::addresses(packet, outer, &src, &ends.own)?;
    Some(Reason::IcmpError)
}

/// Translates what an error that leaves quotes: a packet that reached us by overlay addresses. The error's own addresses
/// are the caller's.
#[inline(always)]
pub fn translate_out<F: Family, P: Skb, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    settings: &Settings<F>,
    outer: &Ip<F>,
) -> Result<(), Reason> {
    let Some((quoted, received)) = quote(packet, outer) else { return Ok(()) };
    let src = real_of(tables, settings, &quoted.src).ok_or(Reason::UnknownOverlay)?;
    let dst = real_of(tables, settings, &quoted.dst).ok_or(Reason::UnknownOverlay)?;
    let Tuple { src: peer, dst: own, sport: peer_port, dport: own_port } = received.tuple;
    let socket =
        flow(quoted.protocol, Tuple { src: own, dst: peer, sport: own_port, dport: peer_port });
    // It came to the port that its flow has on the wire.
    let port = twins::outbound(tables, &socket).map(|port| (Port::Destination, port));
    if src == quoted.src && dst == quoted.dst && port.is_none() {
        return Ok(());
    }
    rewrite::quoted(packet, outer, &quoted, &Quote { src, dst, port }).ok_or(Reason::RewriteFailed)
}

/// The real address behind any address: itself, or its path's; `None` for an overlay address that nobody has.
#[inline(always)]
fn real_of<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    address: &F::Addr,
) -> Option<F::Addr> {
    if !settings.is_overlay(address) {
        Some(*address)
    } else if settings.is_own_overlay(address) {
        Some(settings.reals[0])
    } else {
        tables.path(address).map(|path| path.real)
    }
}
