//! Hints: what they admit, and what never gets one.

use super::*;
use crate::{hints::state, tables::Class};

const SECOND: u64 = 1_000_000_000;

#[test]
fn a_ping_to_a_stranger_is_answered_while_it_is_fresh() {
    let world = hudson(identity::REAL);
    drops(arrive(&world, &mut echo_reply(STRANGER, HUDSON, 7)), Reason::Stranger);
    passes(leave(&world, &mut echo_request(HUDSON, STRANGER, 7)), Reason::NotOurs);
    passes(arrive(&world, &mut echo_reply(STRANGER, HUDSON, 7)), Reason::Hinted);
    drops(arrive(&world, &mut echo_reply(STRANGER, HUDSON, 8)), Reason::Stranger);
    world.now.set(world.now.get() + 179 * SECOND);
    passes(arrive(&world, &mut echo_reply(STRANGER, HUDSON, 7)), Reason::Hinted);
    world.now.set(world.now.get() + 2 * SECOND);
    drops(arrive(&world, &mut echo_reply(STRANGER, HUDSON, 7)), Reason::Stranger);
}

#[test]
fn an_unanswered_hint_lasts_thirty_seconds() {
    let world = hudson(identity::REAL);
    leave(&world, &mut udp(HUDSON, STRANGER, 5_000, 53));
    world.now.set(world.now.get() + 31 * SECOND);
    drops(arrive(&world, &mut udp(STRANGER, HUDSON, 53, 5_000)), Reason::Stranger);
}

#[test]
fn answers_resets_and_servers_never_open_one() {
    let mut world = hudson(identity::REAL);
    world.open.insert((17, 53));
    world.connect(6, Ends { peer: STRANGER, own: HUDSON }, 1, 2);
    for mut frame in [
        echo_reply(HUDSON, STRANGER, 7),
        tcp(HUDSON, STRANGER, 1, 2, "R"),
        tcp(HUDSON, STRANGER, 1, 2, "SA"),
        tcp(HUDSON, STRANGER, 1, 2, "S"),
        udp(HUDSON, STRANGER, 53, 5_000),
        too_big(HUDSON, STRANGER, &udp(STRANGER, HUDSON, 1, 2)),
    ] {
        passes(leave(&world, &mut frame), Reason::NotOurs);
    }
    for mut frame in [tcp(HUDSON, STRANGER, 1, 2, "R"), tcp(HUDSON, STRANGER, 1, 2, "SA")] {
        forwarded(&world, &mut frame);
    }
    assert!(world.hints.borrow().is_empty());
    let mut connected = udp(HUDSON, STRANGER, 5_000, 53);
    let mut frame = Frame::new(&mut connected);
    frame.connected = true;
    egress(&mut frame, &world);
    assert!(world.hints.borrow().is_empty(), "a connected socket is its own memory");
}

#[test]
fn a_members_datagram_gets_one_only_where_the_setting_would_name_it_otherwise() {
    for identity in both_identities() {
        let set = if identity == identity::OVERLAY { OVERLAY } else { REAL };
        for ends in [OVERLAY, REAL] {
            let mut world = hudson(identity);
            world.listen(17, None, 5_000);
            leave(&world, &mut udp(ends.own, ends.peer, 5_000, 53));
            assert_eq!(world.hints.borrow().is_empty(), ends == set);
            let mut answer = udp(WALDEN, HUDSON, 53, 5_000);
            arrive(&world, &mut answer);
            assert_eq!(addresses(&answer), (ends.peer, ends.own));
        }
    }
}

#[test]
fn a_containers_connection_is_remembered_and_closed() {
    let world = hudson(identity::OVERLAY);
    passes(forwarded(&world, &mut tcp(HUDSON, STRANGER, 5_000, 443, "S")), Reason::NotOurs);
    passes(arrive(&world, &mut tcp(STRANGER, HUDSON, 443, 5_000, "SA")), Reason::Hinted);
    let hint = *world.hints.borrow().iter().next().unwrap().1;
    assert_eq!(hint.state, state::ANSWERED);
    world.now.set(world.now.get() + 7_000 * SECOND);
    passes(arrive(&world, &mut tcp(STRANGER, HUDSON, 443, 5_000, "A")), Reason::Hinted);
    forwarded(&world, &mut tcp(HUDSON, STRANGER, 5_000, 443, "FA"));
    world.now.set(world.now.get() + 241 * SECOND);
    drops(arrive(&world, &mut tcp(STRANGER, HUDSON, 443, 5_000, "A")), Reason::NotAReply);
}

