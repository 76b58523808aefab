//! Hints: what they admit, and what never gets one.

use super::*;
use crate::{hints::state, packet::Owner, tables::Class};

in_both_families!(
    a_ping_to_a_stranger_is_answered_while_it_is_fresh,
    an_unanswered_hint_lasts_thirty_seconds,
    answers_resets_and_servers_never_open_one,
    a_members_datagram_gets_one_only_where_the_setting_would_name_it_otherwise,
    a_containers_connection_is_remembered_and_closed,
    a_containers_connection_to_a_member_keeps_its_form,
    a_containers_connection_that_is_older_than_we_is_remembered,
    a_published_port_leaves_no_hint_of_those_who_may_use_it,
    a_change_of_path_leaves_every_flow_its_names,
    a_tuple_used_again_begins_a_new_life,
    only_the_peer_itself_answers_a_hint,
    a_ping_of_identifier_zero_admits_no_other_icmp,
    a_connection_that_netfilter_leads_elsewhere_is_remembered_as_long_as_it_is_used,
    a_connected_sockets_datagram_that_netfilter_leads_elsewhere_is_remembered,
    the_last_to_send_a_ping_hears_the_answer,
);

const SECOND: u64 = 1_000_000_000;

fn a_ping_to_a_stranger_is_answered_while_it_is_fresh<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    drops(arrive(&world, &mut F::echo_reply(F::STRANGER, F::HUDSON, 7)), Reason::Stranger);
    passes(leave(&world, &mut F::echo_request(F::HUDSON, F::STRANGER, 7)), Reason::NotOurs);
    passes(arrive(&world, &mut F::echo_reply(F::STRANGER, F::HUDSON, 7)), Reason::Hinted);
    drops(arrive(&world, &mut F::echo_reply(F::STRANGER, F::HUDSON, 8)), Reason::Stranger);
    world.now.set(world.now.get() + 179 * SECOND);
    passes(arrive(&world, &mut F::echo_reply(F::STRANGER, F::HUDSON, 7)), Reason::Hinted);
    world.now.set(world.now.get() + 2 * SECOND);
    drops(arrive(&world, &mut F::echo_reply(F::STRANGER, F::HUDSON, 7)), Reason::Stranger);
}

fn an_unanswered_hint_lasts_thirty_seconds<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    leave(&world, &mut F::udp(F::HUDSON, F::STRANGER, 5_000, 53));
    world.now.set(world.now.get() + 31 * SECOND);
    drops(arrive(&world, &mut F::udp(F::STRANGER, F::HUDSON, 53, 5_000)), Reason::Stranger);
}

fn answers_resets_and_servers_never_open_one<F: Scene>() {
    let mut world = hudson::<F>(identity::REAL);
    world.open(17, 53);
    world.connect(6, Ends { peer: F::STRANGER, own: F::HUDSON }, 1, 2);
    for mut frame in [
        F::echo_reply(F::HUDSON, F::STRANGER, 7),
        F::tcp(F::HUDSON, F::STRANGER, 1, 2, "R"),
        F::tcp(F::HUDSON, F::STRANGER, 1, 2, "SA"),
        F::tcp(F::HUDSON, F::STRANGER, 1, 2, "S"),
        F::udp(F::HUDSON, F::STRANGER, 53, 5_000),
        F::too_big(F::HUDSON, F::STRANGER, &F::udp(F::STRANGER, F::HUDSON, 1, 2)),
    ] {
        passes(leave(&world, &mut frame), Reason::NotOurs);
    }
    for mut frame in
        [F::tcp(F::HUDSON, F::STRANGER, 1, 2, "R"), F::tcp(F::HUDSON, F::STRANGER, 1, 2, "SA")]
    {
        forwarded(&world, &mut frame);
    }
    assert!(world.hints.borrow().is_empty());
    let mut connected = F::udp(F::HUDSON, F::STRANGER, 5_000, 53);
    let mut frame = Frame::new(&mut connected);
    frame.owner = Owner::Connected;
    egress(&mut frame, &world);
    assert!(world.hints.borrow().is_empty(), "a connected socket is its own memory");
}

fn a_members_datagram_gets_one_only_where_the_setting_would_name_it_otherwise<F: Scene>() {
    for identity in both_identities() {
        let set = if identity == identity::OVERLAY { F::OVERLAY } else { F::REAL };
        for ends in [F::OVERLAY, F::REAL] {
            let mut world = hudson::<F>(identity);
            world.listen(17, None, 5_000);
            leave(&world, &mut F::udp(ends.own, ends.peer, 5_000, 53));
            assert_eq!(world.hints.borrow().is_empty(), ends == set);
            let mut answer = F::udp(F::WALDEN, F::HUDSON, 53, 5_000);
            arrive(&world, &mut answer);
            assert_eq!(F::addresses(&answer), (ends.peer, ends.own));
        }
    }
}

