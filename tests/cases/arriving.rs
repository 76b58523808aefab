//! Packets that arrive and are let in or refused. XDP and tc judge with the same words, so each case is run at both hooks.

use neti_common::{
    family::{Family, V4},
    headers::{TCP, UDP},
    maps::{Allow, AllowEntry, Prefix},
    model::World,
    tables::Class,
    verdict::{Hook, Reason},
};

use crate::{
    Case,
    packet::{ACK, Addr, Packet, SYN},
    scene::{
        FAR, FAR_OVERLAY, NEIGHBOUR, NOBODY, OWN, OWN_MAC, OWN_OVERLAY, ROUTER, ROUTER_MAC,
        STRANGER, arp, come, ends, flow, frame, hint, host, host_with, observing_host, tagged,
    },
};

pub const ANY: Option<Addr> = None;
pub const PORT: u16 = 80;
/// The peer's port.
pub const PEER: u16 = 50_000;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for case in [strangers(), rules(), replies(), frames(), forgeries()].into_iter().flatten() {
        // None of these is translated, so XDP says the same.
        cases.push(case.at(Hook::Filter));
        cases.push(case);
    }
    cases
}

pub fn at(name: &'static str, world: World<V4>, packet: &Packet) -> Case {
    Case::new(name, Hook::Ingress, world, come(packet))
}

pub fn to_port(src: Addr, flags: u8) -> Packet {
    Packet::tcp((src, PEER), (OWN, PORT), flags)
}

pub fn to_udp(src: Addr) -> Packet {
    Packet::udp((src, PEER), (OWN, PORT))
}

fn strangers() -> Vec<Case> {
    let listening = |world: &mut World<V4>| {
        world.listen(TCP, ANY, PORT);
        world.listen(UDP, ANY, PORT);
    };
    let observed = || {
        let mut world = observing_host();
        listening(&mut world);
        world
    };
    let ping = |src| Packet::ping(src, OWN, 9);
    vec![
        at("a stranger's SYN", host_with(listening), &to_port(STRANGER, SYN))
            .ends(Reason::Stranger),
        at("a stranger's ACK to a listener", host_with(listening), &to_port(STRANGER, ACK))
            .ends(Reason::NotAReply),
        at("a stranger's datagram", host_with(listening), &to_udp(STRANGER)).ends(Reason::Stranger),
        at("a stranger's ping", host(), &ping(STRANGER)).ends(Reason::Stranger),
        at("a stranger's answer to no ping of ours", host(), &Packet::pong(STRANGER, OWN, 9))
            .ends(Reason::Stranger),
        at("another protocol of a stranger", host(), &Packet::raw(STRANGER, OWN, 132))
            .ends(Reason::Stranger),
        at("a stranger's SYN, observed", observed(), &to_port(STRANGER, SYN))
            .ends(Reason::Stranger),
        at("a stranger's datagram, observed", observed(), &to_udp(STRANGER)).ends(Reason::Stranger),
        at("a neighbour is a stranger too", host_with(listening), &to_udp(NEIGHBOUR))
            .ends(Reason::Stranger),
        at("a member's SYN", host_with(listening), &to_port(FAR, SYN)).ends(Reason::Member),
        at("a member's datagram", host_with(listening), &to_udp(FAR)).ends(Reason::Member),
        at("a member's ping", host(), &ping(FAR)).ends(Reason::Member),
        Case::new(
            "nobody is refused before there are settings",
            Hook::Ingress,
            host_with(|world| world.settings = neti_common::maps::Settings::UNSET),
            come(&to_udp(STRANGER)),
        ),
    ]
}

/// The stranger's network may reach these.
fn allowing(protocol: u8, first: u16, last: u16) -> World<V4> {
    host_with(|world| {
        let mut allow = Allow { count: 1, ..Allow::default() };
        allow.entries[0] = AllowEntry { first, last, protocol, _pad: 0 };
        let prefix = Prefix { network: [198, 51, 100, 0], mask: V4::mask(24) };
        world.allow.push((24, prefix, allow));
    })
}

