//! Which form a member's flow has, by sockets and settings.

use super::*;
use crate::headers::{TCP, UDP};

/// The destination that a SYN from walden gets on hudson.
fn syn_goes_to(world: &World<V4>) -> Addr {
    let mut frame = tcp(WALDEN, HUDSON, 40_000, 80, "S");
    assert_eq!(arrive(world, &mut frame).action, Action::Next);
    addresses(&frame).1
}

#[test]
fn a_listener_on_one_address_decides_and_else_the_setting() {
    for identity in both_identities() {
        let set = if identity == identity::OVERLAY { HUDSON_OVERLAY } else { HUDSON };
        for (listener, expected) in
            [(None, set), (Some(HUDSON), HUDSON), (Some(HUDSON_OVERLAY), HUDSON_OVERLAY)]
        {
            let mut world = hudson(identity);
            world.listen(TCP, listener, 80);
            assert_eq!(syn_goes_to(&world), expected, "identity {identity}, listener {listener:?}");
        }
        let mut world = hudson(identity);
        world.listen(TCP, Some(HUDSON), 80);
        world.listen(TCP, Some(HUDSON_OVERLAY), 80);
        assert_eq!(syn_goes_to(&world), set, "listeners on both addresses");
        assert_eq!(syn_goes_to(&hudson(identity)), set, "no listener");
    }
}

#[test]
fn a_connection_in_any_form_decides() {
    let mixed_peer = Ends { peer: WALDEN_OVERLAY, own: HUDSON };
    let mixed_own = Ends { peer: WALDEN, own: HUDSON_OVERLAY };
    for identity in both_identities() {
        for ends in [OVERLAY, REAL, mixed_peer, mixed_own] {
            for (protocol, mut frame) in [
                (TCP, tcp(WALDEN, HUDSON, 80, 40_000, "A")),
                (UDP, udp(WALDEN, HUDSON, 80, 40_000)),
            ] {
                let mut world = hudson(identity);
                world.listen(protocol, None, 40_000);
                world.connect(protocol, ends, 40_000, 80);
                arrive(&world, &mut frame);
                assert_eq!(addresses(&frame), (ends.peer, ends.own));
            }
        }
    }
}

#[test]
fn the_path_that_a_member_answers_on_does_not_matter() {
    let mut world = hudson(identity::REAL);
    world.connect(TCP, OVERLAY, 40_000, 80);
    for real in [WALDEN, WALDEN_OTHER] {
        let mut frame = tcp(real, HUDSON, 80, 40_000, "A");
        passes(arrive(&world, &mut frame), Reason::Translated);
        assert_eq!(addresses(&frame), (WALDEN_OVERLAY, HUDSON_OVERLAY));
    }
}

#[test]
fn overlay_addresses_on_the_wire_are_dropped_in_any_mode() {
    for mode in [mode::OBSERVE, mode::ENFORCE] {
        let mut world = hudson(identity::REAL);
        world.settings.mode = mode;
        drops(arrive(&world, &mut udp(WALDEN_OVERLAY, HUDSON, 1, 2)), Reason::SpoofedOverlay);
        drops(arrive(&world, &mut udp(WALDEN, HUDSON_OVERLAY, 1, 2)), Reason::SpoofedOverlay);
        drops(leave(&world, &mut udp(HUDSON_OVERLAY, STRANGER, 1, 2)), Reason::OverlaySource);
        drops(leave(&world, &mut udp([100, 64, 7, 7], WALDEN, 1, 2)), Reason::OverlaySource);
        drops(leave(&world, &mut udp(HUDSON, [100, 64, 7, 7], 1, 2)), Reason::UnknownOverlay);
    }
}

