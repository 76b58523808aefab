//! Members that may not reach everything, addresses that are none, and what is noted of who is refused.

use super::{errors::fragments, *};
use crate::{
    drops,
    filter::filter,
    headers::{TCP, UDP},
    maps::{DropKey, SubjectKey, member_flag, members, service},
    verdict::Hook,
};

in_both_families!(
    a_role_reaches_what_its_rules_say,
    a_member_named_by_a_rule_has_a_set_beside_its_roles,
    replies_of_a_member_need_no_rule,
    a_members_answer_to_a_datagram_needs_a_hint,
    a_container_talks_on_with_a_member_without_rights,
    a_routed_container_is_answered_by_a_member_without_rights,
    what_observe_lets_pass_is_named_all_the_same,
    fragments_of_who_has_no_rights_are_left_to_ingress,
    a_member_without_rights_is_let_in_where_strangers_are,
    the_failsafe_is_asked_before_roles,
    an_override_is_answered_by_the_name_it_was_called,
    drops_are_noted_by_source_port_and_reason,
    the_sender_of_a_malformed_packet_is_noted,
    what_observe_lets_pass_is_noted_once,
    an_answer_under_observe_is_no_question,
);

const WEB: u32 = 7;

/// Hudson lets in members of the role web to port 5432, and no others; walden is of this role.
fn database<F: Scene>(role: u32) -> World<F> {
    let mut world = hudson::<F>(identity::OVERLAY);
    world.settings.members = members::BY_ROLE;
    let postgres = service::of(TCP, 5_432);
    let set = world.rules.set(postgres..=postgres);
    world.rules.subjects.insert(subject(members::BY_ROLE, WEB), set);
    for member in world.members.values_mut() {
        member.role = role;
    }
    world.listen(TCP, None, 5_432);
    world.listen(TCP, None, 80);
    world
}

fn subject(kind: u8, number: u32) -> SubjectKey {
    SubjectKey { slot: 0, kind: kind.into(), number }
}

fn from_walden<F: Scene>(port: u16, flags: &str) -> Vec<u8> {
    F::tcp(F::WALDEN, F::HUDSON, 40_000, port, flags)
}

fn a_role_reaches_what_its_rules_say<F: Scene>() {
    let world = database::<F>(WEB);
    passes(arrive(&world, &mut from_walden::<F>(5_432, "S")), Reason::Translated);
    for flags in ["S", "A", "SA", "R", "F"] {
        drops(arrive(&world, &mut from_walden::<F>(80, flags)), Reason::Role);
    }
    drops(arrive(&world, &mut F::udp(F::WALDEN, F::HUDSON, 40_000, 5_432)), Reason::Role);
    let other = database::<F>(WEB + 1);
    drops(arrive(&other, &mut from_walden::<F>(5_432, "S")), Reason::Role);
    let mut ping = F::echo_request(F::WALDEN, F::HUDSON, 9);
    passes(arrive(&other, &mut ping), Reason::Translated);
}

fn a_member_named_by_a_rule_has_a_set_beside_its_roles<F: Scene>() {
    let mut world = database::<F>(WEB);
    let http = service::of(TCP, 80);
    let set = world.rules.set(http..=http);
    let host = world.members[&F::WALDEN].host;
    world.rules.subjects.insert(subject(members::BY_HOST, host), set);
    drops(arrive(&world, &mut from_walden::<F>(80, "S")), Reason::Role);
    world.settings.members = members::BY_HOST;
    passes(arrive(&world, &mut from_walden::<F>(80, "S")), Reason::Translated);
    passes(arrive(&world, &mut from_walden::<F>(5_432, "S")), Reason::Translated);

    world.rules.subjects.clear();
    drops(arrive(&world, &mut from_walden::<F>(80, "S")), Reason::Role);
    world.settings.others = set;
    passes(arrive(&world, &mut from_walden::<F>(80, "S")), Reason::Translated);
}

fn replies_of_a_member_need_no_rule<F: Scene>() {
    for ends in [F::OVERLAY, F::REAL] {
        let mut world = database::<F>(0);
        world.connect(TCP, ends, 33_000, 443);
        let reply = |flags| F::tcp(F::WALDEN, F::HUDSON, 443, 33_000, flags);
        for flags in ["SA", "A", "R"] {
            let mut frame = reply(flags);
            let reason = if ends == F::OVERLAY { Reason::Translated } else { Reason::Reply };
            passes(arrive(&world, &mut frame), reason);
            assert_eq!(F::addresses(&frame), (ends.peer, ends.own));
        }
        // It is for ingress, which knows the names, to say so.
        assert_eq!(filter(&mut Frame::new(&mut reply("A")), &world).reason, Reason::LeftToIngress);
        assert_eq!(filter(&mut Frame::new(&mut reply("S")), &world).reason, Reason::Role);
    }
}

