//! Twins: two connections that would be one on the wire.

use super::*;
use crate::headers::TCP;

/// Hudson with a connection in one form from port 40000 to walden's port 80.
fn with_connection(ends: Ends<V4>) -> World<V4> {
    let mut world = hudson(identity::REAL);
    world.connect(TCP, ends, 40_000, 80);
    world
}

/// A socket dials walden's port 80 from port 40000; its SYN as it leaves.
fn dial(world: &mut World<V4>, ends: Ends<V4>) -> Vec<u8> {
    world.connect(TCP, ends, 40_000, 80);
    let mut syn = tcp(ends.own, ends.peer, 40_000, 80, "S");
    leave(world, &mut syn);
    syn
}

#[test]
fn a_twin_gets_another_port_both_ways() {
    for (first, second) in [(OVERLAY, REAL), (REAL, OVERLAY)] {
        let mut world = with_connection(first);
        let syn = dial(&mut world, second);
        let (port, _) = ports(&syn);
        assert!((61_000..=61_999).contains(&port), "{port}");
        assert_eq!(addresses(&syn), (HUDSON, WALDEN));

        // It is known on whichever path the peer answers.
        for real in [WALDEN, WALDEN_OTHER] {
            let mut answer = tcp(real, HUDSON, 80, port, "SA");
            arrive(&world, &mut answer);
            assert_eq!((addresses(&answer), ports(&answer).1), ((second.peer, second.own), 40_000));
        }
        let mut first_answer = tcp(WALDEN, HUDSON, 80, 40_000, "A");
        arrive(&world, &mut first_answer);
        assert_eq!(addresses(&first_answer), (first.peer, first.own));
        let mut more = tcp(second.own, second.peer, 40_000, 80, "A");
        leave(&world, &mut more);
        assert_eq!(ports(&more).0, port);
        let mut again = tcp(second.own, second.peer, 40_000, 80, "S");
        leave(&world, &mut again);
        assert_eq!(ports(&again).0, port, "a retransmitted SYN keeps its port");
    }
}

#[test]
fn a_connection_on_another_path_is_a_twin_too() {
    let mut world = with_connection(Ends { peer: WALDEN_OTHER, own: HUDSON });
    assert_ne!(ports(&dial(&mut world, OVERLAY)).0, 40_000);
}

#[test]
fn without_a_twin_the_port_stays() {
    let world = with_connection(OVERLAY);
    for (port, peer_port) in [(40_001, 80), (40_000, 81)] {
        let mut syn = tcp(HUDSON, WALDEN, port, peer_port, "S");
        passes(leave(&world, &mut syn), Reason::NotOurs);
        assert_eq!(ports(&syn), (port, peer_port));
    }
}

#[test]
fn a_full_range_resets_the_connection() {
    let mut world = with_connection(OVERLAY);
    world.twin_room = 0;
    world.connect(TCP, REAL, 40_000, 80);
    let mut syn = tcp(HUDSON, WALDEN, 40_000, 80, "S");
    let verdict = leave(&world, &mut syn);
    assert_eq!((verdict.action, verdict.reason), (Action::Reset, Reason::PortTwin));
    assert_eq!((addresses(&syn), ports(&syn)), ((WALDEN, HUDSON), (80, 40_000)));
    assert_eq!(syn[47], 0x14, "RST and ACK");
    assert_eq!(syn[42..46], 0x01020305u32.to_be_bytes(), "the SYN acknowledged");
    assert_eq!(syn[..6], [2, 0, 0, 0, 0, 1], "to our own link address");
}

#[test]
fn an_error_about_a_twin_names_the_port_of_its_socket() {
    let mut world = with_connection(OVERLAY);
    let syn = dial(&mut world, REAL);
    let mut error = too_big(ROUTER, HUDSON, &syn);
    passes(arrive(&world, &mut error), Reason::IcmpError);
    assert_eq!(ports(&error[28..]).0, 40_000);
}

