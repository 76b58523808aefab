//! Which form a member's flow has, by sockets and settings.

use super::*;
use crate::{
    family::{V4, V6},
    filter::filter,
    headers::{TCP, UDP},
};

in_both_families!(
    a_listener_on_one_address_decides_and_else_the_setting,
    a_connection_in_any_form_decides,
    the_path_that_a_member_answers_on_does_not_matter,
    overlay_addresses_on_the_wire_are_dropped_in_any_mode,
    mixed_forms_leave_with_real_addresses,
    mixed_forms_are_looked_for_once_one_has_left,
    strangers_are_let_in_by_what_the_design_names_only,
    nothing_is_judged_before_the_daemon_has_written_its_settings,
    nobody_is_locked_out,
);

/// The destination that a SYN from walden gets on hudson.
fn syn_goes_to<F: Scene>(world: &World<F>) -> F::Addr {
    let mut frame = F::tcp(F::WALDEN, F::HUDSON, 40_000, 80, "S");
    assert_eq!(arrive(world, &mut frame).action, Action::Next);
    F::addresses(&frame).1
}

fn a_listener_on_one_address_decides_and_else_the_setting<F: Scene>() {
    for identity in both_identities() {
        let set = if identity == identity::OVERLAY { F::HUDSON_OVERLAY } else { F::HUDSON };
        for (listener, expected) in [
            (None, set),
            (Some(F::HUDSON), F::HUDSON),
            (Some(F::HUDSON_OVERLAY), F::HUDSON_OVERLAY),
        ] {
            let mut world = hudson::<F>(identity);
            world.listen(TCP, listener, 80);
            assert_eq!(syn_goes_to(&world), expected, "identity {identity}, listener {listener:?}");
        }
        let mut world = hudson::<F>(identity);
        world.listen(TCP, Some(F::HUDSON), 80);
        world.listen(TCP, Some(F::HUDSON_OVERLAY), 80);
        assert_eq!(syn_goes_to(&world), set, "listeners on both addresses");
        assert_eq!(syn_goes_to(&hudson::<F>(identity)), set, "no listener");
    }
}

fn a_connection_in_any_form_decides<F: Scene>() {
    let mixed_peer = Ends { peer: F::WALDEN_OVERLAY, own: F::HUDSON };
    let mixed_own = Ends { peer: F::WALDEN, own: F::HUDSON_OVERLAY };
    for identity in both_identities() {
        for ends in [F::OVERLAY, F::REAL, mixed_peer, mixed_own] {
            for (protocol, mut frame) in [
                (TCP, F::tcp(F::WALDEN, F::HUDSON, 80, 40_000, "A")),
                (UDP, F::udp(F::WALDEN, F::HUDSON, 80, 40_000)),
            ] {
                let mut world = hudson::<F>(identity);
                world.listen(protocol, None, 40_000);
                world.connect(protocol, ends, 40_000, 80);
                arrive(&world, &mut frame);
                assert_eq!(F::addresses(&frame), (ends.peer, ends.own));
            }
        }
    }
}

fn the_path_that_a_member_answers_on_does_not_matter<F: Scene>() {
    let mut world = hudson::<F>(identity::REAL);
    world.connect(TCP, F::OVERLAY, 40_000, 80);
    for real in [F::WALDEN, F::WALDEN_OTHER] {
        let mut frame = F::tcp(real, F::HUDSON, 80, 40_000, "A");
        passes(arrive(&world, &mut frame), Reason::Translated);
        assert_eq!(F::addresses(&frame), (F::WALDEN_OVERLAY, F::HUDSON_OVERLAY));
    }
}

fn overlay_addresses_on_the_wire_are_dropped_in_any_mode<F: Scene>() {
    for mode in [mode::OBSERVE, mode::ENFORCE] {
        let mut world = hudson::<F>(identity::REAL);
        world.settings.mode = mode;
        drops(
            arrive(&world, &mut F::udp(F::WALDEN_OVERLAY, F::HUDSON, 1, 2)),
            Reason::SpoofedOverlay,
        );
        drops(
            arrive(&world, &mut F::udp(F::WALDEN, F::HUDSON_OVERLAY, 1, 2)),
            Reason::SpoofedOverlay,
        );
        drops(
            leave(&world, &mut F::udp(F::HUDSON_OVERLAY, F::STRANGER, 1, 2)),
            Reason::OverlaySource,
        );
        drops(leave(&world, &mut F::udp(F::NOBODY, F::WALDEN, 1, 2)), Reason::OverlaySource);
        drops(leave(&world, &mut F::udp(F::HUDSON, F::NOBODY, 1, 2)), Reason::UnknownOverlay);
    }
}

fn mixed_forms_leave_with_real_addresses<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    for (src, dst) in [(F::HUDSON_OVERLAY, F::WALDEN), (F::HUDSON, F::WALDEN_OVERLAY)] {
        let mut frame = F::tcp(src, dst, 40_000, 80, "S");
        passes(leave(&world, &mut frame), Reason::Translated);
        assert_eq!(F::addresses(&frame), (F::HUDSON, F::WALDEN));
    }
}

