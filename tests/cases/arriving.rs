//! Packets that arrive and are let in or refused. XDP and tc judge with the same words, so each case is run at both hooks.

use neti_common::{
    headers::{TCP, UDP},
    maps::service,
    model::World,
    tables::Class,
    verdict::{Hook, Reason},
};

use crate::{
    Case,
    packet::{ACK, Body, PAYLOAD, Packet, SYN},
    scene::{
        Scene, come, ends, flow, hint, host, host_with, observing_host, overlay_host, plain_host,
        prefix, tagged,
    },
};

pub const PORT: u16 = 80;
/// The peer's port.
pub const PEER: u16 = 50_000;

pub fn cases<F: Scene>() -> Vec<Case<F>> {
    let cases =
        [strangers(), members(), rules(), replies(), frames(), behind_options(), forgeries()];
    at_both_hooks(cases.concat())
}

/// Of cases in which nothing is translated, XDP says the same as tc.
pub fn at_both_hooks<F: Scene>(cases: Vec<Case<F>>) -> Vec<Case<F>> {
    cases.into_iter().flat_map(|case| [case.at(Hook::Filter), case]).collect()
}

pub fn at<F: Scene>(name: impl Into<String>, world: World<F>, packet: &Packet<F>) -> Case<F> {
    Case::new(name, Hook::Ingress, world, come(packet))
}

pub fn to_port<F: Scene>(src: F::Addr, flags: u8) -> Packet<F> {
    Packet::tcp((src, PEER), (F::OWN, PORT), flags)
}

pub fn to_udp<F: Scene>(src: F::Addr) -> Packet<F> {
    Packet::udp((src, PEER), (F::OWN, PORT))
}

fn strangers<F: Scene>() -> Vec<Case<F>> {
    let listening = |world: &mut World<F>| {
        world.listen(TCP, None, PORT);
        world.listen(UDP, None, PORT);
    };
    let observed = || {
        let mut world = observing_host();
        listening(&mut world);
        world
    };
    let ping = |src| Packet::ping(src, F::OWN, 9);
    vec![
        at("a stranger's SYN", host_with(listening), &to_port(F::STRANGER, SYN))
            .ends(Reason::Stranger),
        at("a stranger's ACK to a listener", host_with(listening), &to_port(F::STRANGER, ACK))
            .ends(Reason::NotAReply),
        at("a stranger's datagram", host_with(listening), &to_udp(F::STRANGER))
            .ends(Reason::Stranger),
        at("a stranger's ping", host(), &ping(F::STRANGER)).ends(Reason::Stranger),
        at("a stranger's answer to no ping of ours", host(), &Packet::pong(F::STRANGER, F::OWN, 9))
            .ends(Reason::Stranger),
        at("another protocol of a stranger", host(), &Packet::raw(F::STRANGER, F::OWN, 132))
            .ends(Reason::Stranger),
        at("a stranger's SYN, observed", observed(), &to_port(F::STRANGER, SYN))
            .ends(Reason::Stranger),
        at("a stranger's datagram, observed", observed(), &to_udp(F::STRANGER))
            .ends(Reason::Stranger),
        at("a neighbour is a stranger too", host_with(listening), &to_udp(F::NEIGHBOUR))
            .ends(Reason::Stranger),
        Case::new(
            "nobody is refused before there are settings",
            Hook::Ingress,
            host_with(|world| world.settings = neti_common::maps::Settings::UNSET),
            come::<F>(&to_udp(F::STRANGER)),
        ),
    ]
}

fn members<F: Scene>() -> Vec<Case<F>> {
    let listening = |world: &mut World<F>| {
        world.listen(TCP, None, PORT);
        world.listen(UDP, None, PORT);
    };
    vec![
        at("a member's SYN", host_with(listening), &to_port(F::FAR, SYN)).ends(Reason::Member),
        at("a member's datagram", host_with(listening), &to_udp(F::FAR)).ends(Reason::Member),
        at("a member's ping", host(), &Packet::ping(F::FAR, F::OWN, 9)).ends(Reason::Member),
        at("a member that has no overlay address", overlay_host(), &to_port(F::PLAIN, SYN))
            .ends(Reason::Member),
        at("a datagram of a member that has no overlay address", overlay_host(), &to_udp(F::PLAIN))
            .ends(Reason::Member),
        at("a member where the fleet has no overlay range", plain_host(), &to_port(F::FAR, SYN))
            .ends(Reason::Member),
        at("a stranger where the fleet has no overlay range", plain_host(), &to_udp(F::STRANGER))
            .ends(Reason::Stranger),
    ]
}

/// The stranger's network may reach these.
fn allowing<F: Scene>(protocol: u8, first: u16, last: u16) -> World<F> {
    host_with(|world| {
        let services = service::of(protocol, first)..=service::of(protocol, last);
        world.allow(F::STRANGERS.1, prefix::<F>(F::STRANGERS).network, services);
    })
}

