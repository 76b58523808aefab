//! ICMP errors: about packets of ours (in), and about packets of our peers (out). The packet they quote is translated
//! too, so that sockets and path MTU discovery recognise it.

use crate::{
    demux::{Names, demux},
    family::Family,
    filter::{self, Admission},
    headers::{Ip, Kind, Part, TCP, Transport, UDP, flow, quoted_transport},
    hints,
    maps::{Ends, Flow, Settings, Tuple},
    packet::{Packet, Skb},
    rewrite::{self, Quote},
    tables::{Socket, Tables},
    twins,
    verdict::Reason,
};

/// Bytes of an ICMP error before the packet it quotes (RFC 792, RFC 4443 3).
const ERROR_HEADER: usize = 8;
/// What of a quoted packet we want to read: the longest IPv4 header and the ports.
const QUOTE: usize = 60 + 8;

/// An error about a packet of ours.
#[derive(Debug, Clone, Copy)]
pub struct Related<F: Family> {
    quoted: Ip<F>,
    /// How whoever sent that packet names its ends.
    ends: Ends<F>,
    /// The port it really has, where a twin got another one.
    port: Option<[u8; 2]>,
}

#[inline(always)]
fn quote<F: Family, P: Packet>(packet: &mut P, outer: &Ip<F>) -> Option<(Ip<F>, Transport)> {
    let start = outer.l4 + ERROR_HEADER;
    packet.pull(start + QUOTE);
    let ip = F::parse(packet, start, true)?;
    if ip.part == Part::Later {
        return None;
    }
    let transport = quoted_transport(packet, &ip)?;
    Some((ip, transport))
}

/// Whether an error that comes in is about a packet of ours: one that a socket or a fresh hint stands for. Any router may
/// send it, so nothing is asked of the sender.
#[inline(always)]
pub fn related<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    settings: &Settings<F>,
    outer: &Ip<F>,
) -> Option<Related<F>> {
    let (quoted, transport) = quote(packet, outer)?;
    if quoted.src != outer.dst {
        return None;
    }
    let tuple =
        Tuple { src: quoted.src, dst: quoted.dst, sport: transport.sport, dport: transport.dport };
    let flow = flow(quoted.protocol, tuple);
    let Some(member) = tables.member(&quoted.dst) else {
        let ends = Ends { peer: quoted.dst, own: quoted.src };
        return is_ours(tables, &flow).then_some(Related { quoted, ends, port: None });
    };
    if let Some(twin) = twins::inbound(tables, &flow, &member.overlays[0]) {
        return Some(Related { quoted, ends: twin.ends, port: Some(twin.port) });
    }
    if !settings.is_own_real(&quoted.src) {
        let ends = Ends { peer: quoted.dst, own: quoted.src };
        return is_ours(tables, &flow).then_some(Related { quoted, ends, port: None });
    }
    let names = Names::of(&flow, &member.overlays[0], settings);
    // Whatever the quoted packet was, we sent it: a hint may stand for it.
    let found = demux(tables, settings, &flow, &names, Kind::Other);
    let ours = match found.socket {
        Socket::Live | Socket::HalfOpen => true,
        // An unconnected UDP socket answers any member, and keeps no hint for that.
        Socket::Wildcard | Socket::Specific => flow.protocol == UDP,
        Socket::None => false,
    };
    ours.then_some(Related { quoted, ends: found.ends, port: None })
}

/// Whether a flow with real addresses on both ends is ours.
#[inline(always)]
fn is_ours<F: Family, T: Tables<F>>(tables: &T, flow: &Flow<F>) -> bool {
    let Tuple { src, dst, sport, dport } = flow.tuple;
    let inbound = Tuple { src: dst, dst: src, sport: dport, dport: sport };
    let socket = match flow.protocol {
        TCP => tables.tcp_socket(&inbound),
        UDP => tables.udp_socket(&inbound),
        _ => Socket::None,
    };
    match socket {
        Socket::Live | Socket::HalfOpen => return true,
        // A server on an open port keeps no hints.
        Socket::Wildcard | Socket::Specific
            if flow.protocol == UDP
                && filter::admission(tables, &dst, UDP, sport) != Admission::No =>
        {
            return true;
        }
        _ => {}
    }
    hints::find(tables, flow, false).is_some()
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
    rewrite::quoted(packet, outer, quoted, &Quote { src: ends.own, dst: ends.peer, sport: *port })?;
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
    let start = outer.l4 + ERROR_HEADER;
    packet.pull(start + QUOTE);
    let Some(quoted) = F::parse(packet, start, true) else { return Ok(()) };
    let src = match real_of(tables, settings, &quoted.src) {
        Some(real) => real,
        None => return Err(Reason::UnknownOverlay),
    };
    let dst = match real_of(tables, settings, &quoted.dst) {
        Some(real) => real,
        None => return Err(Reason::UnknownOverlay),
    };
    if src == quoted.src && dst == quoted.dst {
        return Ok(());
    }
    rewrite::quoted(packet, outer, &quoted, &Quote { src, dst, sport: None })
        .ok_or(Reason::RewriteFailed)
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
