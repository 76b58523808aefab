//! Packets that leave: no overlay address gets out, and what is for a member gets its real addresses.

use neti_common::{
    headers::{TCP, UDP},
    model::World,
    tables::Class,
    verdict::{Hook, Reason},
};

use crate::{
    Case,
    packet::{ACK, Body, Packet, RST, SYN},
    scene::{
        OWN_MAC, ROUTER_MAC, Scene, TWIN, ends, frame, hint, host, host_with, member_flow, out,
        plain_host, tagged, twin,
    },
};

pub fn leaves<F: Scene>(name: impl Into<String>, packet: &Packet<F>) -> Case<F> {
    Case::new(name, Hook::Egress, host(), out(packet))
}

/// A case whose packet becomes another on the wire.
fn translated<F: Scene>(name: impl Into<String>, packet: &Packet<F>, wire: &Packet<F>) -> Case<F> {
    leaves(name, packet).becomes(out(wire)).ends(Reason::Translated)
}

pub fn dropped<F: Scene>(name: impl Into<String>, packet: &Packet<F>, reason: Reason) -> Case<F> {
    leaves(name, packet).ends(reason)
}

pub fn cases<F: Scene>() -> Vec<Case<F>> {
    [transports(), forms(), options(), fragments(), errors(), twins(), frames()].concat()
}

fn transports<F: Scene>() -> Vec<Case<F>> {
    let (own, far, wire, real) =
        ((F::OWN_OVERLAY, 40_000), (F::FAR_OVERLAY, 80), (F::OWN, 40_000), (F::FAR, 80));
    let tcp = |flags| (Packet::tcp(own, far, flags), Packet::tcp(wire, real, flags));
    let ((syn, wire_syn), (text, wire_text), (rst, wire_rst)) =
        (tcp(SYN), tcp(ACK), tcp(RST | ACK));
    let near = Packet::tcp(own, (F::NEAR_OVERLAY, 80), ACK);
    let sctp = |src, dst| Packet::raw(src, dst, 132);
    let to_zero = Packet::zero_sum_udp(F::OWN, real);
    let becomes_zero = (to_zero.clone().between(F::OWN_OVERLAY, F::FAR_OVERLAY), to_zero);
    let from_zero = Packet::zero_sum_udp(F::OWN_OVERLAY, far);
    let was_zero = (from_zero.clone(), from_zero.between(F::OWN, F::FAR));
    vec![
        translated("a SYN", &syn, &wire_syn),
        translated("TCP with text", &text, &wire_text),
        translated("a RST", &rst, &wire_rst),
        translated("UDP", &Packet::udp(own, far), &Packet::udp(wire, real)),
        translated(
            "UDP without a checksum",
            &Packet::unsummed_udp(own, far),
            &Packet::unsummed_udp(wire, real),
        ),
        translated("UDP whose checksum becomes zero", &becomes_zero.0, &becomes_zero.1),
        translated("UDP whose checksum was zero", &was_zero.0, &was_zero.1),
        translated(
            "a ping",
            &Packet::ping(F::OWN_OVERLAY, F::FAR_OVERLAY, 7),
            &Packet::ping(F::OWN, F::FAR, 7),
        ),
        translated(
            "a ping's answer",
            &Packet::pong(F::OWN_OVERLAY, F::FAR_OVERLAY, 7),
            &Packet::pong(F::OWN, F::FAR, 7),
        ),
        translated(
            "a protocol without a checksum over addresses",
            &sctp(F::OWN_OVERLAY, F::FAR_OVERLAY),
            &sctp(F::OWN, F::FAR),
        ),
        leaves("a member on the link gets it directly", &near)
            .becomes(out::<F>(&Packet::tcp(wire, (F::NEAR, 80), ACK)))
            .ends(Reason::Redirected),
    ]
}

