//! Packets from members that arrive and get the names that their receiver knows.

mod errors;

use neti_common::{
    headers::{TCP, UDP},
    maps::{Fragment, FragmentKey},
    model::World,
    tables::Class,
    verdict::{Hook, Reason},
};

use crate::{
    Case,
    arriving::{PEER, PORT, at, to_port, to_udp},
    packet::{ACK, Packet, SYN},
    scene::{
        Scene, TWIN, come, ends, hint, host, host_with, member_flow, overlay_host, tagged, twin,
    },
};

/// Of the one half-open connection, which outlives its case.
const HALF_OPEN_PEER: u16 = 50_007;

pub fn cases<F: Scene>() -> Vec<Case<F>> {
    [demux(), flows_without_sockets(), options(), fragments(), errors::cases(), unusual()].concat()
}

/// A case whose packet from a member is given other names.
fn named<F: Scene>(
    name: impl Into<String>,
    world: World<F>,
    packet: &Packet<F>,
    names: &Packet<F>,
) -> Case<F> {
    at(name, world, packet).becomes(come(names)).ends(Reason::Translated)
}

/// Which form a member's packet belongs to is told by the sockets.
fn demux<F: Scene>() -> Vec<Case<F>> {
    let syn = |src, dst| Packet::tcp((src, PEER), (dst, PORT), SYN);
    let text = |src, dst| Packet::tcp((src, PEER), (dst, PORT), ACK);
    let udp = |src, dst| Packet::udp((src, PEER), (dst, PORT));
    let listening = |mut world: World<F>, protocol, local| {
        world.listen(protocol, local, PORT);
        world
    };
    let connected = |protocol, ends| {
        host_with(|world| {
            world.listen(protocol, None, PORT);
            world.connect(protocol, ends, PORT, PEER);
        })
    };
    let half_open = host_with(|world| {
        world.listen(TCP, None, PORT);
        world.connect(TCP, ends(F::FAR_OVERLAY, F::OWN_OVERLAY), PORT, HALF_OPEN_PEER);
        if let Some(socket) = world.sockets.last_mut() {
            socket.half_open = true;
        }
    });
    let both = (
        ends(F::FAR_OVERLAY, F::OWN_OVERLAY),
        syn(F::FAR_OVERLAY, F::OWN_OVERLAY),
        text(F::FAR_OVERLAY, F::OWN_OVERLAY),
    );
    let mixed = [
        ("TCP of a connection from our real address", F::FAR_OVERLAY, F::OWN),
        ("TCP of a connection to a real address", F::FAR, F::OWN_OVERLAY),
    ];
    let mut cases = vec![
        at("a SYN to a wildcard listener", listening(host(), TCP, None), &syn(F::FAR, F::OWN))
            .ends(Reason::Member),
        named(
            "a SYN to a wildcard listener, identity overlay",
            listening(overlay_host(), TCP, None),
            &syn(F::FAR, F::OWN),
            &both.1,
        ),
        named(
            "a SYN to a listener on our overlay address",
            listening(host(), TCP, Some(F::OWN_OVERLAY)),
            &syn(F::FAR, F::OWN),
            &both.1,
        ),
        at(
            "a SYN to a listener on our real address, identity overlay",
            listening(overlay_host(), TCP, Some(F::OWN)),
            &syn(F::FAR, F::OWN),
        )
        .ends(Reason::Member),
        at("a SYN to a closed port", host(), &syn(F::FAR, F::OWN)).ends(Reason::Member),
        named(
            "a SYN to a closed port, identity overlay",
            overlay_host(),
            &syn(F::FAR, F::OWN),
            &both.1,
        ),
        named(
            "TCP of an overlay connection",
            connected(TCP, both.0),
            &text(F::FAR, F::OWN),
            &both.2,
        ),
        at(
            "TCP of a direct connection",
            connected(TCP, ends(F::FAR, F::OWN)),
            &text(F::FAR, F::OWN),
        )
        .ends(Reason::Member),
        named(
            "TCP of a half-open overlay connection",
            half_open,
            &Packet::tcp((F::FAR, HALF_OPEN_PEER), (F::OWN, PORT), ACK),
            &Packet::tcp((F::FAR_OVERLAY, HALF_OPEN_PEER), (F::OWN_OVERLAY, PORT), ACK),
        ),
        named(
            "UDP to a connected overlay socket",
            connected(UDP, both.0),
            &udp(F::FAR, F::OWN),
            &udp(F::FAR_OVERLAY, F::OWN_OVERLAY),
        ),
        at(
            "UDP to a connected direct socket",
            connected(UDP, ends(F::FAR, F::OWN)),
            &udp(F::FAR, F::OWN),
        )
        .ends(Reason::Member),
        named(
            "UDP to a socket on our overlay address",
            listening(host(), UDP, Some(F::OWN_OVERLAY)),
            &udp(F::FAR, F::OWN),
            &udp(F::FAR_OVERLAY, F::OWN_OVERLAY),
        ),
        at(
            "UDP to a socket on our real address, identity overlay",
            listening(overlay_host(), UDP, Some(F::OWN)),
            &udp(F::FAR, F::OWN),
        )
        .ends(Reason::Member),
        named(
            "UDP to a wildcard socket, identity overlay",
            listening(overlay_host(), UDP, None),
            &udp(F::FAR, F::OWN),
            &udp(F::FAR_OVERLAY, F::OWN_OVERLAY),
        ),
        named(
            "UDP without a checksum",
            overlay_host(),
            &Packet::unsummed_udp((F::FAR, PEER), (F::OWN, PORT)),
            &Packet::unsummed_udp((F::FAR_OVERLAY, PEER), (F::OWN_OVERLAY, PORT)),
        ),
    ];
    for (name, peer, own) in mixed {
        let world = connected(TCP, ends(peer, own));
        cases.push(named(name, world, &text(F::FAR, F::OWN), &text(peer, own)));
    }
    cases.push(to_twin("a twin's packet gets its socket's port", &F::Options::default()));
    cases
}