#[test]
fn mixed_forms_leave_with_real_addresses() {
    let world = hudson(identity::REAL);
    for (src, dst) in [(HUDSON_OVERLAY, WALDEN), (HUDSON, WALDEN_OVERLAY)] {
        let mut frame = tcp(src, dst, 40_000, 80, "S");
        passes(leave(&world, &mut frame), Reason::Translated);
        assert_eq!(addresses(&frame), (HUDSON, WALDEN));
    }
}

#[test]
fn strangers_are_let_in_by_what_the_design_names_only() {
    let mut world = hudson(identity::REAL);
    world.connect(TCP, Ends { peer: STRANGER, own: HUDSON }, 40_000, 443);
    world.listen(TCP, None, 80);
    for flags in ["A", "SA", "F", "R"] {
        passes(arrive(&world, &mut tcp(STRANGER, HUDSON, 443, 40_000, flags)), Reason::Reply);
        drops(arrive(&world, &mut tcp(STRANGER, HUDSON, 443, 40_001, flags)), Reason::NotAReply);
        drops(arrive(&world, &mut tcp(STRANGER, HUDSON, 443, 80, flags)), Reason::NotAReply);
    }
    drops(arrive(&world, &mut tcp(STRANGER, HUDSON, 443, 40_000, "S")), Reason::Stranger);
    drops(arrive(&world, &mut udp(STRANGER, HUDSON, 53, 53)), Reason::Stranger);
    drops(arrive(&world, &mut echo_request(STRANGER, HUDSON, 7)), Reason::Stranger);
    world.settings.echo = 1;
    passes(arrive(&world, &mut echo_request(STRANGER, HUDSON, 7)), Reason::Echo);
    world.open.insert((TCP, 80));
    passes(arrive(&world, &mut tcp(STRANGER, HUDSON, 443, 80, "S")), Reason::OpenPort);
    world.settings.mode = mode::OBSERVE;
    let verdict = arrive(&world, &mut udp(STRANGER, HUDSON, 53, 53));
    assert_eq!(verdict, Verdict { action: Action::Next, reason: Reason::Stranger, would: true });
}

#[test]
fn nothing_is_judged_before_the_daemon_has_written_its_settings() {
    let mut world = hudson(identity::REAL);
    world.settings.valid = 0;
    passes(arrive(&world, &mut tcp(STRANGER, HUDSON, 5_000, 80, "S")), Reason::NotOurs);
    passes(leave(&world, &mut udp(HUDSON, [100, 64, 7, 7], 1, 2)), Reason::NotOurs);
}

#[test]
fn nobody_is_locked_out() {
    let mut world = hudson(identity::REAL);
    drops(arrive(&world, &mut tcp([192, 168, 3, 4], HUDSON, 5_000, 22, "S")), Reason::Stranger);
    world.settings.failsafe[0] = Prefix { network: [192, 168, 0, 0], mask: V4::mask(16) };
    passes(arrive(&world, &mut tcp([192, 168, 3, 4], HUDSON, 5_000, 22, "S")), Reason::Failsafe);
    drops(arrive(&world, &mut tcp([192, 168, 3, 4], HUDSON, 5_000, 23, "S")), Reason::Stranger);
    drops(arrive(&world, &mut tcp(STRANGER, HUDSON, 5_000, 22, "S")), Reason::Stranger);
    passes(arrive(&world, &mut udp([10, 0, 0, 1], HUDSON, 67, 68)), Reason::Failsafe);
    passes(
        arrive(&world, &mut tcp([169, 254, 169, 254], HUDSON, 80, 5_000, "SA")),
        Reason::Failsafe,
    );
    drops(arrive(&world, &mut tcp([169, 254, 169, 254], HUDSON, 80, 5_000, "S")), Reason::Stranger);
    world.add_endpoint(STRANGER, 2_379);
    passes(arrive(&world, &mut tcp(STRANGER, HUDSON, 2_379, 5_000, "A")), Reason::Failsafe);
    drops(arrive(&world, &mut tcp(STRANGER, HUDSON, 2_379, 5_000, "S")), Reason::Stranger);
}