fn a_members_answer_to_a_datagram_needs_a_hint<F: Scene>() {
    let mut world = database::<F>(0);
    world.listen(UDP, None, 5_353);
    let mut answer = F::udp(F::WALDEN, F::HUDSON, 53, 5_353);
    drops(arrive(&world, &mut answer), Reason::Role);
    let mut question = F::udp(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, 5_353, 53);
    passes(leave(&world, &mut question), Reason::Translated);
    let mut answer = F::udp(F::WALDEN, F::HUDSON, 53, 5_353);
    passes(arrive(&world, &mut answer), Reason::Translated);
    assert_eq!(F::addresses(&answer), (F::WALDEN_OVERLAY, F::HUDSON_OVERLAY));
    world.now.set(world.now.get() + 300_000_000_000);
    drops(arrive(&world, &mut F::udp(F::WALDEN, F::HUDSON, 53, 5_353)), Reason::Role);
}

fn a_container_talks_on_with_a_member_without_rights<F: Scene>() {
    let world = database::<F>(0);
    // In the form that the setting would give its answers, which needs a hint all the same.
    let answer = || F::tcp(F::WALDEN, F::HUDSON, 443, 33_000, "A");
    drops(arrive(&world, &mut answer()), Reason::Role);
    forwarded(&world, &mut F::tcp(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, 33_000, 443, "A"));
    passes(arrive(&world, &mut answer()), Reason::Translated);
}

fn a_routed_container_is_answered_by_a_member_without_rights<F: Scene>() {
    let world = database::<F>(0);
    let answer = || F::udp(F::WALDEN, F::CONTAINER, 53, 33_000);
    drops(arrive(&world, &mut answer()), Reason::Role);
    forwarded(&world, &mut F::udp(F::CONTAINER, F::WALDEN, 33_000, 53));
    passes(arrive(&world, &mut answer()), Reason::Hinted);
}

fn what_observe_lets_pass_is_named_all_the_same<F: Scene>() {
    let mut world = database::<F>(0);
    world.settings.mode = mode::OBSERVE;
    for flags in ["S", "A"] {
        let mut frame = from_walden::<F>(80, flags);
        let verdict = arrive(&world, &mut frame);
        assert_eq!((verdict.reason, verdict.would), (Reason::Role, true));
        passes(verdict, Reason::Role);
        assert_eq!(F::addresses(&frame), (F::WALDEN_OVERLAY, F::HUDSON_OVERLAY));
    }
    let [mut first, mut second] = fragments::<F>(F::WALDEN, F::HUDSON);
    passes(arrive(&world, &mut first), Reason::Role);
    passes(arrive(&world, &mut second), Reason::Translated);
    assert_eq!(F::addresses(&second), (F::WALDEN_OVERLAY, F::HUDSON_OVERLAY));
}

fn fragments_of_who_has_no_rights_are_left_to_ingress<F: Scene>() {
    let world = database::<F>(0);
    let [mut first, mut second] = fragments::<F>(F::WALDEN, F::HUDSON);
    for part in [&mut first, &mut second] {
        assert_eq!(filter(&mut Frame::new(part), &world).reason, Reason::LeftToIngress);
    }
    // Nothing was decided there.
    drops(arrive(&world, &mut first), Reason::Role);
    drops(arrive(&world, &mut second), Reason::FragmentWithoutFirst);
}

fn a_member_without_rights_is_let_in_where_strangers_are<F: Scene>() {
    let mut world = database::<F>(0);
    world.open(TCP, 80);
    passes(arrive(&world, &mut from_walden::<F>(80, "S")), Reason::Translated);
    let mut world = database::<F>(0);
    let postgres = service::of(TCP, 5_432);
    world.allow(F::BITS, F::WALDEN, postgres..=postgres);
    passes(arrive(&world, &mut from_walden::<F>(5_432, "S")), Reason::Translated);
}

fn the_failsafe_is_asked_before_roles<F: Scene>() {
    let mut world = database::<F>(0);
    drops(arrive(&world, &mut from_walden::<F>(22, "S")), Reason::Role);
    world.settings.failsafe[0] = Prefix { network: F::WALDEN, mask: F::mask(F::BITS) };
    passes(arrive(&world, &mut from_walden::<F>(22, "S")), Reason::Translated);
}

/// An overlay address may stand for somebody who is no member.
fn an_override_is_answered_by_the_name_it_was_called<F: Scene>() {
    let mut world = hudson::<F>(identity::OVERLAY);
    for member in world.members.values_mut() {
        member.flags = member_flag::OVERRIDE;
    }
    drops(arrive(&world, &mut from_walden::<F>(80, "S")), Reason::Stranger);
    drops(arrive(&world, &mut from_walden::<F>(80, "A")), Reason::NotAReply);
    let mut syn = F::tcp(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, 33_000, 443, "S");
    passes(leave(&world, &mut syn), Reason::Translated);
    assert_eq!(F::addresses(&syn), (F::HUDSON, F::WALDEN));
    world.connect(TCP, F::OVERLAY, 33_000, 443);
    let mut reply = F::tcp(F::WALDEN, F::HUDSON, 443, 33_000, "SA");
    passes(arrive(&world, &mut reply), Reason::Translated);
    assert_eq!(F::addresses(&reply), (F::WALDEN_OVERLAY, F::HUDSON_OVERLAY));

    let mut ping = F::echo_request(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, 9);
    passes(leave(&world, &mut ping), Reason::Translated);
    let mut pong = F::echo_reply(F::WALDEN, F::HUDSON, 9);
    passes(arrive(&world, &mut pong), Reason::Translated);
    assert_eq!(F::addresses(&pong), (F::WALDEN_OVERLAY, F::HUDSON_OVERLAY));
    drops(arrive(&world, &mut F::echo_request(F::WALDEN, F::HUDSON, 9)), Reason::Stranger);
}