/// A packet to a port that a twin has on the wire.
fn to_twin<F: Scene>(name: impl Into<String>, options: &F::Options) -> Case<F> {
    named(
        name,
        host_with(|world| twin(world, PORT, PEER)),
        &Packet::tcp((F::FAR, PEER), (F::OWN, TWIN), ACK).options(options),
        &Packet::tcp((F::FAR_OVERLAY, PEER), (F::OWN_OVERLAY, PORT), ACK).options(options),
    )
}

/// The host has asked a member something by overlay, from a socket that is not connected.
fn asked<F: Scene>() -> World<F> {
    let world = host_with(|world| world.listen(UDP, None, PORT));
    let key = member_flow(UDP, PORT, (F::FAR_OVERLAY, PEER));
    hint(&world, Class::LocalMember, key, ends(F::FAR_OVERLAY, F::OWN_OVERLAY), 1);
    world
}

fn flows_without_sockets<F: Scene>() -> Vec<Case<F>> {
    let pinged = |age| {
        let world = host();
        let flow = member_flow(F::ICMP, 9, (F::FAR_OVERLAY, 9));
        hint(&world, Class::LocalMember, flow, ends(F::FAR_OVERLAY, F::OWN_OVERLAY), age);
        world
    };
    let overlay_pong = Packet::pong(F::FAR_OVERLAY, F::OWN_OVERLAY, 9);
    vec![
        named(
            "the answer to an overlay ping",
            pinged(1),
            &Packet::pong(F::FAR, F::OWN, 9),
            &overlay_pong,
        ),
        at("the answer to a ping long ago", pinged(31), &Packet::pong(F::FAR, F::OWN, 9))
            .ends(Reason::Member),
        named(
            "a member's ping, identity overlay",
            overlay_host(),
            &Packet::ping(F::FAR, F::OWN, 9),
            &Packet::ping(F::FAR_OVERLAY, F::OWN_OVERLAY, 9),
        ),
        named(
            "UDP that was asked for by overlay",
            asked(),
            &to_udp(F::FAR),
            &Packet::udp((F::FAR_OVERLAY, PEER), (F::OWN_OVERLAY, PORT)),
        ),
        named(
            "another protocol, identity overlay",
            overlay_host(),
            &Packet::raw(F::FAR, F::OWN, 132),
            &Packet::raw(F::FAR_OVERLAY, F::OWN_OVERLAY, 132),
        ),
    ]
}