fn a_containers_connection_is_remembered_and_closed<F: Scene>() {
    let world = hudson::<F>(identity::OVERLAY);
    passes(
        forwarded(&world, &mut F::tcp(F::HUDSON, F::STRANGER, 5_000, 443, "S")),
        Reason::NotOurs,
    );
    passes(arrive(&world, &mut F::tcp(F::STRANGER, F::HUDSON, 443, 5_000, "SA")), Reason::Hinted);
    let hint = *world.hints.borrow().iter().next().unwrap().1;
    assert_eq!(hint.state, state::ANSWERED);
    world.now.set(world.now.get() + 7_000 * SECOND);
    passes(arrive(&world, &mut F::tcp(F::STRANGER, F::HUDSON, 443, 5_000, "A")), Reason::Hinted);
    forwarded(&world, &mut F::tcp(F::HUDSON, F::STRANGER, 5_000, 443, "FA"));
    world.now.set(world.now.get() + 241 * SECOND);
    drops(arrive(&world, &mut F::tcp(F::STRANGER, F::HUDSON, 443, 5_000, "A")), Reason::NotAReply);
}

fn a_containers_connection_to_a_member_keeps_its_form<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    // After masquerading: our real address, the peer's overlay one.
    let mut syn = F::tcp(F::HUDSON, F::WALDEN_OVERLAY, 5_000, 80, "S");
    forwarded(&world, &mut syn);
    assert_eq!(F::addresses(&syn), (F::HUDSON, F::WALDEN));
    assert!(world.hints.borrow().keys().all(|(class, _)| *class == Class::ForwardMember));
    let mut answer = F::tcp(F::WALDEN, F::HUDSON, 80, 5_000, "SA");
    arrive(&world, &mut answer);
    assert_eq!(F::addresses(&answer), (F::WALDEN_OVERLAY, F::HUDSON));
}

fn a_containers_connection_that_is_older_than_we_is_remembered<F: Scene>() {
    for identity in both_identities() {
        let world = hudson::<F>(identity);
        let answer = || F::tcp(F::STRANGER, F::HUDSON, 443, 5_000, "A");
        drops(arrive(&world, &mut answer()), Reason::NotAReply);
        for ending in ["R", "FA", "SA"] {
            forwarded(&world, &mut F::tcp(F::HUDSON, F::STRANGER, 5_000, 443, ending));
        }
        assert!(world.hints.borrow().is_empty());
        forwarded(&world, &mut F::tcp(F::HUDSON, F::STRANGER, 5_000, 443, "A"));
        passes(arrive(&world, &mut answer()), Reason::Hinted);
        // A peer that becomes a member is still who it was.
        let mut before = world.clone();
        let member = before.members.remove(&F::WALDEN).unwrap();
        before.members.remove(&F::WALDEN_OTHER);
        forwarded(&before, &mut F::tcp(F::HUDSON, F::WALDEN, 6_000, 80, "A"));
        before.members.insert(F::WALDEN, member);
        let mut answer = F::tcp(F::WALDEN, F::HUDSON, 80, 6_000, "A");
        arrive(&before, &mut answer);
        assert_eq!(F::addresses(&answer), (F::WALDEN, F::HUDSON));
        // To a member by its real address, as before there was an overlay.
        forwarded(&world, &mut F::tcp(F::HUDSON, F::WALDEN, 5_000, 80, "A"));
        let mut answer = F::tcp(F::WALDEN, F::HUDSON, 80, 5_000, "A");
        arrive(&world, &mut answer);
        assert_eq!(F::addresses(&answer), (F::WALDEN, F::HUDSON));
    }
}

fn a_published_port_leaves_no_hint_of_those_who_may_use_it<F: Scene>() {
    for identity in both_identities() {
        let mut world = hudson::<F>(identity);
        world.open(6, 8_080);
        let set = if identity == identity::OVERLAY { F::OVERLAY } else { F::REAL };
        for (own, peer) in [(F::HUDSON, F::STRANGER), (set.own, set.peer)] {
            forwarded(&world, &mut F::tcp(own, peer, 8_080, 5_000, "A"));
        }
        assert!(world.hints.borrow().is_empty());
    }
}

fn a_change_of_path_leaves_every_flow_its_names<F: Scene>() {
    for identity in both_identities() {
        let mut world = hudson::<F>(identity);
        forwarded(&world, &mut F::tcp(F::HUDSON, F::WALDEN_OVERLAY, 5_000, 80, "S"));
        leave(&world, &mut F::echo_request(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, 7));
        if let Some(path) = world.paths.get_mut(&F::WALDEN_OVERLAY) {
            path.real = F::WALDEN_OTHER;
        }
        let mut more = F::tcp(F::HUDSON, F::WALDEN_OVERLAY, 5_000, 80, "A");
        forwarded(&world, &mut more);
        assert_eq!(F::addresses(&more), (F::HUDSON, F::WALDEN_OTHER));
        for real in [F::WALDEN, F::WALDEN_OTHER] {
            let mut answer = F::tcp(real, F::HUDSON, 80, 5_000, "A");
            arrive(&world, &mut answer);
            assert_eq!(F::addresses(&answer), (F::WALDEN_OVERLAY, F::HUDSON));
            let mut pong = F::echo_reply(real, F::HUDSON, 7);
            arrive(&world, &mut pong);
            assert_eq!(F::addresses(&pong), (F::WALDEN_OVERLAY, F::HUDSON_OVERLAY));
        }
    }
}

