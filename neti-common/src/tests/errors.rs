//! ICMP errors about our packets and about our peers', and fragments.

use super::*;
use crate::{
    headers::{TCP, UDP},
    maps::service,
};

in_both_families!(
    a_routers_error_reaches_the_socket_it_is_about,
    an_error_about_a_listener_or_somebody_elses_packet_is_refused,
    an_error_about_a_datagram_needs_its_socket,
    an_error_about_a_ping_finds_its_hint_and_the_peers_own_error_its_name,
    an_error_that_leaves_names_what_the_peer_sent,
    later_fragments_follow_the_first,
    a_strangers_fragments_need_their_first,
    fragments_of_an_error_about_nothing_stay_together,
    an_error_that_quotes_an_overlay_address_is_forged,
    errors_reach_containers_that_are_routed_and_senders_that_are_allowed,
    three_tags_are_never_looked_behind,
);

fn a_routers_error_reaches_the_socket_it_is_about<F: Scene>() {
    for ends in [F::OVERLAY, F::REAL] {
        let mut world = hudson::<F>(identity::REAL);
        world.connect(TCP, ends, 40_000, 80);
        let mut frame =
            F::too_big(F::ROUTER, F::HUDSON, &F::tcp(F::HUDSON, F::WALDEN, 40_000, 80, "A"));
        passes(arrive(&world, &mut frame), Reason::IcmpError);
        assert_eq!(F::addresses(&frame), (F::ROUTER, ends.own));
        assert_eq!(F::quoted(&frame), (ends.own, ends.peer));
        let mut other =
            F::too_big(F::ROUTER, F::HUDSON, &F::tcp(F::HUDSON, F::WALDEN, 40_001, 80, "A"));
        drops(arrive(&world, &mut other), Reason::IcmpUnrelated);
    }
}

fn an_error_about_a_listener_or_somebody_elses_packet_is_refused<F: Scene>() {
    let mut world = hudson::<F>(identity::REAL);
    world.listen(TCP, None, 80);
    let about_listener = F::tcp(F::HUDSON, F::STRANGER, 80, 5_000, "A");
    drops(
        arrive(&world, &mut F::too_big(F::ROUTER, F::HUDSON, &about_listener)),
        Reason::IcmpUnrelated,
    );
    let not_ours = F::tcp(F::WALDEN, F::STRANGER, 80, 5_000, "A");
    drops(arrive(&world, &mut F::too_big(F::ROUTER, F::HUDSON, &not_ours)), Reason::IcmpUnrelated);
}

fn an_error_about_a_datagram_needs_its_socket<F: Scene>() {
    let mut world = hudson::<F>(identity::OVERLAY);
    let about = F::udp(F::HUDSON, F::WALDEN, 5_000, 53);
    drops(arrive(&world, &mut F::too_big(F::ROUTER, F::HUDSON, &about)), Reason::IcmpUnrelated);
    world.listen(UDP, None, 5_000);
    let mut frame = F::too_big(F::ROUTER, F::HUDSON, &about);
    passes(arrive(&world, &mut frame), Reason::IcmpError);
    assert_eq!(F::quoted(&frame), (F::HUDSON_OVERLAY, F::WALDEN_OVERLAY));
    let about_stranger = F::udp(F::HUDSON, F::STRANGER, 5_000, 53);
    drops(
        arrive(&world, &mut F::too_big(F::ROUTER, F::HUDSON, &about_stranger)),
        Reason::IcmpUnrelated,
    );
    world.open(UDP, 5_000);
    passes(
        arrive(&world, &mut F::too_big(F::ROUTER, F::HUDSON, &about_stranger)),
        Reason::IcmpError,
    );
}

fn an_error_about_a_ping_finds_its_hint_and_the_peers_own_error_its_name<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    let mut ping = F::echo_request(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, 9);
    leave(&world, &mut ping);
    let mut frame = F::too_big(F::WALDEN, F::HUDSON, &ping);
    passes(arrive(&world, &mut frame), Reason::IcmpError);
    assert_eq!(F::addresses(&frame), (F::WALDEN_OVERLAY, F::HUDSON_OVERLAY));
    assert_eq!(F::quoted(&frame), (F::HUDSON_OVERLAY, F::WALDEN_OVERLAY));
}

fn an_error_that_leaves_names_what_the_peer_sent<F: Scene>() {
    let world = hudson::<F>(identity::OVERLAY);
    let received = F::udp(F::WALDEN_OVERLAY, F::HUDSON_OVERLAY, 53, 5_000);
    let mut frame = F::too_big(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, &received);
    passes(leave(&world, &mut frame), Reason::Translated);
    assert_eq!(F::addresses(&frame), (F::HUDSON, F::WALDEN));
    assert_eq!(F::quoted(&frame), (F::WALDEN, F::HUDSON));
    let nobody = F::udp(F::NOBODY, F::HUDSON_OVERLAY, 53, 5_000);
    drops(leave(&world, &mut F::too_big(F::HUDSON, F::STRANGER, &nobody)), Reason::UnknownOverlay);
}

/// The fragments of a UDP datagram.
pub fn fragments<F: Scene>(src: F::Addr, dst: F::Addr) -> [Vec<u8>; 2] {
    fragments_of::<F>(&F::udp(src, dst, 4_000, 53), UDP, 8)
}