fn forms<F: Scene>() -> Vec<Case<F>> {
    let udp = |src, dst| Packet::udp((src, 4000), (dst, 53));
    vec![
        translated(
            "own real to a member's overlay",
            &udp(F::OWN, F::FAR_OVERLAY),
            &udp(F::OWN, F::FAR),
        ),
        translated(
            "own overlay to a member's real",
            &udp(F::OWN_OVERLAY, F::FAR),
            &udp(F::OWN, F::FAR),
        ),
        leaves("own real to a member's real", &udp(F::OWN, F::FAR)),
        leaves("own real to a stranger", &udp(F::OWN, F::STRANGER)),
        dropped(
            "to an overlay address nobody has",
            &udp(F::OWN_OVERLAY, F::NOBODY),
            Reason::UnknownOverlay,
        ),
        dropped("own real to nobody", &udp(F::OWN, F::NOBODY), Reason::UnknownOverlay),
        dropped(
            "own overlay to a stranger",
            &udp(F::OWN_OVERLAY, F::STRANGER),
            Reason::OverlaySource,
        ),
        dropped("a forged overlay source", &udp(F::NOBODY, F::FAR_OVERLAY), Reason::OverlaySource),
        dropped(
            "a member's overlay as source",
            &udp(F::NEAR_OVERLAY, F::FAR_OVERLAY),
            Reason::OverlaySource,
        ),
        dropped(
            "own overlay to everyone",
            &udp(F::OWN_OVERLAY, F::EVERYONE),
            Reason::OverlaySource,
        ),
        leaves("own real to everyone", &udp(F::OWN, F::EVERYONE)),
        leaves("own real to a member that has no overlay address", &udp(F::OWN, F::PLAIN)),
        dropped(
            "own overlay to a member that has no overlay address",
            &udp(F::OWN_OVERLAY, F::PLAIN),
            Reason::OverlaySource,
        ),
        Case::new(
            "to a member where the fleet has no overlay range",
            Hook::Egress,
            plain_host(),
            out::<F>(&udp(F::OWN, F::FAR)),
        ),
        Case::new(
            "nothing is touched before there are settings",
            Hook::Egress,
            host_with(|world| world.settings = neti_common::maps::Settings::UNSET),
            out::<F>(&udp(F::OWN_OVERLAY, F::FAR_OVERLAY)),
        ),
    ]
}

/// Options and extension headers go with the packet, unless they would carry an overlay address.
fn options<F: Scene>() -> Vec<Case<F>> {
    let udp = |src, dst| Packet::udp((src, 4000), (dst, 53));
    let (packet, wire) = (udp(F::OWN_OVERLAY, F::FAR_OVERLAY), udp(F::OWN, F::FAR));
    let mut cases = Vec::new();
    for (what, options) in F::harmless() {
        let with = |packet: &Packet<F>| packet.clone().options(&options);
        cases.push(translated(what, &with(&packet), &with(&wire)));
        let own = leaves(format!("{what} to a stranger"), &with(&udp(F::OWN, F::STRANGER)));
        cases.push(own);
    }
    for (what, options) in F::carrying(F::OWN_OVERLAY) {
        for (whom, packet) in [("a member", &packet), ("a stranger", &udp(F::OWN, F::STRANGER))] {
            let packet = packet.clone().options(&options);
            let name = format!("our overlay address to {whom}, in {what}");
            cases.push(dropped(name, &packet, Reason::OverlayOption));
        }
    }
    cases
}

fn fragments<F: Scene>() -> Vec<Case<F>> {
    let udp = |src, dst| Packet::udp((src, 4000), (dst, 53));
    let (packet, wire) = (udp(F::OWN_OVERLAY, F::FAR_OVERLAY), udp(F::OWN, F::FAR));
    let part = |name: &str, offset, more| {
        let fragment = |packet: &Packet<F>| packet.clone().fragment(offset, more);
        translated(name, &fragment(&packet), &fragment(&wire))
    };
    vec![
        part("a first fragment", 0, true),
        part("a later fragment", 6, true),
        part("a last fragment", 99, false),
    ]
}

fn errors<F: Scene>() -> Vec<Case<F>> {
    let asked = |peer, own| Packet::udp((peer, 5000), (own, 9));
    let refuse = Packet::port_unreachable;
    let about = |(what, options): (&str, F::Options)| {
        let asked = |peer, own| asked(peer, own).options(&options);
        translated(
            format!("an error that quotes {what}"),
            &refuse(F::OWN_OVERLAY, F::FAR_OVERLAY, asked(F::FAR_OVERLAY, F::OWN_OVERLAY)),
            &refuse(F::OWN, F::FAR, asked(F::FAR, F::OWN)),
        )
    };
    let mut cases: Vec<_> = F::harmless().into_iter().map(about).collect();
    cases.extend([
        translated(
            "an error about an overlay packet",
            &refuse(F::OWN_OVERLAY, F::FAR_OVERLAY, asked(F::FAR_OVERLAY, F::OWN_OVERLAY)),
            &refuse(F::OWN, F::FAR, asked(F::FAR, F::OWN)),
        ),
        translated(
            "an error that quotes 8 bytes of TCP",
            &Packet::too_big(
                F::OWN_OVERLAY,
                F::FAR_OVERLAY,
                Packet::tcp((F::FAR_OVERLAY, 5000), (F::OWN_OVERLAY, 80), ACK),
            ),
            &Packet::too_big(F::OWN, F::FAR, Packet::tcp((F::FAR, 5000), (F::OWN, 80), ACK)),
        ),
        leaves("an error about a direct packet", &refuse(F::OWN, F::FAR, asked(F::FAR, F::OWN))),
        leaves("an error for a stranger", &refuse(F::OWN, F::STRANGER, asked(F::STRANGER, F::OWN))),
        dropped(
            "an error that quotes an address nobody has",
            &refuse(F::OWN, F::STRANGER, asked(F::NOBODY, F::OWN)),
            Reason::UnknownOverlay,
        ),
    ]);
    cases
}