fn rules<F: Scene>() -> Vec<Case<F>> {
    let tcp = |port| Packet::tcp((F::STRANGER, PEER), (F::OWN, port), SYN);
    let open = |protocol| {
        host_with(|world| {
            world.open(protocol, PORT);
        })
    };
    let ssh = |src| Packet::tcp((src, PEER), (F::OWN, 22), SYN);
    let dhcp = Packet::udp((F::ROUTER, F::DHCP.0), (F::OWN, F::DHCP.1));
    let to_server = Packet::udp((F::ROUTER, F::DHCP.1), (F::OWN, F::DHCP.0));
    let metadata = |flags| Packet::tcp((F::METADATA, 80), (F::OWN, PEER), flags);
    let registry = (F::STRANGER, 2379);
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
            host_with(|world| {
                let network = prefix::<F>(F::STRANGERS).network;
                world.allow(F::STRANGERS.1, network, 0..=service::COUNT - 1);
            }),
            &Packet::raw(F::STRANGER, F::OWN, 132),
        )
        .ends(Reason::Allowed),
        at("an allow rule for another prefix", allowing(TCP, 80, 90), &to_port(F::NEIGHBOUR, SYN))
            .ends(Reason::Stranger),
        at("an open TCP port", open(TCP), &to_port(F::STRANGER, SYN)).ends(Reason::OpenPort),
        at("a port open for UDP only", open(UDP), &to_port(F::STRANGER, SYN))
            .ends(Reason::Stranger),
        at("an open UDP port", open(UDP), &to_udp(F::STRANGER)).ends(Reason::OpenPort),
        at("ssh from a failsafe range", host(), &ssh(F::NEIGHBOUR)).ends(Reason::Failsafe),
        at("ssh from elsewhere", host(), &ssh(F::STRANGER)).ends(Reason::Stranger),
        at("DHCP", host(), &dhcp).ends(Reason::Failsafe),
        at("DHCP's ports the other way round", host(), &to_server).ends(Reason::Stranger),
        at("the metadata service's answer", host(), &metadata(SYN | ACK)).ends(Reason::Failsafe),
        at("a SYN from the metadata service", host(), &metadata(SYN)).ends(Reason::Stranger),
        at(
            "the registry's answer",
            host_with(|world| world.add_endpoint(registry.0, registry.1)),
            &Packet::tcp(registry, (F::OWN, PEER), ACK),
        )
        .ends(Reason::Failsafe),
        at(
            "a stranger's ping where the fleet lets it in",
            host_with(|world| world.settings.echo = 1),
            &Packet::ping(F::STRANGER, F::OWN, 9),
        )
        .ends(Reason::Echo),
    ]
}

fn replies<F: Scene>() -> Vec<Case<F>> {
    let connected = |protocol| {
        host_with(|world| world.connect(protocol, ends(F::STRANGER, F::OWN), PORT, PEER))
    };
    let asked = |age| {
        let world = host();
        let flow = flow(UDP, (F::OWN, PORT), (F::STRANGER, PEER));
        hint(&world, Class::LocalStranger, flow, ends(F::STRANGER, F::OWN), age);
        world
    };
    let pinged = host();
    hint(
        &pinged,
        Class::LocalStranger,
        flow(F::ICMP, (F::OWN, 9), (F::STRANGER, 9)),
        ends(F::STRANGER, F::OWN),
        1,
    );
    let other_port = Packet::udp((F::STRANGER, PEER + 1), (F::OWN, PORT));
    vec![
        at("TCP of a connection to a stranger", connected(TCP), &to_port(F::STRANGER, ACK))
            .ends(Reason::Reply),
        at("a SYN is no reply, whatever is connected", connected(TCP), &to_port(F::STRANGER, SYN))
            .ends(Reason::Stranger),
        at("UDP to a connected socket", connected(UDP), &to_udp(F::STRANGER)).ends(Reason::Reply),
        at("UDP to a socket that is connected elsewhere", connected(UDP), &other_port)
            .ends(Reason::Stranger),
        at("UDP that was asked for", asked(29), &to_udp(F::STRANGER)).ends(Reason::Hinted),
        at("UDP that was asked for too long ago", asked(31), &to_udp(F::STRANGER))
            .ends(Reason::Stranger),
        at("UDP from another port than was asked", asked(1), &other_port).ends(Reason::Stranger),
        at("a stranger's answer to our ping", pinged, &Packet::pong(F::STRANGER, F::OWN, 9))
            .ends(Reason::Hinted),
    ]
}