/// Whatever stands before the transport header, sockets, hints and twins are found by what it says.
fn options<F: Scene>() -> Vec<Case<F>> {
    let connected = || {
        host_with(|world| {
            world.connect(TCP, ends(F::FAR_OVERLAY, F::OWN_OVERLAY), PORT, PEER);
        })
    };
    let text = |src, dst| Packet::tcp((src, PEER), (dst, PORT), ACK);
    let udp = |src, dst| Packet::udp((src, PEER), (dst, PORT));
    let syn = |src, dst| Packet::tcp((src, PEER), (dst, PORT), SYN);
    let mut cases = Vec::new();
    for (what, options) in F::harmless() {
        let with = |name: &str, world, packet: &dyn Fn(F::Addr, F::Addr) -> Packet<F>| {
            let (wire, names) = (packet(F::FAR, F::OWN), packet(F::FAR_OVERLAY, F::OWN_OVERLAY));
            let name = format!("{name}{what}");
            named(name, world, &wire.options(&options), &names.options(&options))
        };
        cases.push(with("", overlay_host(), &syn));
        cases.push(with("a connection behind ", connected(), &text));
        cases.push(with("UDP that was asked for by overlay behind ", asked(), &udp));
        cases.push(to_twin(format!("a twin's packet behind {what}"), &options));
    }
    cases
}

fn fragments<F: Scene>() -> Vec<Case<F>> {
    let overlay = Packet::udp((F::FAR_OVERLAY, PEER), (F::OWN_OVERLAY, PORT));
    let (first, later) =
        (|p: &Packet<F>| p.clone().fragment(0, true), |p: &Packet<F>| p.clone().fragment(6, true));
    let (id, protocol) = F::DATAGRAM;
    let seen = |mut world: World<F>, src: F::Addr, ends| {
        let key = FragmentKey { src, dst: F::OWN, id, protocol };
        let fragment = Fragment { seen: world.now.get(), ends };
        world.fragments.get_mut().push((key, fragment));
        world
    };
    let (far, stranger) = (to_udp(F::FAR), to_udp(F::STRANGER));
    vec![
        named("a first fragment", overlay_host(), &first(&far), &first(&overlay)),
        named(
            "a later fragment follows its first",
            seen(host(), F::FAR, ends(F::FAR_OVERLAY, F::OWN_OVERLAY)),
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
            seen(host(), F::STRANGER, ends(F::STRANGER, F::OWN)),
            &later(&stranger),
        )
        .ends(Reason::Fragment),
        at("a stranger's first fragment", host(), &first(&stranger)).ends(Reason::Stranger),
    ]
}

fn unusual<F: Scene>() -> Vec<Case<F>> {
    let overlay = Packet::tcp((F::FAR_OVERLAY, PEER), (F::OWN_OVERLAY, PORT), SYN);
    let priority = |packet: &Packet<F>, ids: &[u16]| tagged(&come(packet), ids);
    let under = |name, ids: &[u16]| {
        Case::new(name, Hook::Ingress, overlay_host(), priority(&to_port(F::FAR, SYN), ids))
            .becomes(priority(&overlay, ids))
            .ends(Reason::Translated)
    };
    let padded = |packet: &Packet<F>| [&come(packet)[..], &[0; 6]].concat();
    let to_zero = Packet::zero_sum_udp(F::FAR_OVERLAY, (F::OWN_OVERLAY, PORT));
    let from_zero = Packet::zero_sum_udp(F::FAR, (F::OWN, PORT));
    vec![
        under("translated under a priority tag", &[0]),
        under("translated under two priority tags", &[0, 0]),
        Case::new(
            "translated with padding",
            Hook::Ingress,
            overlay_host(),
            padded(&to_port(F::FAR, SYN)),
        )
        .becomes(padded(&overlay))
        .ends(Reason::Translated),
        named(
            "UDP whose checksum becomes zero",
            overlay_host(),
            &to_zero.clone().between(F::FAR, F::OWN),
            &to_zero,
        ),
        named(
            "UDP whose checksum was zero",
            overlay_host(),
            &from_zero,
            &from_zero.clone().between(F::FAR_OVERLAY, F::OWN_OVERLAY),
        ),
        at("to everyone", overlay_host(), &Packet::udp((F::FAR, PEER), (F::EVERYONE, PORT)))
            .ends(Reason::Member),
    ]
}