#[test]
fn a_containers_connection_to_a_member_keeps_its_form() {
    let world = hudson(identity::REAL);
    // After masquerading: our real address, the peer's overlay one.
    let mut syn = tcp(HUDSON, WALDEN_OVERLAY, 5_000, 80, "S");
    forwarded(&world, &mut syn);
    assert_eq!(addresses(&syn), (HUDSON, WALDEN));
    assert!(world.hints.borrow().keys().all(|(class, _)| *class == Class::ForwardMember));
    let mut answer = tcp(WALDEN, HUDSON, 80, 5_000, "SA");
    arrive(&world, &mut answer);
    assert_eq!(addresses(&answer), (WALDEN_OVERLAY, HUDSON));
}

#[test]
fn a_change_of_path_leaves_every_flow_its_names() {
    for identity in both_identities() {
        let mut world = hudson(identity);
        forwarded(&world, &mut tcp(HUDSON, WALDEN_OVERLAY, 5_000, 80, "S"));
        leave(&world, &mut echo_request(HUDSON_OVERLAY, WALDEN_OVERLAY, 7));
        if let Some(path) = world.paths.get_mut(&WALDEN_OVERLAY) {
            path.real = WALDEN_OTHER;
        }
        let mut more = tcp(HUDSON, WALDEN_OVERLAY, 5_000, 80, "A");
        forwarded(&world, &mut more);
        assert_eq!(addresses(&more), (HUDSON, WALDEN_OTHER));
        for real in [WALDEN, WALDEN_OTHER] {
            let mut answer = tcp(real, HUDSON, 80, 5_000, "A");
            arrive(&world, &mut answer);
            assert_eq!(addresses(&answer), (WALDEN_OVERLAY, HUDSON));
            let mut pong = echo_reply(real, HUDSON, 7);
            arrive(&world, &mut pong);
            assert_eq!(addresses(&pong), (WALDEN_OVERLAY, HUDSON_OVERLAY));
        }
    }
}

#[test]
fn a_tuple_used_again_begins_a_new_life() {
    let world = hudson(identity::REAL);
    let go = |flags| {
        forwarded(&world, &mut tcp(HUDSON, STRANGER, 5_000, 443, flags));
        let answer = if flags == "S" { "SA" } else { "A" };
        arrive(&world, &mut tcp(STRANGER, HUDSON, 443, 5_000, answer)).reason
    };
    assert_eq!(go("S"), Reason::Hinted);
    go("FA");
    world.now.set(world.now.get() + 100 * SECOND);
    assert_eq!(go("S"), Reason::Hinted);
    world.now.set(world.now.get() + 300 * SECOND);
    let mut late = tcp(STRANGER, HUDSON, 443, 5_000, "A");
    passes(arrive(&world, &mut late), Reason::Hinted);
}

#[test]
fn only_the_peer_itself_answers_a_hint() {
    let world = hudson(identity::REAL);
    let mut query = udp(HUDSON_OVERLAY, WALDEN_OVERLAY, 5_000, 53);
    leave(&world, &mut query);
    arrive(&world, &mut too_big(ROUTER, HUDSON, &query));
    assert_eq!(world.hints.borrow().values().next().unwrap().state, state::OPENED);
}

#[test]
fn a_ping_of_identifier_zero_admits_no_other_icmp() {
    let world = hudson(identity::REAL);
    leave(&world, &mut echo_request(HUDSON, STRANGER, 0));
    let mut redirect = Vec::new();
    let step = link().ipv4(STRANGER, HUDSON, 64).icmpv4_raw(5, 1, [10, 0, 0, 66]);
    step.write(&mut redirect, &echo_request(HUDSON, STRANGER, 0)[14..]).unwrap();
    drops(arrive(&world, &mut redirect), Reason::Stranger);
    passes(arrive(&world, &mut echo_reply(STRANGER, HUDSON, 0)), Reason::Hinted);
}

#[test]
fn a_connection_that_conntrack_gave_another_port_is_remembered() {
    let mut world = hudson(identity::OVERLAY);
    // The socket has port 40000, which a container's masqueraded flow has on the wire.
    world.connect(6, REAL, 40_000, 80);
    for peer in [WALDEN, STRANGER] {
        passes(leave(&world, &mut tcp(HUDSON, peer, 1_024, 80, "S")), Reason::NotOurs);
        let mut answer = tcp(peer, HUDSON, 80, 1_024, "SA");
        assert_eq!(arrive(&world, &mut answer).action, Action::Next);
        assert_eq!(addresses(&answer), (peer, HUDSON));
    }
}

#[test]
fn the_last_to_send_a_ping_hears_the_answer() {
    let world = hudson(identity::REAL);
    leave(&world, &mut echo_request(HUDSON_OVERLAY, WALDEN_OVERLAY, 7));
    world.now.set(world.now.get() + SECOND);
    forwarded(&world, &mut echo_request(HUDSON, WALDEN, 7));
    let mut answer = echo_reply(WALDEN, HUDSON, 7);
    arrive(&world, &mut answer);
    assert_eq!(addresses(&answer), (WALDEN, HUDSON));
}