fn rules() -> Vec<Case> {
    let tcp = |port| Packet::tcp((STRANGER, PEER), (OWN, port), SYN);
    let any = AllowEntry::ANY_PROTOCOL;
    let open = |protocol| {
        host_with(|world| {
            world.open.insert((protocol, PORT));
        })
    };
    let ssh = |src| Packet::tcp((src, PEER), (OWN, 22), SYN);
    let dhcp = Packet::udp((ROUTER, 67), (OWN, 68));
    let registry = (STRANGER, 2379);
    vec![
        at("the first port of an allow rule", allowing(TCP, 80, 90), &tcp(80))
            .ends(Reason::Allowed),
        at("the last port of an allow rule", allowing(TCP, 80, 90), &tcp(90)).ends(Reason::Allowed),
        at("a port below an allow rule", allowing(TCP, 80, 90), &tcp(79)).ends(Reason::Stranger),
        at("a port above an allow rule", allowing(TCP, 80, 90), &tcp(91)).ends(Reason::Stranger),
        at("another protocol than the rule's", allowing(UDP, 80, 90), &tcp(80))
            .ends(Reason::Stranger),
        at(
            "an allow rule for all protocols",
            allowing(any, 0, 65_535),
            &Packet::raw(STRANGER, OWN, 132),
        )
        .ends(Reason::Allowed),
        at("an allow rule for another prefix", allowing(TCP, 80, 90), &to_port(NEIGHBOUR, SYN))
            .ends(Reason::Stranger),
        at("an open TCP port", open(TCP), &to_port(STRANGER, SYN)).ends(Reason::OpenPort),
        at("a port open for UDP only", open(UDP), &to_port(STRANGER, SYN)).ends(Reason::Stranger),
        at("an open UDP port", open(UDP), &to_udp(STRANGER)).ends(Reason::OpenPort),
        at("ssh from a failsafe range", host(), &ssh(NEIGHBOUR)).ends(Reason::Failsafe),
        at("ssh from elsewhere", host(), &ssh(STRANGER)).ends(Reason::Stranger),
        at("DHCP", host(), &dhcp).ends(Reason::Failsafe),
        at(
            "the registry's answer",
            host_with(|world| world.add_endpoint(registry.0, registry.1)),
            &Packet::tcp(registry, (OWN, PEER), ACK),
        )
        .ends(Reason::Failsafe),
        at(
            "a stranger's ping where the fleet lets it in",
            host_with(|world| world.settings.echo = 1),
            &Packet::ping(STRANGER, OWN, 9),
        )
        .ends(Reason::Echo),
    ]
}

fn replies() -> Vec<Case> {
    let connected =
        |protocol| host_with(|world| world.connect(protocol, ends(STRANGER, OWN), PORT, PEER));
    let asked = |age| {
        let world = host();
        let flow = flow(UDP, (OWN, PORT), (STRANGER, PEER));
        hint(&world, Class::LocalStranger, flow, ends(STRANGER, OWN), age);
        world
    };
    let pinged = host();
    hint(&pinged, Class::LocalStranger, flow(1, (OWN, 9), (STRANGER, 9)), ends(STRANGER, OWN), 1);
    let other_port = Packet::udp((STRANGER, PEER + 1), (OWN, PORT));
    vec![
        at("TCP of a connection to a stranger", connected(TCP), &to_port(STRANGER, ACK))
            .ends(Reason::Reply),
        at("a SYN is no reply, whatever is connected", connected(TCP), &to_port(STRANGER, SYN))
            .ends(Reason::Stranger),
        at("UDP to a connected socket", connected(UDP), &to_udp(STRANGER)).ends(Reason::Reply),
        at("UDP to a socket that is connected elsewhere", connected(UDP), &other_port)
            .ends(Reason::Stranger),
        at("UDP that was asked for", asked(29), &to_udp(STRANGER)).ends(Reason::Hinted),
        at("UDP that was asked for too long ago", asked(31), &to_udp(STRANGER))
            .ends(Reason::Stranger),
        at("UDP from another port than was asked", asked(1), &other_port).ends(Reason::Stranger),
        at("a stranger's answer to our ping", pinged, &Packet::pong(STRANGER, OWN, 9))
            .ends(Reason::Hinted),
    ]
}

