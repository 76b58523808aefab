//! Extension headers that are not let in, transports that nobody looks into, and addresses of other kinds.

use neti_common::{
    family::V6,
    headers::TCP,
    verdict::{Hook, Reason},
};

use crate::{
    Case,
    arriving::{PEER, PORT, at, at_both_hooks, to_port, to_udp},
    leaving::{dropped, leaves},
    packet::{ACK, Body, Packet, SYN},
    scene::{
        Scene, come, ends, host, host_with, observing_host, out, overlay_host,
        v6::{
            DESTINATION, Extension, address, eight_headers, fragment, options, router_alert,
            routing,
        },
    },
};

pub fn cases() -> Vec<Case<V6>> {
    let arriving = [refused(), forged(), others(), addresses()].concat();
    [at_both_hooks(arriving), translated(), quoted(), leaving()].concat()
}

/// A member's packet behind these.
fn behind(chain: &[Extension]) -> Packet<V6> {
    to_port(V6::FAR, SYN).options(&chain.to_vec())
}

fn refused() -> Vec<Case<V6>> {
    let case =
        |name: &str, chain: &[Extension], reason| at(name, host(), &behind(chain)).ends(reason);
    let segments = [V6::OWN, V6::ROUTER];
    let typed = |kind| {
        let mut header = routing(1, &segments);
        header.bytes[0] = kind;
        header
    };
    // The options' own length is the second byte of their header.
    let longer = |mut frame: Vec<u8>| {
        frame[14 + 40 + 1] = 8;
        frame
    };
    let cut = |length| {
        // Of eight bytes, before no next header.
        let bytes = [NO_NEXT_HEADER, 0, 1, 4, 0, 0, 0, 0][..length].to_vec();
        let body = Body::Raw { protocol: DESTINATION, bytes };
        Case::new(
            format!("an extension header of which {length} bytes are there"),
            Hook::Ingress,
            host(),
            come(&Packet::<V6>::new(V6::FAR, V6::OWN, body)),
        )
        .ends(Reason::Malformed)
    };
    let options_again = || [&eight_headers()[..], &[options(8)]].concat();
    let fragment_again = || [&eight_headers()[..], &[fragment(0, true)]].concat();
    vec![
        case("nine extension headers", &options_again(), Reason::LongChain),
        case("a fragment header behind eight others", &fragment_again(), Reason::LongChain),
        case("136 bytes of extension headers", &[options(72), options(64)], Reason::LongChain),
        case("one extension header of 136 bytes", &[options(136)], Reason::LongChain),
        case("hop-by-hop options twice", &[router_alert(), router_alert()], Reason::Malformed),
        case("hop-by-hop options second", &[options(8), router_alert()], Reason::Malformed),
        case(
            "a routing header with a segment left",
            &[routing(1, &segments)],
            Reason::RoutingHeader,
        ),
        case("a segment routing header with a segment left", &[typed(4)], Reason::RoutingHeader),
        case("a home address routing header", &[typed(2)], Reason::RoutingHeader),
        case(
            "a routing header with a segment left behind others",
            &[router_alert(), options(8), routing(2, &segments)],
            Reason::RoutingHeader,
        ),
        Case::new(
            "an extension header that is longer than the packet",
            Hook::Ingress,
            host(),
            longer(come(&behind(&[options(8)]))),
        )
        .ends(Reason::Malformed),
        cut(2),
        cut(7),
        at("an unknown stranger's first fragment", host(), &to_udp(V6::STRANGER).fragment(0, true))
            .ends(Reason::Stranger),
        at(
            "a stranger's last fragment, one extension header before the fragment header",
            host(),
            &to_udp(V6::STRANGER).options(&vec![options(8)]).fragment(6, false),
        )
        .ends(Reason::FragmentWithoutFirst),
    ]
}

/// The kernel looks behind chains that we do not, and `observe` lets those pass: not so with an overlay address.
fn forged() -> Vec<Case<V6>> {
    let nine = [&eight_headers()[..], &[options(8)]].concat();
    let left = [routing(1, &[V6::ROUTER])];
    let observed = |who: &str, what: &str, (src, dst), chain: &[Extension]| {
        let packet = Packet::<V6>::udp((src, PEER), (dst, PORT)).options(&chain.to_vec());
        at(format!("{who} behind {what}, observed"), observing_host(), &packet)
    };
    let stranger = observed("from a stranger", "nine headers", (V6::STRANGER, V6::OWN), &nine);
    let mut cases = vec![stranger.ends(Reason::LongChain)];
    for (what, chain) in [("nine headers", &nine[..]), ("a routing header", &left)] {
        cases.extend([
            observed("from an overlay address", what, (V6::FAR_OVERLAY, V6::OWN), chain)
                .ends(Reason::SpoofedOverlay),
            observed("to an overlay address", what, (V6::FAR, V6::OWN_OVERLAY), chain)
                .ends(Reason::SpoofedOverlay),
        ]);
    }
    let quoted = Packet::<V6>::tcp((V6::OWN_OVERLAY, PORT), (V6::FAR_OVERLAY, PEER), ACK);
    let error = |src, chain: &[Extension]| {
        let quoted = quoted.clone().options(&chain.to_vec());
        Packet::error(src, V6::OWN, V6::TOO_BIG, quoted, usize::MAX)
    };
    cases.extend([
        at("a member quotes the overlay behind nine headers", host(), &error(V6::FAR, &nine))
            .ends(Reason::SpoofedOverlay),
        at("a router quotes the overlay, observed", observing_host(), &error(V6::ROUTER, &nine))
            .ends(Reason::SpoofedOverlay),
    ]);
    cases
}

