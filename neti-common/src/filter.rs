//! Who may talk to us: the allow-list, and the XDP program that drops strangers before the stack sees them.

use network_types::eth::EthHdr;

use crate::{
    family::{Family, LinkMessage},
    fragments,
    headers::{
        self, Carried, Ip, Kind, Part, TCP, Transport, UDP, carried, ethertype, flow_in,
        is_link_control, transport, untagged,
    },
    hints,
    icmp::{self, Related},
    maps::{Allow, AllowEntry, Ends, Member, Settings, Tuple},
    packet::Packet,
    tables::{Socket, Tables},
    verdict::{Kind as Outcome, Reason, Verdict},
};

const SSH: u16 = 22;

/// What the filter found out about a packet.
pub struct Judged<'a, F: Family> {
    pub reason: Reason,
    pub member: Option<&'a Member<F>>,
    pub what: What<F>,
}

/// What a packet is to the translation that follows.
#[derive(Clone, Copy)]
pub enum What<F: Family> {
    /// Nothing that can be translated.
    Nothing,
    /// A packet with a transport header.
    Packet(Transport),
    /// An ICMP error about a packet of ours.
    Error(Related<F>),
    /// A later fragment, and the ends that its first one had.
    Later(Option<Ends<F>>),
}

/// `neti_filter`: judges and rewrites nothing.
#[inline(always)]
pub fn filter<F: Family, P: Packet, T: Tables<F>>(packet: &mut P, tables: &T) -> Verdict {
    let Some(settings) = tables.settings() else { return Verdict::UNSET };
    let reason = match arrive(packet, tables, settings) {
        Err(reason) => reason,
        Ok(ip) => {
            let judged = judge(packet, tables, settings, &ip);
            if ip.part == Part::First && judged.reason.kind() == Outcome::Pass {
                fragments::keep(tables, &ip, &Ends { peer: ip.src, own: ip.dst });
            }
            judged.reason
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
) -> Result<Ip<F>, Reason> {
    packet.pull(HEADERS + F::HEADER);
    let carried = carried(packet)?;
    untagged(packet, tables, carried)?;
    let Carried { ethertype, l3 } = carried;
    if ethertype == F::ETHERTYPE {
        let ip = F::parse(packet, l3, false)?;
        if settings.is_overlay(&ip.src) || settings.is_overlay(&ip.dst) {
            return Err(Reason::SpoofedOverlay);
        }
        return Ok(ip);
    }
    Err(match ethertype {
        _ if Some(ethertype) == F::RESOLUTION => arp(packet, l3, settings),
        ethertype::IPV6 => Reason::Ipv6,
        _ if is_link_control(packet, ethertype) => Reason::Link,
        _ => Reason::Unparsed,
    })
}

/// What is read of nearly every packet beside the IP header: link, a tag, and a TCP header without options.
pub const HEADERS: usize = EthHdr::LEN + 4 + 20;

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
    packet: &P,
    settings: &Settings<F>,
    ip: &Ip<F>,
    message: LinkMessage,
) -> Reason {
    match message {
        LinkMessage::Listener => Reason::ListenerDiscovery,
        _ if headers::names_overlay(packet, settings, ip, message) => Reason::SpoofedOverlay,
        LinkMessage::Discovery | LinkMessage::About(_) => Reason::NeighbourDiscovery,
    }
}

/// The allow-list, in the order of the design: nothing that a later rule says takes back what an earlier one admits.
#[inline(always)]
pub fn judge<'a, F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    tables: &'a T,
    settings: &Settings<F>,
    ip: &Ip<F>,
) -> Judged<'a, F> {
    let member = tables.member(&ip.src);
    if ip.part == Part::Later {
        let first = fragments::find(tables, ip);
        let reason = match (first, member) {
            (Some(_), _) => Reason::Fragment,
            (None, Some(_)) => Reason::Member,
            (None, None) => Reason::FragmentWithoutFirst,
        };
        return Judged { reason, member, what: What::Later(first) };
    }
    let Some(transport) = transport(packet, ip) else {
        return Judged { reason: Reason::Malformed, member, what: What::Nothing };
    };
    if let Kind::Link(message) = transport.kind {
        let reason = link(packet, settings, ip, message);
        return Judged { reason, member, what: What::Nothing };
    }
    if transport.kind == Kind::IcmpError {
        let (reason, what) = match icmp::related(packet, tables, settings, ip) {
            Ok(related) => (Reason::IcmpError, What::Error(related)),
            Err(Reason::IcmpUnrelated) if member.is_some() => (Reason::Member, What::Nothing),
            Err(Reason::IcmpUnrelated)
                if admission(tables, &ip.src, ip.protocol, [0; 2]) != Admission::No =>
            {
                (Reason::Allowed, What::Nothing)
            }
            Err(reason) => (reason, What::Nothing),
        };
        return Judged { reason, member, what };
    }
    let reason = match member {
        Some(_) => Reason::Member,
        None => stranger(tables, settings, ip, &transport),
    };
    Judged { reason, member, what: What::Packet(transport) }
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
    let tuple = Tuple { src: ip.src, dst: ip.dst, sport: transport.sport, dport: transport.dport };
    match transport.kind {
        // A stranger's pure SYN can never be a reply.
        Kind::TcpSyn => return Reason::Stranger,
        Kind::EchoRequest if settings.echo != 0 => return Reason::Echo,
        Kind::EchoRequest => return Reason::Stranger,
        Kind::Tcp | Kind::TcpSynAck | Kind::TcpClose => {
            if tables.tcp_socket(&tuple) == Socket::Live {
                return Reason::Reply;
            }
        }
        Kind::Udp => {
            if tables.udp_socket(&tuple) == Socket::Live {
                return Reason::Reply;
            }
        }
        // It has neither ports nor an identifier that a hint could know it by.
        Kind::Icmp | Kind::IcmpError | Kind::Link(_) => return Reason::Stranger,
        Kind::EchoReply | Kind::Other => {}
    }
    let flow = flow_in(ip, transport);
    if let Some((class, hint)) = hints::find(tables, &flow, false) {
        hints::answered(tables, &flow, class, hint);
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
            transport.sport == F::DHCP_SERVER.to_be_bytes()
                && transport.dport == F::DHCP_CLIENT.to_be_bytes()
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
