//! Packets that arrive: strangers are refused, forgeries dropped, and what members send gets the names that its receiver
//! knows. What XDP judges is judged in tc with the same words, so most cases of the filter are run at both hooks.

use neti_common::{
    family::{Family, V4},
    headers::{TCP, UDP},
    maps::{Allow, AllowEntry, Fragment, FragmentKey, Prefix, TwinIn, TwinOut},
    model::World,
    tables::Class,
    verdict::{Hook, Reason},
};

use crate::{
    Case,
    packet::{ACK, Addr, Packet, SYN},
    scene::{
        FAR, FAR_OVERLAY, NEIGHBOUR, NOBODY, OWN, OWN_MAC, OWN_OVERLAY, ROUTER, ROUTER_MAC,
        STRANGER, arp, come, ends, flow, frame, hint, host, host_with, member_flow, observing_host,
        overlay_host, tagged,
    },
};

const ANY: Option<Addr> = None;
const PORT: u16 = 80;
/// The peer's port.
const PEER: u16 = 50_000;
/// Of the one half-open connection, which outlives its case.
const HALF_OPEN_PEER: u16 = 50_007;

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for case in [strangers(), rules(), replies(), frames(), forgeries()].into_iter().flatten() {
        // None of these is translated, so XDP says the same.
        cases.push(case.at(Hook::Filter));
        cases.push(case);
    }
    cases.extend(demux());
    cases.extend(flows_without_sockets());
    cases.extend(fragments());
    cases.extend(errors());
    cases.extend(unusual());
    cases
}

fn at(name: &'static str, world: World<V4>, packet: &Packet) -> Case {
    Case::new(name, Hook::Ingress, world, come(packet))
}

/// A case whose packet from a member is given other names.
fn named(name: &'static str, world: World<V4>, packet: &Packet, names: &Packet) -> Case {
    at(name, world, packet).becomes(come(names)).ends(Reason::Translated)
}

fn to_port(src: Addr, flags: u8) -> Packet {
    Packet::tcp((src, PEER), (OWN, PORT), flags)
}

