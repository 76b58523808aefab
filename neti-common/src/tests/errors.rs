//! ICMP errors about our packets and about our peers', and fragments.

use super::*;
use crate::headers::{TCP, UDP};

/// Source and destination of the packet that an ICMP error quotes.
fn quoted(frame: &[u8]) -> (Addr, Addr) {
    addresses(&frame[28..])
}

#[test]
fn a_routers_error_reaches_the_socket_it_is_about() {
    for ends in [OVERLAY, REAL] {
        let mut world = hudson(identity::REAL);
        world.connect(TCP, ends, 40_000, 80);
        let mut frame = too_big(ROUTER, HUDSON, &tcp(HUDSON, WALDEN, 40_000, 80, "A"));
        passes(arrive(&world, &mut frame), Reason::IcmpError);
        assert_eq!(addresses(&frame), (ROUTER, ends.own));
        assert_eq!(quoted(&frame), (ends.own, ends.peer));
        let mut other = too_big(ROUTER, HUDSON, &tcp(HUDSON, WALDEN, 40_001, 80, "A"));
        drops(arrive(&world, &mut other), Reason::IcmpUnrelated);
    }
}

#[test]
fn an_error_about_a_listener_or_somebody_elses_packet_is_refused() {
    let mut world = hudson(identity::REAL);
    world.listen(TCP, None, 80);
    let about_listener = tcp(HUDSON, STRANGER, 80, 5_000, "A");
    drops(arrive(&world, &mut too_big(ROUTER, HUDSON, &about_listener)), Reason::IcmpUnrelated);
    let not_ours = tcp(WALDEN, STRANGER, 80, 5_000, "A");
    drops(arrive(&world, &mut too_big(ROUTER, HUDSON, &not_ours)), Reason::IcmpUnrelated);
}

#[test]
fn an_error_about_a_datagram_needs_its_socket() {
    let mut world = hudson(identity::OVERLAY);
    let about = udp(HUDSON, WALDEN, 5_000, 53);
    drops(arrive(&world, &mut too_big(ROUTER, HUDSON, &about)), Reason::IcmpUnrelated);
    world.listen(UDP, None, 5_000);
    let mut frame = too_big(ROUTER, HUDSON, &about);
    passes(arrive(&world, &mut frame), Reason::IcmpError);
    assert_eq!(quoted(&frame), (HUDSON_OVERLAY, WALDEN_OVERLAY));
    let about_stranger = udp(HUDSON, STRANGER, 5_000, 53);
    drops(arrive(&world, &mut too_big(ROUTER, HUDSON, &about_stranger)), Reason::IcmpUnrelated);
    world.open.insert((UDP, 5_000));
    passes(arrive(&world, &mut too_big(ROUTER, HUDSON, &about_stranger)), Reason::IcmpError);
}

#[test]
fn an_error_about_a_ping_finds_its_hint_and_the_peers_own_error_its_name() {
    let world = hudson(identity::REAL);
    let mut ping = echo_request(HUDSON_OVERLAY, WALDEN_OVERLAY, 9);
    leave(&world, &mut ping);
    let mut frame = too_big(WALDEN, HUDSON, &ping);
    passes(arrive(&world, &mut frame), Reason::IcmpError);
    assert_eq!(addresses(&frame), (WALDEN_OVERLAY, HUDSON_OVERLAY));
    assert_eq!(quoted(&frame), (HUDSON_OVERLAY, WALDEN_OVERLAY));
}

#[test]
fn an_error_that_leaves_names_what_the_peer_sent() {
    let world = hudson(identity::OVERLAY);
    let received = udp(WALDEN_OVERLAY, HUDSON_OVERLAY, 53, 5_000);
    let mut frame = too_big(HUDSON_OVERLAY, WALDEN_OVERLAY, &received);
    passes(leave(&world, &mut frame), Reason::Translated);
    assert_eq!(addresses(&frame), (HUDSON, WALDEN));
    assert_eq!(quoted(&frame), (WALDEN, HUDSON));
    let nobody = udp([100, 64, 9, 9], HUDSON_OVERLAY, 53, 5_000);
    drops(leave(&world, &mut too_big(HUDSON, STRANGER, &nobody)), Reason::UnknownOverlay);
}

