//! ICMP errors: about packets of ours (in), and about packets of our peers (out). The packet they quote is translated
//! too, so that sockets and path MTU discovery recognise it.

use crate::{
    demux::{Form, Names, demux},
    family::Family,
    headers::{self, ICMP_HEADER, Ip, Kind, Part, TCP, UDP, quoted_transport},
    hints,
    maps::{Ends, Flow, Member, Settings},
    packet::{Packet, Skb},
    rewrite::{self, Port, Quote},
    rules::{Admission, admission},
    tables::{Place, Socket, Tables},
    twins,
    verdict::Reason,
};

/// Bytes of a quoted transport header that we read where they are there: up to TCP's checksum.
const QUOTED_TRANSPORT: usize = 20;

/// Whoever sent the packet that an error is about.
#[derive(Debug, Clone, Copy)]
pub struct Related<F: Family> {
    /// How it names the packet's ends.
    ends: Ends<F>,
    /// The port it really has, where a twin got another one.
    port: Option<[u8; 2]>,
}

/// The packet that an error quotes; `None` where it is too short.
#[inline(always)]
pub fn quote<F: Family, P: Packet>(packet: &mut P, outer: &Ip<F>) -> Option<Ip<F>> {
    let start = outer.l4 + ICMP_HEADER;
    packet.pull(start + F::MAX_HEADER + QUOTED_TRANSPORT);
    let header = F::parse(packet, start, true).ok()?;
    Ip::read(packet, header)
}

/// What there is to say of an error that comes in and quotes what could not be read, of which the kernel may make more.
#[inline(always)]
pub fn unread<F: Family, P: Packet>(packet: &P, settings: &Settings<F>, outer: &Ip<F>) -> Reason {
    if headers::is_to_or_from_overlay(packet, settings, outer.l4 + ICMP_HEADER) {
        Reason::SpoofedOverlay
    } else {
        Reason::IcmpUnrelated
    }
}

/// The ports of a quoted packet; zeros where it has none, `None` where they are cut off.
#[inline(always)]
fn quoted_ports<F: Family, P: Packet>(packet: &P, quoted: &Ip<F>) -> Option<([u8; 2], [u8; 2])> {
    if quoted.part == Part::Later {
        return Some(([0; 2], [0; 2]));
    }
    quoted_transport(packet, quoted).map(|transport| (transport.sport, transport.dport))
}

/// The packet of ours that an error which comes in is about: one that a socket or a fresh hint stands for. Any router may
/// send it, so nothing is asked of the sender.
#[inline(always)]
pub fn related<F: Family, P: Packet, T: Tables<F>>(
    packet: &P,
    tables: &T,
    settings: &Settings<F>,
    outer: &Ip<F>,
    quoted: &Ip<F>,
) -> Result<Related<F>, Reason> {
    if settings.is_overlay(&quoted.src) || settings.is_overlay(&quoted.dst) {
        return Err(Reason::SpoofedOverlay);
    }
    if quoted.src != outer.dst || quoted.part == Part::Later {
        return Err(Reason::IcmpUnrelated);
    }
    let (sport, dport) = quoted_ports(packet, quoted).ok_or(Reason::IcmpUnrelated)?;
    let member = tables.translated(&quoted.dst);
    let names = Names {
        real_peer: &quoted.dst,
        real_own: &quoted.src,
        overlay_peer: member.map_or(&quoted.dst, |member| &member.overlays[0]),
        overlay_own: &settings.overlays[0],
        peer_port: dport,
        own_port: sport,
    };
    let key = match member {
        Some(_) => hints::member_key(settings, quoted.protocol, &names),
        None => names.flow(Form::Real, quoted.protocol),
    };
    let (ends, port) = if member.is_some() && settings.is_own_real(&quoted.src) {
        match twins::inbound(tables, &key) {
            Some(twin) => (twin.ends, Some(twin.port())),
            None => {
                // Whatever the quoted packet was, we sent it: a hint may stand for it.
                let found = demux(tables, settings, &key, &names, Kind::Other, false);
                let ours = match found.socket {
                    Socket::Live | Socket::HalfOpen => true,
                    // An unconnected UDP socket keeps no hints of those who may always ask it.
                    Socket::Wildcard | Socket::Specific => {
                        found.hinted
                            || (quoted.protocol == UDP && may_ask(tables, settings, &names, member))
                    }
                    Socket::None => found.hinted,
                };
                if !ours {
                    return Err(Reason::IcmpUnrelated);
                }
                (found.ends, None)
            }
        }
    } else if is_ours(tables, settings, &names, &key, member) {
        (names.ends(Form::Real), None)
    } else {
        return Err(Reason::IcmpUnrelated);
    };
    Ok(Related { ends, port })
}