/// What is no transport, or none that has ports.
fn others() -> Vec<Case<V6>> {
    let raw = |src, protocol| Packet::raw(src, V6::OWN, protocol);
    let nothing = |src| {
        Packet::<V6>::new(src, V6::OWN, Body::Raw { protocol: NO_NEXT_HEADER, bytes: Vec::new() })
    };
    let mut empty = come::<V6>(&to_udp(V6::FAR));
    empty[18..20].fill(0);
    let mut version = come::<V6>(&to_udp(V6::FAR));
    version[14] = 0x40;
    vec![
        at("a stranger's ESP", host(), &raw(V6::STRANGER, ESP)).ends(Reason::Stranger),
        at("a member's ESP", host(), &raw(V6::FAR, ESP)).ends(Reason::Member),
        at("a stranger's AH", host(), &raw(V6::STRANGER, AH)).ends(Reason::Stranger),
        at("a member's AH", host(), &raw(V6::FAR, AH)).ends(Reason::Member),
        at("no next header", host(), &nothing(V6::FAR)).ends(Reason::Member),
        at("a stranger's no next header", host(), &nothing(V6::STRANGER)).ends(Reason::Stranger),
        at(
            "a stranger's no next header behind options",
            host(),
            &nothing(V6::STRANGER).options(&vec![options(8)]),
        )
        .ends(Reason::Stranger),
        at("an unknown next header", host(), &raw(V6::FAR, 253)).ends(Reason::Member),
        at("IPv4's ICMP in IPv6", host(), &raw(V6::STRANGER, 1)).ends(Reason::Stranger),
        Case::new("a payload length of zero", Hook::Ingress, host(), empty).ends(Reason::Malformed),
        Case::new("another version in the header", Hook::Ingress, host(), version)
            .ends(Reason::Malformed),
    ]
}

const ESP: u8 = 50;
const AH: u8 = 51;
const NO_NEXT_HEADER: u8 = 59;

/// Addresses that look like others.
fn addresses() -> Vec<Case<V6>> {
    // ::ffff:203.0.113.110, which is no address on a wire (RFC 4291 2.5.5.2).
    let mapped = address([0, 0, 0, 0, 0, 0xffff, 0xcb00, 0x716e]);
    let link_local = address([0xfe80, 0, 0, 0, 0, 0, 0, 1]);
    let google = address([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]);
    let connected = host_with(|world| world.connect(TCP, ends(V6::STRANGER, V6::OWN), PORT, PEER));
    let dhcp = |server, port| Packet::udp((server, port), (V6::OWN, 546));
    let metadata = Packet::tcp((google, 80), (V6::OWN, PEER), ACK);
    vec![
        at("a mapped source", host(), &to_udp(mapped)).ends(Reason::Stranger),
        at("a mapped source's reply", connected, &to_port(mapped, ACK)).ends(Reason::NotAReply),
        at("a link-local source", host(), &to_udp(link_local)).ends(Reason::Stranger),
        at("DHCP from the link", host(), &dhcp(link_local, 547)).ends(Reason::Failsafe),
        at("DHCP from another port", host(), &dhcp(link_local, 40_000)).ends(Reason::Failsafe),
        at("DHCP from another port and from afar", host(), &dhcp(V6::STRANGER, 40_000))
            .ends(Reason::Stranger),
        at("another cloud's metadata service", host(), &metadata).ends(Reason::Failsafe),
    ]
}

/// What is not let in as something else goes on translated.
fn translated() -> Vec<Case<V6>> {
    let named = |name: &str, packet: Packet<V6>| {
        let names = packet.clone().between(V6::FAR_OVERLAY, V6::OWN_OVERLAY);
        at(name, overlay_host(), &packet).becomes(come(&names)).ends(Reason::Translated)
    };
    let raw = |protocol| Packet::raw(V6::FAR, V6::OWN, protocol);
    let before = |chain: &[Extension]| to_udp(V6::FAR).options(&chain.to_vec());
    vec![
        named("a member's ESP, identity overlay", raw(ESP)),
        named("an unknown next header, identity overlay", raw(253)),
        named(
            "a first fragment behind other headers",
            before(&[router_alert(), options(8)]).fragment(0, true),
        ),
        named(
            "a later fragment behind other headers",
            before(&[router_alert(), options(8)]).fragment(6, false),
        ),
        named("a first fragment before other headers", before(&[fragment(0, true), options(8)])),
    ]
}