/// The fragments of a UDP datagram: 8 bytes of header and payload in the first, the rest in the second.
fn fragments(src: Addr, dst: Addr) -> [Vec<u8>; 2] {
    let whole = udp(src, dst, 4_000, 53);
    let part = |offset: u16, more: bool, payload: &[u8]| {
        let mut ip =
            etherparse::Ipv4Header::new(payload.len() as u16, 64, 17.into(), src, dst).unwrap();
        ip.identification = 99;
        ip.dont_fragment = false;
        ip.more_fragments = more;
        ip.fragment_offset = offset.try_into().unwrap();
        ip.header_checksum = ip.calc_header_checksum();
        let mut frame = whole[..14].to_vec();
        ip.write(&mut frame).unwrap();
        frame.extend_from_slice(payload);
        frame
    };
    [part(0, true, &whole[34..42]), part(1, false, &whole[42..])]
}

#[test]
fn later_fragments_follow_the_first() {
    let mut world = hudson(identity::REAL);
    world.listen(UDP, Some(HUDSON_OVERLAY), 53);
    let [mut first, mut second] = fragments(WALDEN, HUDSON);
    // Out of order, the setting decides for a member.
    let mut early = second.clone();
    passes(arrive(&world, &mut early), Reason::Member);
    assert_eq!(addresses(&early), (WALDEN, HUDSON));
    passes(arrive(&world, &mut first), Reason::Translated);
    passes(arrive(&world, &mut second), Reason::Translated);
    assert_eq!(addresses(&second), (WALDEN_OVERLAY, HUDSON_OVERLAY));
}

#[test]
fn a_strangers_fragments_need_their_first() {
    let mut world = hudson(identity::REAL);
    let [mut first, mut second] = fragments(STRANGER, HUDSON);
    drops(arrive(&world, &mut first), Reason::Stranger);
    drops(arrive(&world, &mut second), Reason::FragmentWithoutFirst);
    world.open.insert((UDP, 53));
    passes(arrive(&world, &mut first), Reason::OpenPort);
    passes(arrive(&world, &mut second), Reason::Fragment);
}

#[test]
fn an_error_that_quotes_an_overlay_address_is_forged() {
    for mode in [mode::OBSERVE, mode::ENFORCE] {
        let mut world = hudson(identity::OVERLAY);
        world.settings.mode = mode;
        world.connect(TCP, OVERLAY, 40_000, 80);
        let about = tcp(HUDSON_OVERLAY, WALDEN_OVERLAY, 40_000, 80, "A");
        for sender in [WALDEN, ROUTER] {
            let mut error = too_big(sender, HUDSON, &about);
            drops(arrive(&world, &mut error), Reason::SpoofedOverlay);
        }
    }
}

#[test]
fn errors_reach_containers_that_are_routed_and_senders_that_are_allowed() {
    const POD: Addr = [10, 5, 5, 5];
    let mut world = hudson(identity::REAL);
    let mut datagram = udp(POD, WALDEN, 5_000, 53);
    forwarded(&world, &mut datagram);
    passes(arrive(&world, &mut too_big(ROUTER, POD, &datagram)), Reason::IcmpError);
    let unrelated = udp(POD, WALDEN, 5_001, 53);
    drops(arrive(&world, &mut too_big(ROUTER, POD, &unrelated)), Reason::IcmpUnrelated);
    let mut allow = crate::maps::Allow { count: 1, ..Default::default() };
    allow.entries[0].protocol = crate::maps::AllowEntry::ANY_PROTOCOL;
    world.allow.push((32, Prefix { network: ROUTER, mask: V4::mask(32) }, allow));
    passes(arrive(&world, &mut too_big(ROUTER, POD, &unrelated)), Reason::Allowed);
}

#[test]
fn three_tags_are_never_looked_behind() {
    let mut world = hudson(identity::REAL);
    world.settings.mode = mode::OBSERVE;
    let plain = udp(WALDEN_OVERLAY, HUDSON, 1, 2);
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