fn frames<F: Scene>() -> Vec<Case<F>> {
    let stranger = come::<F>(&to_udp(F::STRANGER));
    let case = |name, frame| Case::new(name, Hook::Ingress, host(), frame);
    let tags = |name, frame: &[u8], ids: &[u16]| case(name, tagged(frame, ids));
    let vlan7 = |name, ids: &[u16]| {
        let world = host_with(|world| {
            world.vlans.insert(7);
        });
        Case::new(name, Hook::Ingress, world, tagged(&stranger, ids))
    };
    let forged = come::<F>(&to_udp(F::FAR_OVERLAY));
    let mut cut = stranger.clone();
    cut.truncate(cut.len() - 8);
    let mut cut_header = stranger.clone();
    cut_header.truncate(14 + F::HEADER - 1);
    let mut padded = come::<F>(&to_udp(F::FAR));
    padded.extend([0; 10]);
    let short = |protocol, length: usize| {
        let bytes = PAYLOAD[..length].to_vec();
        come(&Packet::<F>::new(F::FAR, F::OWN, Body::Raw { protocol, bytes }))
    };
    vec![
        tags("a stranger under a priority tag", &stranger, &[0]).ends(Reason::Stranger),
        tags("a stranger under two priority tags", &stranger, &[0, 0]).ends(Reason::Stranger),
        tags("a stranger under three tags", &stranger, &[0, 0, 0]).ends(Reason::TooManyTags),
        tags("a member under a priority tag", &come::<F>(&to_udp(F::FAR)), &[0])
            .ends(Reason::Member),
        tags("a VLAN that has no interface", &stranger, &[7]).ends(Reason::UnknownVlan),
        vlan7("a VLAN that has an interface", &[7]).ends(Reason::OtherVlan),
        vlan7("such a VLAN under a priority tag", &[0, 7]).ends(Reason::OtherVlan),
        tags("a forgery under a priority tag", &forged, &[0]).ends(Reason::SpoofedOverlay),
        tags("a forgery under two priority tags", &forged, &[0, 0]).ends(Reason::SpoofedOverlay),
        case("a packet longer than its frame", cut).ends(Reason::Malformed),
        // BPF_PROG_TEST_RUN takes such a frame only where it does not see that it is IP.
        tags("a header cut short", &cut_header, &[0]).ends(Reason::Malformed),
        case("a TCP header cut short", short(TCP, 19)).ends(Reason::Malformed),
        case("a UDP header cut short", short(UDP, 7)).ends(Reason::Malformed),
        case("an ICMP header cut short", short(F::ICMP, 7)).ends(Reason::Malformed),
        case("a frame with padding", padded).ends(Reason::Member),
    ]
}

/// Whatever stands before the transport header, what it says is found.
fn behind_options<F: Scene>() -> Vec<Case<F>> {
    let open = || {
        host_with(|world| {
            world.open(TCP, PORT);
        })
    };
    let connected = || host_with(|world| world.connect(TCP, ends(F::STRANGER, F::OWN), PORT, PEER));
    let asked = || {
        let world = host();
        let flow = flow(UDP, (F::OWN, PORT), (F::STRANGER, PEER));
        hint(&world, Class::LocalStranger, flow, ends(F::STRANGER, F::OWN), 1);
        world
    };
    let ssh = Packet::tcp((F::NEIGHBOUR, PEER), (F::OWN, 22), SYN);
    let mut cases = Vec::new();
    for (what, options) in F::harmless() {
        let behind = |name: &str, world, packet: Packet<F>, reason| {
            at(format!("{name} behind {what}"), world, &packet.options(&options)).ends(reason)
        };
        cases.extend([
            behind("a stranger's SYN", host(), to_port(F::STRANGER, SYN), Reason::Stranger),
            behind("an open port", open(), to_port(F::STRANGER, SYN), Reason::OpenPort),
            behind("a reply", connected(), to_port(F::STRANGER, ACK), Reason::Reply),
            behind("UDP that was asked for", asked(), to_udp(F::STRANGER), Reason::Hinted),
            behind("ssh from a failsafe range", host(), ssh.clone(), Reason::Failsafe),
            behind("a forgery", host(), to_udp(F::FAR_OVERLAY), Reason::SpoofedOverlay),
        ]);
    }
    cases
}

fn forgeries<F: Scene>() -> Vec<Case<F>> {
    let udp = |src, dst| Packet::udp((src, PEER), (dst, PORT));
    let observed = |name: &str, packet: &Packet<F>| {
        at(name, observing_host(), packet).ends(Reason::SpoofedOverlay)
    };
    vec![
        at("from a member's overlay address", host(), &udp(F::FAR_OVERLAY, F::OWN))
            .ends(Reason::SpoofedOverlay),
        at("from our own overlay address", host(), &udp(F::OWN_OVERLAY, F::OWN))
            .ends(Reason::SpoofedOverlay),
        at("from an overlay address nobody has", host(), &udp(F::NOBODY, F::OWN))
            .ends(Reason::SpoofedOverlay),
        at("to our overlay address", host(), &udp(F::FAR, F::OWN_OVERLAY))
            .ends(Reason::SpoofedOverlay),
        observed("from an overlay address, observed", &udp(F::FAR_OVERLAY, F::OWN)),
        observed("to our overlay address, observed", &udp(F::FAR, F::OWN_OVERLAY)),
    ]
}