fn noted<F: Scene>(world: &World<F>) -> Vec<(DropKey<F>, (u64, u64))> {
    let drops = world.drops.borrow();
    drops.iter().map(|(key, dropped)| (*key, (dropped.packets, dropped.would))).collect()
}

fn key<F: Scene>(protocol: u8, port: u16, reason: Reason) -> DropKey<F> {
    let port = port.to_be_bytes();
    DropKey { src: F::STRANGER, port, protocol, reason: reason as u8, _pad: [0; 4] }
}

/// Gives a frame to ingress and has it noted as the kernel programs do.
fn arrives<F: Scene>(world: &World<F>, frame: &mut [u8]) {
    let verdict = arrive(world, frame);
    if verdict.is_noted(Hook::Ingress) {
        drops::note(&mut Frame::new(frame), world, verdict.reason as u8, verdict.would);
    }
}

fn drops_are_noted_by_source_port_and_reason<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    for _ in 0..2 {
        arrives(&world, &mut F::tcp(F::STRANGER, F::HUDSON, 40_000, 80, "S"));
    }
    arrives(&world, &mut F::tcp(F::STRANGER, F::HUDSON, 40_000, 80, "A"));
    arrives(&world, &mut F::echo_request(F::STRANGER, F::HUDSON, 9));
    arrives(&world, &mut F::udp(F::WALDEN, F::HUDSON, 40_000, 80));
    let mut wanted = vec![
        (key(TCP, 80, Reason::Stranger), (2, 0)),
        (key(TCP, 80, Reason::NotAReply), (1, 0)),
        (key(F::ICMP, 0, Reason::Stranger), (1, 0)),
    ];
    wanted.sort();
    assert_eq!(noted(&world), wanted);
}

/// What cannot be read has a sender all the same.
fn the_sender_of_a_malformed_packet_is_noted<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    let mut frame = F::tcp(F::STRANGER, F::HUDSON, 40_000, 80, "S");
    frame.truncate(frame.len() - 1);
    let verdict = ingress(&mut Frame::new(&mut frame), &world);
    assert_eq!(verdict.reason, Reason::Malformed);
    drops::note(&mut Frame::new(&mut frame), &world, verdict.reason as u8, verdict.would);
    assert_eq!(noted(&world), [(key(0, 0, Reason::Malformed), (1, 0))]);
}

fn what_observe_lets_pass_is_noted_once<F: Scene>() {
    let mut world = hudson::<F>(identity::REAL);
    world.settings.mode = mode::OBSERVE;
    let mut syn = F::tcp(F::STRANGER, F::HUDSON, 40_000, 80, "S");
    assert!(!filter(&mut Frame::new(&mut syn), &world).is_noted(Hook::Filter));
    arrives(&world, &mut syn);
    assert_eq!(noted(&world), [(key(TCP, 80, Reason::Stranger), (1, 1))]);
    world.settings.mode = mode::ENFORCE;
    assert!(filter(&mut Frame::new(&mut syn), &world).is_noted(Hook::Filter));
}

fn an_answer_under_observe_is_no_question<F: Scene>() {
    for identity in both_identities() {
        let mut world = hudson::<F>(identity);
        world.settings.mode = mode::OBSERVE;
        world.listen(UDP, None, 53);
        for _ in 0..3 {
            arrives(&world, &mut F::udp(F::STRANGER, F::HUDSON, 4_000, 53));
            passes(leave(&world, &mut F::udp(F::HUDSON, F::STRANGER, 53, 4_000)), Reason::NotOurs);
        }
        assert_eq!(noted(&world), [(key(UDP, 53, Reason::Stranger), (3, 3))]);
        assert!(world.hints.borrow().is_empty());
        // An old note says nothing of who asks whom.
        world.now.set(world.now.get() + 30_000_000_000);
        leave(&world, &mut F::udp(F::HUDSON, F::STRANGER, 53, 4_000));
        let mut answer = F::udp(F::STRANGER, F::HUDSON, 4_000, 53);
        passes(arrive(&world, &mut answer), Reason::Hinted);
        // Whoever is asked is heard, from another port of ours and from the same one to another.
        for (ours, peer) in [(5_000, F::STRANGER), (53, F::ADMIN)] {
            leave(&world, &mut F::udp(F::HUDSON, peer, ours, 53));
            passes(arrive(&world, &mut F::udp(peer, F::HUDSON, 53, ours)), Reason::Hinted);
        }
    }
}
