//! Who may talk to us: the allow-list, and the XDP program that drops strangers before the stack sees them.

use network_types::eth::EthHdr;

use crate::{
    family::{Family, LinkMessage},
    fragments,
    headers::{
        self, Carried, Header, Ip, Kind, Part, TCP, Transport, UDP, carried, ethertype, flow,
        is_link_control, is_to_or_from_overlay, settled_transport, untagged,
    },
    hints, icmp,
    maps::{Flow, Member, Settings},
    packet::Packet,
    rules::{Admission, admission, is_free},
    tables::{Place, Socket, Tables},
    verdict::{Reason, Verdict},
};

const SSH: u16 = 22;

/// `neti_filter`: judges and rewrites nothing.
#[inline(always)]
pub fn filter<F: Family, P: Packet, T: Tables<F>>(packet: &mut P, tables: &T) -> Verdict {
    let Some(settings) = tables.settings() else { return Verdict::UNSET };
    let reason = match arrive(packet, tables, settings) {
        Err(reason) => reason,
        Ok(header) => {
            let ip = Ip::read(packet, header);
            let Some(ip) = ip.as_ref().and_then(|ip| tables.place(Place::Packet, ip)) else {
                return Verdict::of(Reason::Malformed, settings.mode);
            };
            fragments::keep_as_it_is(tables, ip, judge(packet, tables, settings, ip))
        }
    };
    Verdict::of(reason, settings.mode)
}

/// The IP header of a frame that arrives, or what there is to say of a frame without one.
#[inline(always)]
pub fn arrive<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    settings: &Settings<F>,
) -> Result<Header, Reason> {
    packet.pull(HEADERS + F::HEADER);
    let carried = carried(packet)?;
    untagged(packet, tables, carried)?;
    let Carried { ethertype, l3 } = carried;
    if ethertype == F::ETHERTYPE {
        // The kernel looks behind chains that we do not, and `observe` lets them pass.
        return F::parse(packet, l3, false).map_err(|reason| {
            if is_to_or_from_overlay(packet, settings, l3) {
                Reason::SpoofedOverlay
            } else {
                reason
            }
        });
    }
    Err(match ethertype {
        _ if Some(ethertype) == F::RESOLUTION => arp(packet, l3, settings),
        ethertype::IPV6 => Reason::Ipv6,
        _ if is_link_control(packet, ethertype) => Reason::Link,
        _ => Reason::Unparsed,
    })
}

/// What is read of nearly every packet beside the IP header: link, and a TCP header without options. With a byte more,
/// each GSO packet without timestamps, of which the headers alone are linear, would be pulled.
pub const HEADERS: usize = EthHdr::LEN + 20;

/// Offsets of the sender's and the target's address in an ARP packet for IPv4 over Ethernet (RFC 826).
pub const ARP_SENDER: usize = 14;
pub const ARP_TARGET: usize = 24;

/// No host may claim an overlay address, and ours answer for none.
#[inline(always)]
fn arp<F: Family, P: Packet>(packet: &P, l3: usize, settings: &Settings<F>) -> Reason {
    for offset in [ARP_SENDER, ARP_TARGET] {
        match packet.load(l3 + offset) {
            None => return Reason::Malformed,
            Some(address) if settings.is_overlay(&address) => return Reason::SpoofedOverlay,
            Some(_) => {}
        }
    }
    Reason::Link
}

/// What there is to say of a link's own protocols that arrive, which the host cannot do without.
#[inline(always)]
fn link<F: Family, P: Packet>(packet: &mut P, settings: &Settings<F>, ip: &Ip<F>) -> Reason {
    match headers::link_message(packet, ip) {
        None => Reason::Malformed,
        Some(LinkMessage::Listener) => Reason::ListenerDiscovery,
        Some(LinkMessage::Discovery) => Reason::NeighbourDiscovery,
        Some(LinkMessage::About(count)) => {
            match headers::names_overlay(packet, settings, ip, count) {
                Some(false) => Reason::NeighbourDiscovery,
                Some(true) => Reason::SpoofedOverlay,
                None => Reason::Malformed,
            }
        }
    }
}

/// The allow-list, in the order of the design: nothing that a later rule says takes back what an earlier one admits.
#[inline(always)]
fn judge<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    settings: &Settings<F>,
    ip: &Ip<F>,
) -> Reason {
    let member = tables.member(&ip.src);
    // Whether it is a reply depends on the names that its socket has, which `neti_ingress` finds.
    let is_named = || member.is_some_and(|member| member.overlay_count != 0);
    match look(packet, settings, ip) {
        Look::At(reason) => reason,
        // It may be here before the first one is there.
        Look::Later if is_named() && !is_free(settings, member) => Reason::LeftToIngress,
        Look::Later => later(fragments::find(tables, ip).is_some(), is_free(settings, member)),
        Look::Error => {
            let quoted = icmp::quote(packet, ip);
            let related = match quoted.as_ref().and_then(|ip| tables.place(Place::Quoted, ip)) {
                Some(quoted) => icmp::related(packet, tables, settings, ip, quoted).map(|_| ()),
                None => Err(icmp::unread(packet, settings, ip)),
            };
            match related {
                Ok(()) => Reason::IcmpError,
                Err(reason) => unrelated(tables, settings, ip, member, reason),
            }
        }
        Look::Packet(transport) => match admit(tables, settings, ip, &transport, member) {
            None if is_named() => Reason::LeftToIngress,
            None => {
                let flow = flow(ip, &transport).reversed();
                reply(tables, ip, &transport, None, &flow, false)
            }
            Some(reason) => reason,
        },
    }
}

