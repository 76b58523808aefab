//! Who may talk to us: the allow-list, and the XDP program that drops strangers before the stack sees them.

use network_types::eth::EthHdr;

use crate::{
    family::{Family, LinkMessage},
    fragments,
    headers::{
        self, Carried, Header, Ip, Kind, Part, TCP, Transport, UDP, carried, ethertype, flow,
        is_link_control, is_to_or_from_overlay, transport, untagged,
    },
    hints, icmp,
    maps::{Allow, AllowEntry, Settings},
    packet::Packet,
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
fn link<F: Family, P: Packet>(
    packet: &mut P,
    settings: &Settings<F>,
    ip: &Ip<F>,
    message: LinkMessage,
) -> Reason {
    match message {
        LinkMessage::Listener => Reason::ListenerDiscovery,
        LinkMessage::Discovery => Reason::NeighbourDiscovery,
        LinkMessage::About(count) => match headers::names_overlay(packet, settings, ip, count) {
            Some(false) => Reason::NeighbourDiscovery,
            Some(true) => Reason::SpoofedOverlay,
            None => Reason::Malformed,
        },
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
    match look(packet, settings, ip) {
        Look::At(reason) => reason,
        Look::Later => later(fragments::find(tables, ip).is_some(), member.is_some()),
        Look::Error => {
            let quoted = icmp::quote(packet, ip);
            let related = match quoted.as_ref().and_then(|ip| tables.place(Place::Quoted, ip)) {
                Some(quoted) => icmp::related(packet, tables, settings, ip, quoted).map(|_| ()),
                None => Err(icmp::unread(packet, settings, ip)),
            };
            match related {
                Ok(()) => Reason::IcmpError,
                Err(reason) => unrelated(tables, ip, member.is_some(), reason),
            }
        }
        Look::Packet(transport) => admit(tables, settings, ip, &transport, member.is_some()),
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
    let Some(transport) = transport(packet, ip) else { return Look::At(Reason::Malformed) };
    match transport.kind {
        Kind::Link(message) => Look::At(link(packet, settings, ip, message)),
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
    ip: &Ip<F>,
    member: bool,
    reason: Reason,
) -> Reason {
    if reason != Reason::IcmpUnrelated {
        reason
    } else if member {
        Reason::Member
    } else if admission(tables, &ip.src, ip.protocol, [0; 2]) != Admission::No {
        Reason::Allowed
    } else {
        reason
    }
}

/// The rules for a packet with a transport header.
#[inline(always)]
pub fn admit<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    ip: &Ip<F>,
    transport: &Transport,
    member: bool,
) -> Reason {
    if member { Reason::Member } else { stranger(tables, settings, ip, transport) }
}

/// What admits or refuses somebody who is not a member.
#[inline(always)]
fn stranger<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    ip: &Ip<F>,
    transport: &Transport,
) -> Reason {
    if is_failsafe(settings, ip, transport) {
        return Reason::Failsafe;
    }
    match admission(tables, &ip.src, ip.protocol, transport.dport) {
        Admission::Rule => return Reason::Allowed,
        Admission::OpenPort => return Reason::OpenPort,
        Admission::No => {}
    }
    let inbound = flow(ip, transport);
    match transport.kind {
        // A stranger's pure SYN can never be a reply.
        Kind::TcpSyn => return Reason::Stranger,
        Kind::EchoRequest if settings.echo != 0 => return Reason::Echo,
        Kind::EchoRequest => return Reason::Stranger,
        Kind::Tcp | Kind::TcpSynAck | Kind::TcpClose => {
            if tables.tcp_socket(&inbound) == Socket::Live {
                return Reason::Reply;
            }
        }
        Kind::Udp => {
            if tables.udp_socket(&inbound) == Socket::Live {
                return Reason::Reply;
            }
        }
        // It has neither ports nor an identifier that a hint could know it by.
        Kind::Icmp | Kind::IcmpError | Kind::Link(_) => return Reason::Stranger,
        Kind::EchoReply | Kind::Other => {}
    }
    let flow = inbound.reversed();
    if let Some((class, hint)) = hints::find(tables, &flow, false) {
        hints::answered(tables, &flow, class, &hint);
        return Reason::Hinted;
    }
    if ip.protocol == TCP { Reason::NotAReply } else { Reason::Stranger }
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

/// What lets a peer reach a port of ours at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    No,
    Rule,
    OpenPort,
}

/// Asks the allow rules and the open ports; `port` in network order.
#[inline(always)]
pub fn admission<F: Family, T: Tables<F>>(
    tables: &T,
    peer: &F::Addr,
    protocol: u8,
    port: [u8; 2],
) -> Admission {
    let port = u16::from_be_bytes(port);
    if let Some(allow) = tables.allow(peer)
        && admits(allow, protocol, port)
    {
        return Admission::Rule;
    }
    if (protocol == TCP || protocol == UDP) && tables.is_open(protocol, port) {
        return Admission::OpenPort;
    }
    Admission::No
}

#[inline(always)]
fn admits(allow: &Allow, protocol: u8, port: u16) -> bool {
    let has_ports = protocol == headers::TCP || protocol == headers::UDP;
    allow.entries.iter().enumerate().any(|(n, entry)| {
        (n as u32) < allow.count
            && (entry.protocol == AllowEntry::ANY_PROTOCOL || entry.protocol == protocol)
            && (!has_ports || (entry.first <= port && port <= entry.last))
    })
}