#[test]
fn a_datagrams_twin_gets_another_port_unless_both_ports_are_one() {
    let world = hudson(identity::REAL);
    let mut first = udp(HUDSON_OVERLAY, WALDEN_OVERLAY, 5_000, 53);
    leave(&world, &mut first);
    assert_eq!(ports(&first).0, 5_000);
    // The second is in a mixed form or in the one that the setting says, which alone would need no hint.
    for (own, peer) in [(HUDSON_OVERLAY, WALDEN), (HUDSON, WALDEN)] {
        let mut second = udp(own, peer, 5_000, 53);
        leave(&world, &mut second);
        let port = ports(&second).0;
        assert_ne!(port, 5_000);
        let mut answer = udp(WALDEN, HUDSON, 53, port);
        arrive(&world, &mut answer);
        assert_eq!((addresses(&answer), ports(&answer).1), ((peer, own), 5_000));
    }

    for (dst, reason) in [(WALDEN_OVERLAY, Reason::Translated), (WALDEN, Reason::PortShared)] {
        let mut frame = udp(HUDSON_OVERLAY, dst, 123, 123);
        passes(leave(&world, &mut frame), reason);
        assert_eq!(ports(&frame), (123, 123));
    }
}

#[test]
fn each_of_four_forms_keeps_its_answers_in_any_order() {
    let forms = [
        OVERLAY,
        REAL,
        Ends { peer: WALDEN_OVERLAY, own: HUDSON },
        Ends { peer: WALDEN, own: HUDSON_OVERLAY },
    ];
    for first in 0..forms.len() {
        let mut world = hudson(identity::REAL);
        let mut wires = Vec::new();
        for n in 0..forms.len() {
            let ends = forms[(first + n) % forms.len()];
            let syn = dial(&mut world, ends);
            wires.push((ends, ports(&syn).0));
        }
        // A SYN that is sent again goes where the first one went, also once it has twins.
        for (ends, wire) in &wires {
            let mut again = tcp(ends.own, ends.peer, 40_000, 80, "S");
            leave(&world, &mut again);
            assert_eq!(ports(&again).0, *wire);
        }
        for (ends, wire) in &wires {
            let mut answer = tcp(WALDEN, HUDSON, 80, *wire, "SA");
            arrive(&world, &mut answer);
            assert_eq!((addresses(&answer), ports(&answer).1), ((ends.peer, ends.own), 40_000));
        }
    }
}

#[test]
fn a_containers_connection_that_would_be_the_hosts_gets_another_port() {
    let world = with_connection(REAL);
    // After masquerading, for which the two destinations are two flows.
    let mut syn = tcp(HUDSON, WALDEN_OVERLAY, 40_000, 80, "S");
    forwarded(&world, &mut syn);
    let (port, _) = ports(&syn);
    assert_ne!(port, 40_000);
    let mut answer = tcp(WALDEN, HUDSON, 80, port, "SA");
    arrive(&world, &mut answer);
    assert_eq!((addresses(&answer), ports(&answer).1), ((WALDEN_OVERLAY, HUDSON), 40_000));

    // Two containers, one by overlay and one direct.
    let world = hudson(identity::REAL);
    let mut first = tcp(HUDSON, WALDEN_OVERLAY, 40_000, 80, "S");
    forwarded(&world, &mut first);
    let mut second = tcp(HUDSON, WALDEN, 40_000, 80, "S");
    forwarded(&world, &mut second);
    assert_eq!(ports(&first).0, 40_000);
    assert_ne!(ports(&second).0, 40_000);
    let mut answer = tcp(WALDEN, HUDSON, 80, 40_000, "SA");
    arrive(&world, &mut answer);
    assert_eq!(addresses(&answer), (WALDEN_OVERLAY, HUDSON));
}

#[test]
fn our_error_about_a_packet_to_a_twin_quotes_the_port_on_the_wire() {
    let mut world = with_connection(OVERLAY);
    let syn = dial(&mut world, REAL);
    let received = tcp(WALDEN, HUDSON, 80, 40_000, "A");
    let mut error = too_big(HUDSON, WALDEN, &received);
    leave(&world, &mut error);
    assert_eq!(ports(&error[28..]).1, ports(&syn).0);
}
