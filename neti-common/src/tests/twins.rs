//! Twins: two connections that would be one on the wire.

use super::*;
use crate::headers::TCP;

in_both_families!(
    a_twin_gets_another_port_both_ways,
    a_connection_on_another_path_is_a_twin_too,
    without_a_twin_the_port_stays,
    a_full_range_resets_the_connection,
    an_error_about_a_twin_names_the_port_of_its_socket,
    a_datagrams_twin_gets_another_port_unless_both_ports_are_one,
    each_of_four_forms_keeps_its_answers_in_any_order,
    a_containers_connection_that_would_be_the_hosts_gets_another_port,
    our_error_about_a_packet_to_a_twin_quotes_the_port_on_the_wire,
);

/// Hudson with a connection in one form from port 40000 to walden's port 80.
fn with_connection<F: Scene>(ends: Ends<F>) -> World<F> {
    let mut world = hudson::<F>(identity::REAL);
    world.connect(TCP, ends, 40_000, 80);
    world
}

/// A socket dials walden's port 80 from port 40000; its SYN as it leaves.
fn dial<F: Scene>(world: &mut World<F>, ends: Ends<F>) -> Vec<u8> {
    world.connect(TCP, ends, 40_000, 80);
    let mut syn = F::tcp(ends.own, ends.peer, 40_000, 80, "S");
    leave(world, &mut syn);
    syn
}

fn a_twin_gets_another_port_both_ways<F: Scene>() {
    for (first, second) in [(F::OVERLAY, F::REAL), (F::REAL, F::OVERLAY)] {
        let mut world = with_connection(first);
        let syn = dial(&mut world, second);
        let (port, _) = F::ports(&syn);
        assert!((61_000..=61_999).contains(&port), "{port}");
        assert_eq!(F::addresses(&syn), (F::HUDSON, F::WALDEN));

        // It is known on whichever path the peer answers.
        for real in [F::WALDEN, F::WALDEN_OTHER] {
            let mut answer = F::tcp(real, F::HUDSON, 80, port, "SA");
            arrive(&world, &mut answer);
            assert_eq!(
                (F::addresses(&answer), F::ports(&answer).1),
                ((second.peer, second.own), 40_000)
            );
        }
        let mut first_answer = F::tcp(F::WALDEN, F::HUDSON, 80, 40_000, "A");
        arrive(&world, &mut first_answer);
        assert_eq!(F::addresses(&first_answer), (first.peer, first.own));
        let mut more = F::tcp(second.own, second.peer, 40_000, 80, "A");
        leave(&world, &mut more);
        assert_eq!(F::ports(&more).0, port);
        let mut again = F::tcp(second.own, second.peer, 40_000, 80, "S");
        leave(&world, &mut again);
        assert_eq!(F::ports(&again).0, port, "a retransmitted SYN keeps its port");
    }
}

fn a_connection_on_another_path_is_a_twin_too<F: Scene>() {
    let mut world = with_connection(Ends { peer: F::WALDEN_OTHER, own: F::HUDSON });
    assert_ne!(F::ports(&dial(&mut world, F::OVERLAY)).0, 40_000);
}

fn without_a_twin_the_port_stays<F: Scene>() {
    let world = with_connection(F::OVERLAY);
    for (port, peer_port) in [(40_001, 80), (40_000, 81)] {
        let mut syn = F::tcp(F::HUDSON, F::WALDEN, port, peer_port, "S");
        passes(leave(&world, &mut syn), Reason::NotOurs);
        assert_eq!(F::ports(&syn), (port, peer_port));
    }
}

fn a_full_range_resets_the_connection<F: Scene>() {
    let mut world = with_connection(F::OVERLAY);
    world.twin_room = 0;
    world.connect(TCP, F::REAL, 40_000, 80);
    let mut syn = F::tcp(F::HUDSON, F::WALDEN, 40_000, 80, "S");
    let verdict = leave(&world, &mut syn);
    assert_eq!((verdict.action, verdict.reason), (Action::Reset, Reason::PortTwin));
    assert_eq!((F::addresses(&syn), F::ports(&syn)), ((F::WALDEN, F::HUDSON), (80, 40_000)));
    let tcp = &syn[ETHERNET + F::HEADER..];
    assert_eq!(tcp[13], 0x14, "RST and ACK");
    assert_eq!(tcp[8..12], 0x01020305u32.to_be_bytes(), "the SYN acknowledged");
    assert_eq!(syn[..6], [2, 0, 0, 0, 0, 1], "to our own link address");
}

fn an_error_about_a_twin_names_the_port_of_its_socket<F: Scene>() {
    let mut world = with_connection(F::OVERLAY);
    let syn = dial(&mut world, F::REAL);
    let mut error = F::too_big(F::ROUTER, F::HUDSON, &syn);
    passes(arrive(&world, &mut error), Reason::IcmpError);
    assert_eq!(F::quoted_ports(&error).0, 40_000);
}