/// Whether a flow that has one form only is ours; `key` is what its hint would have.
#[inline(always)]
fn is_ours<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    names: &Names<F>,
    key: &Flow<F>,
    member: Option<&Member<F>>,
) -> bool {
    let inbound = names.flow(Form::Real, key.transport()).reversed();
    let socket = match key.transport() {
        protocol @ (TCP | UDP) => tables.socket(protocol, &inbound),
        _ => Socket::None,
    };
    match socket {
        Socket::Live | Socket::HalfOpen => return true,
        // A server keeps no hints of those who may always ask it.
        Socket::Wildcard | Socket::Specific
            if key.transport() == UDP && may_ask(tables, settings, names, member) =>
        {
            return true;
        }
        _ => {}
    }
    hints::find(tables, key, member.is_some()).is_some()
}

/// Whether the peer may send to our UDP port at any time.
#[inline(always)]
fn may_ask<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    names: &Names<F>,
    member: Option<&Member<F>>,
) -> bool {
    admission(tables, settings, names.real_peer, member, UDP, names.own_port) != Admission::No
}

/// Translates an error about a packet of ours for whoever sent that packet. The error's own source is translated where it
/// is the peer itself.
#[inline(always)]
pub fn translate_in<F: Family, P: Skb>(
    packet: &mut P,
    outer: &Ip<F>,
    quoted: &Ip<F>,
    related: &Related<F>,
) -> Option<Reason> {
    let Related { ends, port } = related;
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
    let quoted = quote(packet, outer);
    let Some(quoted) = quoted.as_ref().and_then(|ip| tables.place(Place::Quoted, ip)) else {
        return match headers::is_to_or_from_overlay(packet, settings, outer.l4 + ICMP_HEADER) {
            true => Err(Reason::UnknownOverlay),
            false => Ok(()),
        };
    };
    if F::any_option(packet, quoted.l3, quoted.l4, |address| settings.is_overlay(address)) {
        return Err(Reason::OverlayOption);
    }
    let (peer_port, own_port) = quoted_ports(packet, quoted).unwrap_or_default();
    let src = real_of(tables, settings, &quoted.src).ok_or(Reason::UnknownOverlay)?;
    let dst = real_of(tables, settings, &quoted.dst).ok_or(Reason::UnknownOverlay)?;
    let socket = Flow {
        src: quoted.dst,
        dst: quoted.src,
        sport: own_port,
        dport: peer_port,
        protocol: quoted.protocol as u32,
    };
    // It came to the port that its flow has on the wire.
    let port = twins::outbound(tables, &socket).map(|port| (Port::Destination, port));
    if *src == quoted.src && *dst == quoted.dst && port.is_none() {
        return Ok(());
    }
    rewrite::quoted(packet, outer, quoted, &Quote { src: *src, dst: *dst, port })
        .ok_or(Reason::RewriteFailed)
}

/// The real address behind any address: itself, or its path's; `None` for an overlay address that nobody has.
#[inline(always)]
fn real_of<'a, F: Family, T: Tables<F>>(
    tables: &'a T,
    settings: &'a Settings<F>,
    address: &'a F::Addr,
) -> Option<&'a F::Addr> {
    if !settings.is_overlay(address) {
        Some(address)
    } else if settings.is_own_overlay(address) {
        Some(&settings.reals[0])
    } else {
        tables.path(address).map(|path| &path.real)
    }
}