fn mixed_forms_are_looked_for_once_one_has_left<F: Scene>() {
    for ends in [
        Ends { peer: F::WALDEN_OVERLAY, own: F::HUDSON },
        Ends { peer: F::WALDEN, own: F::HUDSON_OVERLAY },
    ] {
        let mut world = hudson::<F>(identity::REAL);
        world.mixed.set(false);
        // Neither other forms, nor pings, nor what containers send says anything of our sockets.
        for Ends { peer, own } in [F::OVERLAY, F::REAL] {
            leave(&world, &mut F::tcp(own, peer, 40_001, 80, "S"));
        }
        leave(&world, &mut F::tcp(F::HUDSON, F::STRANGER, 40_001, 80, "S"));
        leave(&world, &mut F::echo_request(ends.own, ends.peer, 7));
        forwarded(&world, &mut F::udp(ends.own, ends.peer, 40_001, 80));
        assert!(!world.mixed.get());

        world.connect(TCP, ends, 40_000, 80);
        let names = || {
            let mut frame = F::tcp(F::WALDEN, F::HUDSON, 80, 40_000, "A");
            arrive(&world, &mut frame);
            F::addresses(&frame)
        };
        assert_eq!(names(), (F::WALDEN, F::HUDSON));
        leave(&world, &mut F::tcp(ends.own, ends.peer, 40_000, 80, "A"));
        assert_eq!(names(), (ends.peer, ends.own));
    }
}

fn strangers_are_let_in_by_what_the_design_names_only<F: Scene>() {
    let mut world = hudson::<F>(identity::REAL);
    world.connect(TCP, Ends { peer: F::STRANGER, own: F::HUDSON }, 40_000, 443);
    world.listen(TCP, None, 80);
    for flags in ["A", "SA", "F", "R"] {
        passes(
            arrive(&world, &mut F::tcp(F::STRANGER, F::HUDSON, 443, 40_000, flags)),
            Reason::Reply,
        );
        drops(
            arrive(&world, &mut F::tcp(F::STRANGER, F::HUDSON, 443, 40_001, flags)),
            Reason::NotAReply,
        );
        drops(
            arrive(&world, &mut F::tcp(F::STRANGER, F::HUDSON, 443, 80, flags)),
            Reason::NotAReply,
        );
    }
    drops(arrive(&world, &mut F::tcp(F::STRANGER, F::HUDSON, 443, 40_000, "S")), Reason::Stranger);
    drops(arrive(&world, &mut F::udp(F::STRANGER, F::HUDSON, 53, 53)), Reason::Stranger);
    drops(arrive(&world, &mut F::echo_request(F::STRANGER, F::HUDSON, 7)), Reason::Stranger);
    world.settings.echo = 1;
    passes(arrive(&world, &mut F::echo_request(F::STRANGER, F::HUDSON, 7)), Reason::Echo);
    world.open(TCP, 80);
    passes(arrive(&world, &mut F::tcp(F::STRANGER, F::HUDSON, 443, 80, "S")), Reason::OpenPort);
    world.settings.mode = mode::OBSERVE;
    let verdict = arrive(&world, &mut F::udp(F::STRANGER, F::HUDSON, 53, 53));
    assert_eq!(verdict, Verdict { action: Action::Next, reason: Reason::Stranger, would: true });
}

fn nothing_is_judged_before_the_daemon_has_written_its_settings<F: Scene>() {
    let mut world = hudson::<F>(identity::REAL);
    world.settings.valid = 0;
    passes(arrive(&world, &mut F::tcp(F::STRANGER, F::HUDSON, 5_000, 80, "S")), Reason::NotOurs);
    passes(leave(&world, &mut F::udp(F::HUDSON, F::NOBODY, 1, 2)), Reason::NotOurs);
}

/// The kernel programs take the word for it and call the other family's.
#[test]
fn ipv6_is_left_to_its_own_program() {
    let world = hudson::<V4>(identity::OVERLAY);
    let mut frame = V6::udp(V6::STRANGER, V6::HUDSON, 5_000, 53);
    drops(arrive(&world, &mut frame), Reason::Ipv6);
    drops(leave(&world, &mut frame), Reason::Ipv6);
    let filtered = filter(&mut Frame::new(&mut frame), &world);
    drops(filtered, Reason::Ipv6);
}

fn nobody_is_locked_out<F: Scene>() {
    let mut world = hudson::<F>(identity::REAL);
    drops(arrive(&world, &mut F::tcp(F::ADMIN, F::HUDSON, 5_000, 22, "S")), Reason::Stranger);
    world.settings.failsafe[0] = Prefix { network: F::ADMIN, mask: F::mask(F::BITS) };
    passes(arrive(&world, &mut F::tcp(F::ADMIN, F::HUDSON, 5_000, 22, "S")), Reason::Failsafe);
    drops(arrive(&world, &mut F::tcp(F::ADMIN, F::HUDSON, 5_000, 23, "S")), Reason::Stranger);
    drops(arrive(&world, &mut F::tcp(F::STRANGER, F::HUDSON, 5_000, 22, "S")), Reason::Stranger);
    passes(
        arrive(&world, &mut F::udp(F::SERVER, F::HUDSON, F::DHCP.0, F::DHCP.1)),
        Reason::Failsafe,
    );
    passes(arrive(&world, &mut F::tcp(F::METADATA, F::HUDSON, 80, 5_000, "SA")), Reason::Failsafe);
    drops(arrive(&world, &mut F::tcp(F::METADATA, F::HUDSON, 80, 5_000, "S")), Reason::Stranger);
    world.add_endpoint(F::STRANGER, 2_379);
    passes(
        arrive(&world, &mut F::tcp(F::STRANGER, F::HUDSON, 2_379, 5_000, "A")),
        Reason::Failsafe,
    );
    drops(arrive(&world, &mut F::tcp(F::STRANGER, F::HUDSON, 2_379, 5_000, "S")), Reason::Stranger);
}