fn twins<F: Scene>() -> Vec<Case<F>> {
    let syn = |src, sport, dst| Packet::<F>::tcp((src, sport), (dst, 80), SYN);
    let text = |src, sport, dst| Packet::<F>::tcp((src, sport), (dst, 80), ACK);
    let direct = |world: &mut World<F>| {
        world.connect(TCP, ends(F::FAR, F::OWN), 40_000, 80);
    };
    let known = host_with(|world| twin(world, 40_000, 80));
    // One port only, so that which one is taken is no accident.
    let one_port = host_with(|world| {
        direct(world);
        (world.settings.twin_first, world.settings.twin_last) = (61_000, 61_000);
    });
    let no_port = host_with(|world| {
        direct(world);
        (world.settings.twin_first, world.settings.twin_last) = (0, 0);
    });
    // A reset that acknowledges the SYN (RFC 9293 3.10.7.1).
    let reset = Body::Tcp { sport: 80, dport: 40_000, flags: RST | ACK, numbers: (0, 0x1000_0001) };
    let reset = Packet::<F>::new(F::FAR_OVERLAY, F::OWN_OVERLAY, reset);
    let refused = frame(OWN_MAC, ROUTER_MAC, F::ETHERTYPE, &reset.bytes());
    let hinted = host_with(|world| {
        let key = member_flow(UDP, 4000, (F::FAR_OVERLAY, 53));
        hint(world, Class::LocalMember, key, ends(F::FAR, F::OWN), 1);
        (world.settings.twin_first, world.settings.twin_last) = (61_000, 61_000);
    });
    // NTP and gossip use one port on both sides, so that another one would cut them off.
    let fixed = host_with(|world| {
        let key = member_flow(UDP, 123, (F::FAR_OVERLAY, 123));
        hint(world, Class::LocalMember, key, ends(F::FAR, F::OWN), 1);
    });
    vec![
        Case::new(
            "two UDP users of one port on both sides",
            Hook::Egress,
            fixed,
            out::<F>(&Packet::udp((F::OWN_OVERLAY, 123), (F::FAR_OVERLAY, 123))),
        )
        .becomes(out::<F>(&Packet::udp((F::OWN, 123), (F::FAR, 123))))
        .ends(Reason::PortShared),
        Case::new(
            "a twin keeps its port",
            Hook::Egress,
            known,
            out::<F>(&text(F::OWN_OVERLAY, 40_000, F::FAR_OVERLAY)),
        )
        .becomes(out::<F>(&text(F::OWN, TWIN, F::FAR)))
        .ends(Reason::Translated),
        Case::new(
            "a SYN beside a direct connection gets a port",
            Hook::Egress,
            one_port,
            out::<F>(&syn(F::OWN_OVERLAY, 40_000, F::FAR_OVERLAY)),
        )
        .becomes(out::<F>(&syn(F::OWN, 61_000, F::FAR)))
        .ends(Reason::Translated),
        Case::new(
            "a SYN for which there is no port is reset",
            Hook::Egress,
            no_port,
            out::<F>(&syn(F::OWN_OVERLAY, 40_000, F::FAR_OVERLAY)),
        )
        .becomes(refused)
        .is_reset(Reason::PortTwin),
        Case::new(
            "UDP beside a direct question gets a port",
            Hook::Egress,
            hinted,
            out::<F>(&Packet::udp((F::OWN_OVERLAY, 4000), (F::FAR_OVERLAY, 53))),
        )
        .becomes(out::<F>(&Packet::udp((F::OWN, 61_000), (F::FAR, 53))))
        .ends(Reason::Translated),
    ]
}

fn frames<F: Scene>() -> Vec<Case<F>> {
    let udp = |src, dst| out::<F>(&Packet::udp((src, 4000), (dst, 53)));
    let at = |name, frame| Case::new(name, Hook::Egress, host(), frame);
    let (packet, wire) = (udp(F::OWN_OVERLAY, F::FAR_OVERLAY), udp(F::OWN, F::FAR));
    let cut = |mut frame: Vec<u8>| {
        frame.truncate(frame.len() - 8);
        frame
    };
    vec![
        at("a tagged packet", tagged(&packet, &[7]))
            .becomes(tagged(&wire, &[7]))
            .ends(Reason::Translated),
        at("a packet with two tags", tagged(&packet, &[7, 8]))
            .becomes(tagged(&wire, &[7, 8]))
            .ends(Reason::Translated),
        at("a cut packet with an overlay address", cut(packet)).ends(Reason::OverlaySource),
        at("a cut packet without one", cut(udp(F::OWN, F::STRANGER))),
    ]
}