fn to_udp(src: Addr) -> Packet {
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

/// Which form a member's packet belongs to is told by the sockets.
fn demux() -> Vec<Case> {
    let syn = |src, dst| Packet::tcp((src, PEER), (dst, PORT), SYN);
    let text = |src, dst| Packet::tcp((src, PEER), (dst, PORT), ACK);
    let udp = |src, dst| Packet::udp((src, PEER), (dst, PORT));
    let listening = |mut world: World<V4>, protocol, local| {
        world.listen(protocol, local, PORT);
        world
    };
    let connected = |protocol, ends| {
        host_with(|world| {
            world.listen(protocol, ANY, PORT);
            world.connect(protocol, ends, PORT, PEER);
        })
    };
    let half_open = host_with(|world| {
        world.listen(TCP, ANY, PORT);
        world.connect(TCP, ends(FAR_OVERLAY, OWN_OVERLAY), PORT, HALF_OPEN_PEER);
        if let Some(socket) = world.sockets.last_mut() {
            socket.half_open = true;
        }
    });
    let both = (
        ends(FAR_OVERLAY, OWN_OVERLAY),
        syn(FAR_OVERLAY, OWN_OVERLAY),
        text(FAR_OVERLAY, OWN_OVERLAY),
    );
    let mixed = [
        ("TCP of a connection from our real address", FAR_OVERLAY, OWN),
        ("TCP of a connection to a real address", FAR, OWN_OVERLAY),
    ];
    let mut cases = vec![
        at("a SYN to a wildcard listener", listening(host(), TCP, ANY), &syn(FAR, OWN))
            .ends(Reason::Member),
        named(
            "a SYN to a wildcard listener, identity overlay",
            listening(overlay_host(), TCP, ANY),
            &syn(FAR, OWN),
            &both.1,
        ),
        named(
            "a SYN to a listener on our overlay address",
            listening(host(), TCP, Some(OWN_OVERLAY)),
            &syn(FAR, OWN),
            &both.1,
        ),
        at(
            "a SYN to a listener on our real address, identity overlay",
            listening(overlay_host(), TCP, Some(OWN)),
            &syn(FAR, OWN),
        )
        .ends(Reason::Member),
        at("a SYN to a closed port", host(), &syn(FAR, OWN)).ends(Reason::Member),
        named("a SYN to a closed port, identity overlay", overlay_host(), &syn(FAR, OWN), &both.1),
        named("TCP of an overlay connection", connected(TCP, both.0), &text(FAR, OWN), &both.2),
        at("TCP of a direct connection", connected(TCP, ends(FAR, OWN)), &text(FAR, OWN))
            .ends(Reason::Member),
        named(
            "TCP of a half-open overlay connection",
            half_open,
            &Packet::tcp((FAR, HALF_OPEN_PEER), (OWN, PORT), ACK),
            &Packet::tcp((FAR_OVERLAY, HALF_OPEN_PEER), (OWN_OVERLAY, PORT), ACK),
        ),
        named(
            "UDP to a connected overlay socket",
            connected(UDP, both.0),
            &udp(FAR, OWN),
            &udp(FAR_OVERLAY, OWN_OVERLAY),
        ),
        at("UDP to a connected direct socket", connected(UDP, ends(FAR, OWN)), &udp(FAR, OWN))
            .ends(Reason::Member),
        named(
            "UDP to a socket on our overlay address",
            listening(host(), UDP, Some(OWN_OVERLAY)),
            &udp(FAR, OWN),
            &udp(FAR_OVERLAY, OWN_OVERLAY),
        ),
        at(
            "UDP to a socket on our real address, identity overlay",
            listening(overlay_host(), UDP, Some(OWN)),
            &udp(FAR, OWN),
        )
        .ends(Reason::Member),
        named(
            "UDP to a wildcard socket, identity overlay",
            listening(overlay_host(), UDP, ANY),
            &udp(FAR, OWN),
            &udp(FAR_OVERLAY, OWN_OVERLAY),
        ),
        named(
            "UDP without a checksum",
            overlay_host(),
            &Packet::unsummed_udp((FAR, PEER), (OWN, PORT)),
            &Packet::unsummed_udp((FAR_OVERLAY, PEER), (OWN_OVERLAY, PORT)),
        ),
    ];
    for (name, peer, own) in mixed {
        let world = connected(TCP, ends(peer, own));
        cases.push(named(name, world, &text(FAR, OWN), &text(peer, own)));
    }
    cases.push(twin());
    cases
}

/// A packet to a port that a twin has on the wire.
fn twin() -> Case {
    let world = host_with(|world| {
        let wire = member_flow(TCP, 61_500, (FAR_OVERLAY, PEER));
        let twin =
            TwinIn { ends: ends(FAR_OVERLAY, OWN_OVERLAY), port: PORT.to_be_bytes(), _pad: [0; 2] };
        let socket = flow(TCP, (OWN_OVERLAY, PORT), (FAR_OVERLAY, PEER));
        let port = 61_500_u16.to_be_bytes();
        world.twins_out.get_mut().insert(socket, TwinOut { port, _pad: [0; 2] });
        world.twins_in.get_mut().insert(wire, twin);
    });
    named(
        "a twin's packet gets its socket's port",
        world,
        &Packet::tcp((FAR, PEER), (OWN, 61_500), ACK),
        &Packet::tcp((FAR_OVERLAY, PEER), (OWN_OVERLAY, PORT), ACK),
    )
}

fn flows_without_sockets() -> Vec<Case> {
    let pinged = |age| {
        let world = host();
        let flow = member_flow(1, 9, (FAR_OVERLAY, 9));
        hint(&world, Class::LocalMember, flow, ends(FAR_OVERLAY, OWN_OVERLAY), age);
        world
    };
    let asked = host_with(|world| world.listen(UDP, ANY, PORT));
    let key = member_flow(UDP, PORT, (FAR_OVERLAY, PEER));
    hint(&asked, Class::LocalMember, key, ends(FAR_OVERLAY, OWN_OVERLAY), 1);
    let overlay_pong = Packet::pong(FAR_OVERLAY, OWN_OVERLAY, 9);
    vec![
        named(
            "the answer to an overlay ping",
            pinged(1),
            &Packet::pong(FAR, OWN, 9),
            &overlay_pong,
        ),
        at("the answer to a ping long ago", pinged(31), &Packet::pong(FAR, OWN, 9))
            .ends(Reason::Member),
        named(
            "a member's ping, identity overlay",
            overlay_host(),
            &Packet::ping(FAR, OWN, 9),
            &Packet::ping(FAR_OVERLAY, OWN_OVERLAY, 9),
        ),
        named(
            "UDP that was asked for by overlay",
            asked,
            &to_udp(FAR),
            &Packet::udp((FAR_OVERLAY, PEER), (OWN_OVERLAY, PORT)),
        ),
        named(
            "another protocol, identity overlay",
            overlay_host(),
            &Packet::raw(FAR, OWN, 132),
            &Packet::raw(FAR_OVERLAY, OWN_OVERLAY, 132),
        ),
    ]
}

fn fragments() -> Vec<Case> {
    let overlay = Packet::udp((FAR_OVERLAY, PEER), (OWN_OVERLAY, PORT));
    let (first, later) =
        (|p: &Packet| p.clone().fragment(0, true), |p: &Packet| p.clone().fragment(6, true));
    let seen = |mut world: World<V4>, src: Addr, ends| {
        let key =
            FragmentKey { src, dst: OWN, id: [0x4e, 0x54, 0, 0], protocol: UDP, _pad: [0; 3] };
        let fragment = Fragment { seen: world.now.get(), ends };
        world.fragments.get_mut().push((key, fragment));
        world
    };
    let (far, stranger) = (to_udp(FAR), to_udp(STRANGER));
    vec![
        named("a first fragment", overlay_host(), &first(&far), &first(&overlay)),
        named(
            "a later fragment follows its first",
            seen(host(), FAR, ends(FAR_OVERLAY, OWN_OVERLAY)),
            &later(&far),
            &later(&overlay),
        ),
        at("a member's later fragment without its first", host(), &later(&far))
            .ends(Reason::Member),
        named(
            "a member's later fragment without its first, identity overlay",
            overlay_host(),
            &later(&far),
            &later(&overlay),
        ),
        at("a stranger's later fragment without its first", host(), &later(&stranger))
            .ends(Reason::FragmentWithoutFirst),
        at(
            "a stranger's later fragment after its first",
            seen(host(), STRANGER, ends(STRANGER, OWN)),
            &later(&stranger),
        )
        .ends(Reason::Fragment),
        at("a stranger's first fragment", host(), &first(&stranger)).ends(Reason::Stranger),
    ]
}

/// Errors that routers and peers send about packets of ours.
fn errors() -> Vec<Case> {
    let connected = |protocol, ends| host_with(|world| world.connect(protocol, ends, PORT, PEER));
    let overlay = ends(FAR_OVERLAY, OWN_OVERLAY);
    let sent = |own, peer| Packet::tcp((own, PORT), (peer, PEER), ACK);
    let asked = |own, peer| Packet::udp((own, PORT), (peer, PEER));
    let pinged = host();
    hint(&pinged, Class::LocalMember, member_flow(1, 9, (FAR_OVERLAY, 9)), overlay, 1);
    let told = |case: Case| case.ends(Reason::IcmpError);
    vec![
        told(
            at(
                "a router on an overlay connection",
                connected(TCP, overlay),
                &Packet::too_big(ROUTER, OWN, sent(OWN, FAR)),
            )
            .becomes(come(&Packet::too_big(
                ROUTER,
                OWN_OVERLAY,
                sent(OWN_OVERLAY, FAR_OVERLAY),
            ))),
        ),
        told(at(
            "a router on a direct connection",
            connected(TCP, ends(FAR, OWN)),
            &Packet::too_big(ROUTER, OWN, sent(OWN, FAR)),
        )),
        told(
            at(
                "a peer on our overlay question",
                connected(UDP, overlay),
                &Packet::port_unreachable(FAR, OWN, asked(OWN, FAR)),
            )
            .becomes(come(&Packet::port_unreachable(
                FAR_OVERLAY,
                OWN_OVERLAY,
                asked(OWN_OVERLAY, FAR_OVERLAY),
            ))),
        ),
        told(
            at(
                "a router on an overlay ping",
                pinged,
                &Packet::error(ROUTER, OWN, (11, 0), Packet::ping(OWN, FAR, 9), usize::MAX),
            )
            .becomes(come(&Packet::error(
                ROUTER,
                OWN_OVERLAY,
                (11, 0),
                Packet::ping(OWN_OVERLAY, FAR_OVERLAY, 9),
                usize::MAX,
            ))),
        ),
        told(at(
            "a stranger on our connection to it",
            connected(TCP, ends(STRANGER, OWN)),
            &Packet::too_big(ROUTER, OWN, sent(OWN, STRANGER)),
        )),
        at(
            "about a connection that we do not have",
            host(),
            &Packet::too_big(ROUTER, OWN, sent(OWN, STRANGER)),
        )
        .ends(Reason::IcmpUnrelated),
        at(
            "about a packet that somebody else sent",
            connected(TCP, ends(STRANGER, OWN)),
            &Packet::too_big(ROUTER, OWN, sent(NEIGHBOUR, STRANGER)),
        )
        .ends(Reason::IcmpUnrelated),
        at(
            "a quote cut short",
            host(),
            &Packet::error(ROUTER, OWN, (3, 4), sent(OWN, STRANGER), 12),
        )
        .ends(Reason::IcmpUnrelated),
    ]
}

fn unusual() -> Vec<Case> {
    let options = [1, 1, 1, 1, 1, 1, 1, 0];
    let overlay = Packet::tcp((FAR_OVERLAY, PEER), (OWN_OVERLAY, PORT), SYN);
    let priority = |packet: &Packet, ids: &[u16]| tagged(&come(packet), ids);
    let under = |name, ids: &[u16]| {
        Case::new(name, Hook::Ingress, overlay_host(), priority(&to_port(FAR, SYN), ids))
            .becomes(priority(&overlay, ids))
            .ends(Reason::Translated)
    };
    let mut padded = come(&to_port(FAR, SYN));
    padded.extend([0; 6]);
    let mut padded_overlay = come(&overlay);
    padded_overlay.extend([0; 6]);
    vec![
        named(
            "options",
            overlay_host(),
            &to_port(FAR, SYN).options(&options),
            &overlay.clone().options(&options),
        ),
        named(
            "the longest options",
            overlay_host(),
            &to_port(FAR, SYN).options(&[1; 40]),
            &overlay.clone().options(&[1; 40]),
        ),
        under("translated under a priority tag", &[0]),
        under("translated under two priority tags", &[0, 0]),
        Case::new("translated with padding", Hook::Ingress, overlay_host(), padded)
            .becomes(padded_overlay)
            .ends(Reason::Translated),
        at(
            "to the broadcast address",
            overlay_host(),
            &Packet::udp((FAR, PEER), ([10, 0, 0, 255], PORT)),
        )
        .ends(Reason::Member),
    ]
}