fn a_tuple_used_again_begins_a_new_life<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    let go = |flags| {
        forwarded(&world, &mut F::tcp(F::HUDSON, F::STRANGER, 5_000, 443, flags));
        let answer = if flags == "S" { "SA" } else { "A" };
        arrive(&world, &mut F::tcp(F::STRANGER, F::HUDSON, 443, 5_000, answer)).reason
    };
    assert_eq!(go("S"), Reason::Hinted);
    go("FA");
    world.now.set(world.now.get() + 100 * SECOND);
    assert_eq!(go("S"), Reason::Hinted);
    world.now.set(world.now.get() + 300 * SECOND);
    let mut late = F::tcp(F::STRANGER, F::HUDSON, 443, 5_000, "A");
    passes(arrive(&world, &mut late), Reason::Hinted);
}

fn only_the_peer_itself_answers_a_hint<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    let mut query = F::udp(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, 5_000, 53);
    leave(&world, &mut query);
    arrive(&world, &mut F::too_big(F::ROUTER, F::HUDSON, &query));
    assert_eq!(world.hints.borrow().values().next().unwrap().state, state::OPENED);
}

fn a_ping_of_identifier_zero_admits_no_other_icmp<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    leave(&world, &mut F::echo_request(F::HUDSON, F::STRANGER, 0));
    let about = F::echo_request(F::HUDSON, F::STRANGER, 0);
    let step = F::ip(F::STRANGER, F::HUDSON);
    let mut redirect = F::icmp(step, F::REDIRECT, [0; 4], &about[ETHERNET..]);
    drops(arrive(&world, &mut redirect), Reason::Stranger);
    passes(arrive(&world, &mut F::echo_reply(F::STRANGER, F::HUDSON, 0)), Reason::Hinted);
}

/// What leaves of a socket that knows its flow by other names than those that netfilter has given it.
fn translated<F: Scene>(world: &World<F>, mut frame: Vec<u8>) -> Verdict {
    let mut packet = Frame::new(&mut frame);
    packet.owner = Owner::Translated;
    egress(&mut packet, world)
}

fn a_connection_that_netfilter_leads_elsewhere_is_remembered_as_long_as_it_is_used<F: Scene>() {
    let mut world = hudson::<F>(identity::OVERLAY);
    // The socket has port 40000, which a container's masqueraded flow has on the wire.
    world.connect(6, F::REAL, 40_000, 80);
    for peer in [F::WALDEN, F::STRANGER] {
        passes(leave(&world, &mut F::tcp(F::HUDSON, peer, 1_024, 80, "S")), Reason::NotOurs);
        // A segment each way every two minutes, for four hours.
        for flags in ["SA"].into_iter().chain(["A"; 120]) {
            let mut answer = F::tcp(peer, F::HUDSON, 80, 1_024, flags);
            assert_eq!(arrive(&world, &mut answer).action, Action::Next);
            assert_eq!(F::addresses(&answer), (peer, F::HUDSON));
            let segment = F::tcp(F::HUDSON, peer, 1_024, 80, "A");
            passes(translated(&world, segment), Reason::NotOurs);
            world.now.set(world.now.get() + 120 * SECOND);
        }
        // It has ended on our side.
        passes(translated(&world, F::tcp(F::HUDSON, peer, 1_024, 80, "FA")), Reason::NotOurs);
    }
    world.now.set(world.now.get() + 241 * SECOND);
    let mut late = F::tcp(F::STRANGER, F::HUDSON, 80, 1_024, "A");
    drops(arrive(&world, &mut late), Reason::NotAReply);
}

fn a_connected_sockets_datagram_that_netfilter_leads_elsewhere_is_remembered<F: Scene>() {
    for identity in both_identities() {
        for peer in [F::WALDEN, F::STRANGER] {
            let mut world = hudson::<F>(identity);
            // It dialled a service address, which is none of the wire's.
            world.connect(17, Ends { peer: F::ADMIN, own: F::HUDSON }, 5_000, 53);
            let mut answer = F::udp(peer, F::HUDSON, 53, 5_000);
            if peer == F::STRANGER {
                drops(arrive(&world, &mut answer), Reason::Stranger);
            }
            let asked = F::udp(F::HUDSON, peer, 5_000, 53);
            passes(translated(&world, asked), Reason::NotOurs);
            assert_eq!(arrive(&world, &mut answer).action, Action::Next);
            assert_eq!(F::addresses(&answer), (peer, F::HUDSON), "identity {identity}");
        }
    }
}

fn the_last_to_send_a_ping_hears_the_answer<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    leave(&world, &mut F::echo_request(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, 7));
    world.now.set(world.now.get() + SECOND);
    forwarded(&world, &mut F::echo_request(F::HUDSON, F::WALDEN, 7));
    let mut answer = F::echo_reply(F::WALDEN, F::HUDSON, 7);
    arrive(&world, &mut answer);
    assert_eq!(F::addresses(&answer), (F::WALDEN, F::HUDSON));
}