/// Errors about packets of ours that had extension headers.
fn quoted() -> Vec<Case<V6>> {
    let connected = || {
        host_with(|world| world.connect(TCP, ends(V6::FAR_OVERLAY, V6::OWN_OVERLAY), PORT, PEER))
    };
    let sent = |own, peer, chain: &[Extension]| {
        Packet::<V6>::tcp((own, PORT), (peer, PEER), ACK).options(&chain.to_vec())
    };
    let told = |name: String, kind, chain: &[Extension], bytes| {
        let error = |to, own, peer| {
            come(&Packet::error(V6::ROUTER, to, kind, sent(own, peer, chain), bytes))
        };
        Case::new(name, Hook::Ingress, connected(), error(V6::OWN, V6::OWN, V6::FAR))
            .becomes(error(V6::OWN_OVERLAY, V6::OWN_OVERLAY, V6::FAR_OVERLAY))
            .ends(Reason::IcmpError)
    };
    let unrelated = |name: &str, quoted: Packet<V6>, bytes| {
        let error = Packet::error(V6::ROUTER, V6::OWN, V6::TOO_BIG, quoted, bytes);
        at(name, connected(), &error).ends(Reason::IcmpUnrelated)
    };
    let chain = [options(24)];
    let long = [options(72), options(64)];
    let mut cases = Vec::new();
    for (kind, what) in
        [(1, "unreachable"), (2, "too big"), (3, "too many hops"), (4, "a bad header")]
    {
        cases.push(told(format!("{what}, all quoted"), (kind, 0), &[], usize::MAX));
        cases.push(told(format!("{what}, ports quoted"), (kind, 0), &chain, 40 + 24 + 8));
    }
    for (what, chain) in V6::harmless() {
        let name = format!("too big, about a packet with {what}");
        cases.push(told(name, V6::TOO_BIG, &chain, usize::MAX));
    }
    cases.extend([
        told(
            "too big, about a first fragment".into(),
            V6::TOO_BIG,
            &[fragment(0, true)],
            usize::MAX,
        ),
        unrelated("a quote that ends among the options", sent(V6::OWN, V6::FAR, &chain), 60),
        unrelated("a quote that ends before the ports", sent(V6::OWN, V6::FAR, &chain), 64),
        unrelated("a quote of a chain that is too long", sent(V6::OWN, V6::FAR, &long), usize::MAX),
        unrelated(
            "a quote of a later fragment",
            sent(V6::OWN, V6::FAR, &[]).fragment(6, true),
            usize::MAX,
        ),
        at(
            "an error of a type that is none",
            connected(),
            &Packet::error(V6::ROUTER, V6::OWN, (5, 0), sent(V6::OWN, V6::FAR, &[]), usize::MAX),
        )
        .ends(Reason::Stranger),
    ]);
    cases
}

fn leaving() -> Vec<Case<V6>> {
    let udp = |src, dst, chain: &[Extension]| {
        Packet::<V6>::udp((src, 4000), (dst, 53)).options(&chain.to_vec())
    };
    let ours = |chain: &[Extension]| udp(V6::OWN, V6::STRANGER, chain);
    let segments = [V6::STRANGER, V6::FAR_OVERLAY];
    let long = [options(72), options(64)];
    let mut nine = vec![V6::STRANGER; 8];
    nine.push(V6::FAR_OVERLAY);
    let unread = |frame: Vec<u8>| Case::new("a version that is none", Hook::Egress, host(), frame);
    let mut version = out(&udp(V6::OWN_OVERLAY, V6::FAR_OVERLAY, &[]));
    version[14] = 0x40;
    vec![
        dropped(
            "by way of an overlay address",
            &ours(&[routing(2, &segments)]),
            Reason::OverlayOption,
        ),
        dropped(
            "by way of an overlay address, behind options",
            &ours(&[router_alert(), options(24), routing(1, &segments)]),
            Reason::OverlayOption,
        ),
        dropped(
            "by way of an overlay address, behind a fragment header",
            &ours(&[fragment(0, false), routing(1, &segments)]),
            Reason::OverlayOption,
        ),
        dropped(
            "by way of eight others and an overlay address",
            &ours(&[routing(1, &nine)]),
            Reason::LongChain,
        ),
        dropped(
            "by way of an overlay address, behind more than is looked at",
            &ours(&[options(104), routing(1, &[V6::ROUTER]), routing(1, &segments)]),
            Reason::LongChain,
        ),
        leaves("by way of a stranger", &ours(&[routing(1, &[V6::ROUTER])])),
        dropped(
            "to an overlay address, by way of a stranger",
            &udp(V6::OWN_OVERLAY, V6::FAR_OVERLAY, &[routing(1, &[V6::ROUTER])]),
            Reason::OverlaySource,
        ),
        dropped(
            "to an overlay address behind a chain that is too long",
            &udp(V6::OWN_OVERLAY, V6::FAR_OVERLAY, &long),
            Reason::LongChain,
        ),
        unread(version).ends(Reason::OverlaySource),
    ]
}