/// The fragments of a packet: `at` bytes behind its IP header in the first, the rest in the second.
fn fragments_of<F: Scene>(whole: &[u8], protocol: u8, at: usize) -> [Vec<u8>; 2] {
    let (src, dst) = F::addresses(whole);
    let (first, second) = whole[ETHERNET + F::HEADER..].split_at(at);
    let part = |offset, more, payload: &[u8]| {
        let header = F::fragment(F::header(src, dst), offset, more);
        let mut frame = Vec::new();
        link().ip(header).write(&mut frame, protocol.into(), payload).unwrap();
        frame
    };
    [part(0, true, first), part(at as u16 / 8, false, second)]
}

fn later_fragments_follow_the_first<F: Scene>() {
    let mut world = hudson::<F>(identity::REAL);
    world.listen(UDP, Some(F::HUDSON_OVERLAY), 53);
    let [mut first, mut second] = fragments::<F>(F::WALDEN, F::HUDSON);
    // Out of order, the setting decides for a member.
    let mut early = second.clone();
    passes(arrive(&world, &mut early), Reason::Member);
    assert_eq!(F::addresses(&early), (F::WALDEN, F::HUDSON));
    passes(arrive(&world, &mut first), Reason::Translated);
    passes(arrive(&world, &mut second), Reason::Translated);
    assert_eq!(F::addresses(&second), (F::WALDEN_OVERLAY, F::HUDSON_OVERLAY));
}

fn fragments_of_an_error_about_nothing_stay_together<F: Scene>() {
    let about = F::udp(F::HUDSON, F::WALDEN, 5_000, 53);
    let error = F::too_big(F::WALDEN, F::HUDSON, &about);
    // What it quotes is cut off, or not.
    for at in [8, (8 + F::HEADER + 8).next_multiple_of(8)] {
        let world = hudson::<F>(identity::OVERLAY);
        let [mut first, mut second] = fragments_of::<F>(&error, F::ICMP, at);
        passes(arrive(&world, &mut first), Reason::Member);
        passes(arrive(&world, &mut second), Reason::Fragment);
        assert_eq!(F::addresses(&first), (F::WALDEN, F::HUDSON), "{at}");
        assert_eq!(F::addresses(&second), (F::WALDEN, F::HUDSON), "{at}");
    }
}

fn a_strangers_fragments_need_their_first<F: Scene>() {
    let mut world = hudson::<F>(identity::REAL);
    let [mut first, mut second] = fragments::<F>(F::STRANGER, F::HUDSON);
    drops(arrive(&world, &mut first), Reason::Stranger);
    drops(arrive(&world, &mut second), Reason::FragmentWithoutFirst);
    world.open(UDP, 53);
    passes(arrive(&world, &mut first), Reason::OpenPort);
    passes(arrive(&world, &mut second), Reason::Fragment);
}

fn an_error_that_quotes_an_overlay_address_is_forged<F: Scene>() {
    for mode in [mode::OBSERVE, mode::ENFORCE] {
        let mut world = hudson::<F>(identity::OVERLAY);
        world.settings.mode = mode;
        world.connect(TCP, F::OVERLAY, 40_000, 80);
        let about = F::tcp(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, 40_000, 80, "A");
        for sender in [F::WALDEN, F::ROUTER] {
            let mut error = F::too_big(sender, F::HUDSON, &about);
            drops(arrive(&world, &mut error), Reason::SpoofedOverlay);
        }
    }
}

fn errors_reach_containers_that_are_routed_and_senders_that_are_allowed<F: Scene>() {
    let mut world = hudson::<F>(identity::REAL);
    let mut datagram = F::udp(F::CONTAINER, F::WALDEN, 5_000, 53);
    forwarded(&world, &mut datagram);
    passes(arrive(&world, &mut F::too_big(F::ROUTER, F::CONTAINER, &datagram)), Reason::IcmpError);
    let unrelated = F::udp(F::CONTAINER, F::WALDEN, 5_001, 53);
    drops(
        arrive(&world, &mut F::too_big(F::ROUTER, F::CONTAINER, &unrelated)),
        Reason::IcmpUnrelated,
    );
    world.allow(F::BITS, F::ROUTER, 0..=service::COUNT - 1);
    passes(arrive(&world, &mut F::too_big(F::ROUTER, F::CONTAINER, &unrelated)), Reason::Allowed);
}

fn three_tags_are_never_looked_behind<F: Scene>() {
    let mut world = hudson::<F>(identity::REAL);
    world.settings.mode = mode::OBSERVE;
    let plain = F::udp(F::WALDEN_OVERLAY, F::HUDSON, 1, 2);
    let tagged = |tags: usize| {
        let mut frame = plain[..12].to_vec();
        for _ in 0..tags {
            frame.extend_from_slice(&[0x81, 0x00, 0x00, 0x00]);
        }
        frame.extend_from_slice(&plain[12..]);
        frame
    };
    drops(arrive(&world, &mut tagged(1)), Reason::SpoofedOverlay);
    drops(arrive(&world, &mut tagged(2)), Reason::SpoofedOverlay);
    drops(arrive(&world, &mut tagged(3)), Reason::TooManyTags);
    drops(leave(&world, &mut tagged(3)), Reason::TooManyTags);
    // A tag that was taken out of the frame before us counts.
    let mut bytes = tagged(2);
    let mut frame = Frame::new(&mut bytes);
    frame.vlan_id = Some(0);
    drops(ingress(&mut frame, &world), Reason::TooManyTags);
}
