//! Packets that come in through another interface than the uplink: from containers, bridge neighbours, second networks.

use neti_common::{
    headers::TCP,
    model::World,
    verdict::{Hook, Reason},
};

use crate::{
    Case,
    arriving::{PEER, PORT},
    packet::{Packet, SYN},
    scene::{Scene, come, host, observing_host, plain_host, tagged},
};

pub fn cases<F: Scene>() -> Vec<Case<F>> {
    [forgeries(), honest(), behind_options(), under_tags()].concat()
}

fn at<F: Scene>(name: impl Into<String>, world: World<F>, packet: &Packet<F>) -> Case<F> {
    Case::new(name, Hook::Guard, world, come(packet))
}

fn udp<F: Scene>(src: F::Addr, dst: F::Addr) -> Packet<F> {
    Packet::udp((src, PEER), (dst, PORT))
}

fn forgeries<F: Scene>() -> Vec<Case<F>> {
    let forged = |name: &str, world, packet: Packet<F>| {
        at(name, world, &packet).ends(Reason::SpoofedOverlay)
    };
    let syn = Packet::tcp((F::NEAR_OVERLAY, PEER), (F::OWN_OVERLAY, PORT), SYN);
    vec![
        forged("from a member's overlay address", host(), udp(F::FAR_OVERLAY, F::OWN)),
        forged("the same, observed", observing_host(), udp(F::FAR_OVERLAY, F::OWN)),
        forged("between overlay addresses", host(), syn),
        forged("from our own overlay address", host(), udp(F::OWN_OVERLAY, F::OWN)),
        forged("from an overlay address nobody has", host(), udp(F::NOBODY, F::OWN)),
        forged("a forgery that is to go on", host(), udp(F::FAR_OVERLAY, F::STRANGER)),
        forged("a forged ping", host(), Packet::ping(F::FAR_OVERLAY, F::OWN, 9)),
        forged("a forged fragment", host(), udp(F::FAR_OVERLAY, F::OWN).fragment(0, true)),
        forged("a forged later fragment", host(), udp(F::FAR_OVERLAY, F::OWN).fragment(6, false)),
    ]
}

fn honest<F: Scene>() -> Vec<Case<F>> {
    let mut cut = come::<F>(&udp(F::FAR_OVERLAY, F::OWN));
    cut.truncate(14 + F::SRC);
    let cut = tagged(&cut, &[0]);
    vec![
        at("from a stranger", host(), &udp(F::STRANGER, F::OWN)),
        at("from a stranger to our overlay address", host(), &udp(F::STRANGER, F::OWN_OVERLAY)),
        at("from a stranger to a member", host(), &udp(F::STRANGER, F::FAR_OVERLAY)),
        at("from a member's real address", host(), &udp(F::FAR, F::OWN)),
        at("of another protocol", host(), &Packet::raw(F::STRANGER, F::OWN, TCP + 126)),
        at("in a fleet without a range", plain_host(), &udp(F::FAR_OVERLAY, F::OWN)),
        // BPF_PROG_TEST_RUN takes such a frame only where it does not see that it is IP.
        Case::new("cut short before its source", Hook::Guard, host(), cut),
    ]
}

fn behind_options<F: Scene>() -> Vec<Case<F>> {
    let case = |(what, options)| {
        at(
            format!("a forgery behind {what}"),
            host(),
            &udp(F::FAR_OVERLAY, F::OWN).options(&options),
        )
        .ends(Reason::SpoofedOverlay)
    };
    F::harmless().into_iter().map(case).collect()
}

fn under_tags<F: Scene>() -> Vec<Case<F>> {
    let (forged, honest) =
        (come::<F>(&udp(F::FAR_OVERLAY, F::OWN)), come::<F>(&udp(F::STRANGER, F::OWN)));
    let under =
        |name, frame: &[u8], ids: &[u16]| Case::new(name, Hook::Guard, host(), tagged(frame, ids));
    let dropped = |name, ids| under(name, &forged, ids).ends(Reason::SpoofedOverlay);
    vec![
        dropped("a forgery under a priority tag", &[0]),
        dropped("a forgery under two priority tags", &[0, 0]),
        dropped("a forgery in a VLAN", &[7]),
        dropped("a forgery in a VLAN under a priority tag", &[0, 7]),
        dropped("a forgery in a VLAN in a VLAN", &[7, 8]),
        under("a stranger under a priority tag", &honest, &[0]),
        under("a stranger under two priority tags", &honest, &[0, 0]),
        under("a stranger in a VLAN", &honest, &[7]),
        under("a stranger under three tags", &honest, &[0, 0, 0]).ends(Reason::TooManyTags),
    ]
}