fn frames() -> Vec<Case> {
    let raw = |name, ethertype, body: &[u8]| {
        Case::new(name, Hook::Ingress, host(), frame(OWN_MAC, ROUTER_MAC, ethertype, body))
    };
    let stranger = come(&to_udp(STRANGER));
    let tags = |name, world, frame: &[u8], ids: &[u16]| {
        Case::new(name, Hook::Ingress, world, tagged(frame, ids))
    };
    let vlan7 = || {
        host_with(|world| {
            world.vlans.insert(7);
        })
    };
    // Version 6, payload 32, next header ICMPv6, hop limit 255; then the ICMPv6 type.
    let icmpv6 = |kind: u8| {
        let mut body = vec![0x60, 0, 0, 0, 0, 32, 58, 255];
        body.extend([0xfe; 32]);
        body.push(kind);
        body.extend([0; 31]);
        body
    };
    let mut short = come(&to_udp(STRANGER));
    short[14] = 0x44;
    let mut long = come(&to_udp(STRANGER));
    long[16..18].copy_from_slice(&1400_u16.to_be_bytes());
    let mut cut = come(&to_port(FAR, SYN));
    // The header says that the TCP header ends after 12 bytes.
    cut.truncate(14 + 20 + 12);
    cut[16..18].copy_from_slice(&32_u16.to_be_bytes());
    let mut padded = come(&to_udp(FAR));
    padded.extend([0; 10]);
    vec![
        raw("ARP", 0x0806, &arp(1, ROUTER, OWN)).ends(Reason::Link),
        raw("ARP in the name of an overlay address", 0x0806, &arp(1, FAR_OVERLAY, OWN))
            .ends(Reason::SpoofedOverlay),
        raw("ARP for our overlay address", 0x0806, &arp(1, ROUTER, OWN_OVERLAY))
            .ends(Reason::SpoofedOverlay),
        raw("ARP cut short", 0x0806, &arp(1, ROUTER, OWN)[..20]).ends(Reason::Malformed),
        raw("LLDP", 0x88cc, &[0; 46]).ends(Reason::Link),
        raw("an EtherType that a host does not need", 0x88b5, &[0; 46]).ends(Reason::Unparsed),
        raw("IPv6", 0x86dd, &icmpv6(128)).ends(Reason::Ipv6),
        raw("IPv6 neighbour solicitation", 0x86dd, &icmpv6(135)).ends(Reason::NeighbourDiscovery),
        tags("a stranger under a priority tag", host(), &stranger, &[0]).ends(Reason::Stranger),
        tags("a stranger under two priority tags", host(), &stranger, &[0, 0])
            .ends(Reason::Stranger),
        tags("a stranger under three tags", host(), &stranger, &[0, 0, 0])
            .ends(Reason::TooManyTags),
        tags("a member under a priority tag", host(), &come(&to_udp(FAR)), &[0])
            .ends(Reason::Member),
        tags("a VLAN that has no interface", host(), &stranger, &[7]).ends(Reason::UnknownVlan),
        tags("a VLAN that has an interface", vlan7(), &stranger, &[7]).ends(Reason::OtherVlan),
        tags("such a VLAN under a priority tag", vlan7(), &stranger, &[0, 7])
            .ends(Reason::OtherVlan),
        tags("a forgery under a priority tag", host(), &come(&to_udp(FAR_OVERLAY)), &[0])
            .ends(Reason::SpoofedOverlay),
        tags("a forgery under two priority tags", host(), &come(&to_udp(FAR_OVERLAY)), &[0, 0])
            .ends(Reason::SpoofedOverlay),
        Case::new("a header of 16 bytes", Hook::Ingress, host(), short).ends(Reason::Malformed),
        Case::new("a packet longer than its frame", Hook::Ingress, host(), long)
            .ends(Reason::Malformed),
        Case::new("a transport header cut short", Hook::Ingress, host(), cut)
            .ends(Reason::Malformed),
        Case::new("a frame with padding", Hook::Ingress, host(), padded).ends(Reason::Member),
    ]
}

fn forgeries() -> Vec<Case> {
    let udp = |src, dst| Packet::udp((src, PEER), (dst, PORT));
    let observed =
        |name, packet: &Packet| at(name, observing_host(), packet).ends(Reason::SpoofedOverlay);
    vec![
        at("from a member's overlay address", host(), &udp(FAR_OVERLAY, OWN))
            .ends(Reason::SpoofedOverlay),
        at("from our own overlay address", host(), &udp(OWN_OVERLAY, OWN))
            .ends(Reason::SpoofedOverlay),
        at("from an overlay address nobody has", host(), &udp(NOBODY, OWN))
            .ends(Reason::SpoofedOverlay),
        at("to our overlay address", host(), &udp(FAR, OWN_OVERLAY)).ends(Reason::SpoofedOverlay),
        observed("from an overlay address, observed", &udp(FAR_OVERLAY, OWN)),
        observed("to our overlay address, observed", &udp(FAR, OWN_OVERLAY)),
    ]
}