fn a_datagrams_twin_gets_another_port_unless_both_ports_are_one<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    let mut first = F::udp(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, 5_000, 53);
    leave(&world, &mut first);
    assert_eq!(F::ports(&first).0, 5_000);
    // The second is in a mixed form or in the one that the setting says, which alone would need no hint.
    for (own, peer) in [(F::HUDSON_OVERLAY, F::WALDEN), (F::HUDSON, F::WALDEN)] {
        let mut second = F::udp(own, peer, 5_000, 53);
        leave(&world, &mut second);
        let port = F::ports(&second).0;
        assert_ne!(port, 5_000);
        let mut answer = F::udp(F::WALDEN, F::HUDSON, 53, port);
        arrive(&world, &mut answer);
        assert_eq!((F::addresses(&answer), F::ports(&answer).1), ((peer, own), 5_000));
    }

    for (dst, reason) in [(F::WALDEN_OVERLAY, Reason::Translated), (F::WALDEN, Reason::PortShared)]
    {
        let mut frame = F::udp(F::HUDSON_OVERLAY, dst, 123, 123);
        passes(leave(&world, &mut frame), reason);
        assert_eq!(F::ports(&frame), (123, 123));
    }
}

fn each_of_four_forms_keeps_its_answers_in_any_order<F: Scene>() {
    let forms = [
        F::OVERLAY,
        F::REAL,
        Ends { peer: F::WALDEN_OVERLAY, own: F::HUDSON },
        Ends { peer: F::WALDEN, own: F::HUDSON_OVERLAY },
    ];
    for first in 0..forms.len() {
        let mut world = hudson::<F>(identity::REAL);
        let mut wires = Vec::new();
        for n in 0..forms.len() {
            let ends = forms[(first + n) % forms.len()];
            let syn = dial(&mut world, ends);
            wires.push((ends, F::ports(&syn).0));
        }
        // A SYN that is sent again goes where the first one went, also once it has twins.
        for (ends, wire) in &wires {
            let mut again = F::tcp(ends.own, ends.peer, 40_000, 80, "S");
            leave(&world, &mut again);
            assert_eq!(F::ports(&again).0, *wire);
        }
        for (ends, wire) in &wires {
            let mut answer = F::tcp(F::WALDEN, F::HUDSON, 80, *wire, "SA");
            arrive(&world, &mut answer);
            assert_eq!(
                (F::addresses(&answer), F::ports(&answer).1),
                ((ends.peer, ends.own), 40_000)
            );
        }
    }
}

fn a_containers_connection_that_would_be_the_hosts_gets_another_port<F: Scene>() {
    let world = with_connection(F::REAL);
    // After masquerading, for which the two destinations are two flows.
    let mut syn = F::tcp(F::HUDSON, F::WALDEN_OVERLAY, 40_000, 80, "S");
    forwarded(&world, &mut syn);
    let (port, _) = F::ports(&syn);
    assert_ne!(port, 40_000);
    let mut answer = F::tcp(F::WALDEN, F::HUDSON, 80, port, "SA");
    arrive(&world, &mut answer);
    assert_eq!(
        (F::addresses(&answer), F::ports(&answer).1),
        ((F::WALDEN_OVERLAY, F::HUDSON), 40_000)
    );

    // Two containers, one by overlay and one direct.
    let world = hudson::<F>(identity::REAL);
    let mut first = F::tcp(F::HUDSON, F::WALDEN_OVERLAY, 40_000, 80, "S");
    forwarded(&world, &mut first);
    let mut second = F::tcp(F::HUDSON, F::WALDEN, 40_000, 80, "S");
    forwarded(&world, &mut second);
    assert_eq!(F::ports(&first).0, 40_000);
    assert_ne!(F::ports(&second).0, 40_000);
    let mut answer = F::tcp(F::WALDEN, F::HUDSON, 80, 40_000, "SA");
    arrive(&world, &mut answer);
    assert_eq!(F::addresses(&answer), (F::WALDEN_OVERLAY, F::HUDSON));
}

fn our_error_about_a_packet_to_a_twin_quotes_the_port_on_the_wire<F: Scene>() {
    let mut world = with_connection(F::OVERLAY);
    let syn = dial(&mut world, F::REAL);
    let received = F::tcp(F::WALDEN, F::HUDSON, 80, 40_000, "A");
    let mut error = F::too_big(F::HUDSON, F::WALDEN, &received);
    leave(&world, &mut error);
    assert_eq!(F::quoted_ports(&error).1, F::ports(&syn).0);
}