/// What a packet is to the rules.
pub enum Look {
    /// They are not asked.
    At(Reason),
    /// A later fragment, which has no ports.
    Later,
    /// An ICMP error.
    Error,
    /// A packet with a transport header.
    Packet(Transport),
}

/// Looks at a packet.
#[inline(always)]
pub fn look<F: Family, P: Packet>(packet: &mut P, settings: &Settings<F>, ip: &Ip<F>) -> Look {
    if settings.is_overlay(&ip.src) || settings.is_overlay(&ip.dst) {
        return Look::At(Reason::SpoofedOverlay);
    }
    if ip.part == Part::Later {
        return Look::Later;
    }
    let Some(transport) = settled_transport(packet, ip) else { return Look::At(Reason::Malformed) };
    match transport.kind {
        Kind::Link => Look::At(link(packet, settings, ip)),
        Kind::IcmpError => Look::Error,
        _ => Look::Packet(transport),
    }
}

/// The rules for a later fragment; `first` is whether the first one was let in.
#[inline(always)]
pub fn later(first: bool, member: bool) -> Reason {
    match (first, member) {
        (true, _) => Reason::Fragment,
        (false, true) => Reason::Member,
        (false, false) => Reason::FragmentWithoutFirst,
    }
}

/// The rules for an ICMP error that is about no packet of ours, for the `reason` given.
#[inline(always)]
pub fn unrelated<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    ip: &Ip<F>,
    member: Option<&Member<F>>,
    reason: Reason,
) -> Reason {
    if reason != Reason::IcmpUnrelated {
        return reason;
    }
    match admission(tables, settings, &ip.src, member, ip.protocol, [0; 2]) {
        Admission::Member => Reason::Member,
        Admission::Rule | Admission::OpenPort => Reason::Allowed,
        Admission::No => reason,
    }
}

/// The rules for a packet with a transport header; `None` if only a reply is let in.
#[inline(always)]
pub fn admit<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    ip: &Ip<F>,
    transport: &Transport,
    member: Option<&Member<F>>,
) -> Option<Reason> {
    // The failsafe says nothing else of one that may do all.
    if is_free(settings, member) {
        return Some(Reason::Member);
    }
    if is_failsafe(settings, ip, transport) {
        return Some(Reason::Failsafe);
    }
    match admission(tables, settings, &ip.src, member, ip.protocol, transport.dport) {
        Admission::Member => return Some(Reason::Member),
        Admission::Rule => return Some(Reason::Allowed),
        Admission::OpenPort => return Some(Reason::OpenPort),
        Admission::No => {}
    }
    let is_member = member.is_some_and(Member::is_member);
    match transport.kind {
        // Pings are how one finds out who cannot be reached.
        Kind::EchoRequest if is_member => Some(Reason::Member),
        Kind::EchoRequest if settings.echo != 0 => Some(Reason::Echo),
        // A pure SYN can never be a reply.
        Kind::TcpSyn | Kind::EchoRequest => Some(refusal(member, transport)),
        _ => None,
    }
}

/// Why a packet is refused that is no reply.
#[inline(always)]
pub fn refusal<F: Family>(member: Option<&Member<F>>, transport: &Transport) -> Reason {
    match transport.kind {
        _ if member.is_some_and(Member::is_member) => Reason::Role,
        Kind::Tcp | Kind::TcpSynAck | Kind::TcpClose => Reason::NotAReply,
        _ => Reason::Stranger,
    }
}

/// What admits or refuses a packet that has one form only, if it is let in as a reply only: of somebody who has real
/// addresses alone, or to an address that is not the host's alone. `key` is what its hint would have, that of a `named`
/// flow to somebody with overlay addresses.
#[inline(always)]
pub fn reply<F: Family, T: Tables<F>>(
    tables: &T,
    ip: &Ip<F>,
    transport: &Transport,
    peer: Option<&Member<F>>,
    key: &Flow<F>,
    named: bool,
) -> Reason {
    let inbound = flow(ip, transport);
    let socket = match transport.kind {
        Kind::Tcp | Kind::TcpSynAck | Kind::TcpClose => tables.tcp_socket(&inbound),
        Kind::Udp => tables.udp_socket(&inbound),
        // It has neither ports nor an identifier that a hint could know it by.
        Kind::Icmp | Kind::IcmpError | Kind::Link => return Reason::Stranger,
        _ => Socket::None,
    };
    if socket == Socket::Live {
        return Reason::Reply;
    }
    if let Some((class, hint)) = hints::find(tables, key, named) {
        hints::answered(tables, key, class, &hint);
        return Reason::Hinted;
    }
    refusal(peer, transport)
}

/// What nobody may lock out: ssh from the failsafe ranges, DHCP, the cloud's metadata service and the registry. It asks
/// no table that can be wrong.
#[inline(always)]
fn is_failsafe<F: Family>(settings: &Settings<F>, ip: &Ip<F>, transport: &Transport) -> bool {
    let is_reply = matches!(transport.kind, Kind::Tcp | Kind::TcpSynAck | Kind::TcpClose);
    match ip.protocol {
        TCP if transport.dport == SSH.to_be_bytes() => {
            settings.failsafe.iter().any(|range| range.contains(&ip.src))
        }
        TCP => {
            is_reply
                && (F::is_metadata(&ip.src)
                    || settings.endpoints.iter().any(|endpoint| {
                        endpoint.address == ip.src && endpoint.port == transport.sport
                    }))
        }
        UDP => {
            let [sport, dport] = [transport.sport, transport.dport].map(u16::from_be_bytes);
            F::is_dhcp(&ip.src, sport, dport)
        }
        _ => false,
    }
}
