//! What one host's egress does, the other's ingress undoes; and whatever leaves, no overlay address does.

use etherparse::{IpHeaders, IpNumber};
use proptest::{collection::vec, prelude::*, sample::select};

use super::*;
use crate::headers::TCP;

in_both_families!(
    ingress_undoes_egress,
    no_overlay_address_leaves,
    no_error_quotes_an_overlay_address_however_much_it_quotes,
    arbitrary_bytes_never_panic,
    options_go_through_unless_they_carry_an_overlay_address,
    big_tcp_has_no_total_length,
);

/// A packet by overlay addresses, of any protocol that has ports or none.
fn packet<F: Scene>() -> impl Strategy<Value = Vec<u8>> {
    let headers = F::with_options(F::header(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY));
    (0..6u8, any::<(u16, u16)>(), vec(any::<u8>(), 0..100), select(headers)).prop_map(
        |(kind, (sport, dport), payload, header)| {
            let step = link().ip(header);
            let mut frame = Vec::new();
            match kind {
                0 => step.udp(sport, dport).write(&mut frame, &payload).unwrap(),
                1 => step.tcp(sport, dport, 1, 2).syn().write(&mut frame, &payload).unwrap(),
                2 => step.tcp(sport, dport, 1, 2).ack(3).write(&mut frame, &payload).unwrap(),
                3 => frame = F::icmp(step, (F::ECHO_REQUEST, 0), [1, 2, 3, 4], &payload),
                4 => {
                    let about = F::tcp(F::WALDEN_OVERLAY, F::HUDSON_OVERLAY, 4_000, 80, "A");
                    frame = F::icmp(step, F::TOO_BIG, [0, 0, 5, 0], &about[ETHERNET..]);
                }
                _ => step.write(&mut frame, IpNumber::GRE, &payload).unwrap(),
            }
            frame
        },
    )
}

fn ingress_undoes_egress<F: Scene>() {
    proptest!(|(original in packet::<F>())| {
        let hudson = hudson::<F>(identity::OVERLAY);
        let mut walden = walden::<F>(identity::OVERLAY);
        walden.connect(TCP, Ends { peer: F::HUDSON_OVERLAY, own: F::WALDEN_OVERLAY }, 4_000, 80);
        let mut frame = original.clone();
        passes(leave(&hudson, &mut frame), Reason::Translated);
        prop_assert_eq!(F::addresses(&frame), (F::HUDSON, F::WALDEN));
        prop_assert_eq!(arrive(&walden, &mut frame).action, Action::Next);
        prop_assert_eq!(frame, original);
    });
}

/// Everyone whose address may stand in a packet.
fn everyone<F: Scene>() -> [F::Addr; 7] {
    [
        F::HUDSON,
        F::HUDSON_OVERLAY,
        F::WALDEN,
        F::WALDEN_OVERLAY,
        F::STRANGER,
        F::NOBODY,
        F::UNSPECIFIED,
    ]
}

/// Whether an overlay address stands anywhere in a frame.
fn leaks<F: Scene>(frame: &[u8]) -> bool {
    [F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, F::NOBODY].iter().any(|overlay| {
        let overlay = F::octets(overlay);
        frame.windows(overlay.len()).any(|bytes| bytes == overlay)
    })
}

fn does_not_leak<F: Scene>(world: &World<F>, mut frame: Vec<u8>) {
    let sent = frame.clone();
    let verdict = leave(world, &mut frame);
    let leaks = verdict.action != Action::Drop && leaks::<F>(&frame);
    assert!(!leaks, "{verdict:?}: {sent:02x?} leaves as {frame:02x?}");
}

fn no_overlay_address_leaves<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    let everyone = everyone::<F>();
    for (src, dst) in everyone.iter().flat_map(|src| everyone.map(|dst| (*src, dst))) {
        for (a, b) in everyone.iter().flat_map(|a| everyone.map(|b| (*a, b))) {
            let about = F::udp(a, b, 1, 2);
            does_not_leak(&world, F::too_big(src, dst, &about));
            for header in F::with_options(F::header(a, b)) {
                does_not_leak(&world, F::too_big(src, dst, &empty(header)));
            }
            for frame in F::link_messages(src, dst, a, b) {
                does_not_leak(&world, frame);
            }
        }
        for header in F::with_options(F::header(src, dst)) {
            does_not_leak(&world, empty(header));
        }
        for address in everyone {
            for header in F::carrying(F::header(src, dst), address) {
                does_not_leak(&world, empty(header.clone()));
                does_not_leak(&world, F::too_big(F::HUDSON, F::STRANGER, &empty(header)));
            }
        }
    }
}

/// A UDP packet behind a header.
fn empty(header: IpHeaders) -> Vec<u8> {
    let mut frame = Vec::new();
    link().ip(header).udp(1, 2).write(&mut frame, b"").unwrap();
    frame
}

fn no_error_quotes_an_overlay_address_however_much_it_quotes<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    let about = F::tcp(F::WALDEN_OVERLAY, F::HUDSON_OVERLAY, 5_000, 80, "A");
    for length in ETHERNET..=about.len() {
        for (src, dst) in [(F::HUDSON, F::STRANGER), (F::HUDSON_OVERLAY, F::WALDEN_OVERLAY)] {
            does_not_leak(&world, F::too_big(src, dst, &about[..length]));
        }
    }
}

/// Bytes that begin like a frame of this family, with headers that lead somewhere.
fn bytes<F: Scene>() -> impl Strategy<Value = Vec<u8>> {
    let protocol = prop_oneof![select(&[0, 6, 17, 43, 44, 58, 60, 1][..]), any::<u8>()];
    (vec(any::<u8>(), 0..300), vec(protocol, 0..8), 0..4u8).prop_map(
        |(mut bytes, protocols, likeness)| {
            let l3 = ETHERNET;
            if likeness > 0 && bytes.len() > l3 + F::HEADER {
                let length = bytes.len() - l3 - F::HEADER;
                bytes[l3 - 2..l3].copy_from_slice(&F::ETHERTYPE.to_be_bytes());
                bytes[l3] = F::FIRST_BYTE;
                // Extension headers of eight bytes, which are the shortest.
                for (n, protocol) in protocols.into_iter().enumerate() {
                    let at = if n == 0 { l3 + F::PROTOCOL } else { l3 + F::HEADER + 8 * (n - 1) };
                    if let Some([next, rest @ ..]) = bytes.get_mut(at..at + 4) {
                        *next = protocol;
                        if n > 0 && likeness > 1 {
                            rest.fill(0);
                        }
                    }
                }
                if likeness > 2 {
                    let length = F::total(length) as u16;
                    bytes[l3 + F::LENGTH..][..2].copy_from_slice(&length.to_be_bytes());
                }
            }
            bytes
        },
    )
}

fn arbitrary_bytes_never_panic<F: Scene>() {
    proptest!(|(mut bytes in bytes::<F>())| {
        let hudson = hudson::<F>(identity::OVERLAY);
        let mut copy = bytes.clone();
        ingress(&mut Frame::new(&mut copy), &hudson);
        egress(&mut Frame::new(&mut bytes), &hudson);
    });
}

fn options_go_through_unless_they_carry_an_overlay_address<F: Scene>() {
    let hudson = hudson::<F>(identity::OVERLAY);
    let overlay = || F::header(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY);
    let harmless = F::carrying(overlay(), F::STRANGER);
    for header in F::with_options(overlay()).into_iter().chain(harmless) {
        let mut frame = empty(header);
        passes(leave(&hudson, &mut frame), Reason::Translated);
        assert_eq!(F::addresses(&frame), (F::HUDSON, F::WALDEN));
    }
    for header in [overlay(), F::header(F::HUDSON, F::STRANGER)] {
        for header in F::carrying(header, F::HUDSON_OVERLAY) {
            drops(leave(&hudson, &mut empty(header)), Reason::OverlayOption);
        }
    }
}

fn big_tcp_has_no_total_length<F: Scene>() {
    let mut frame = F::tcp(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, 40_000, 80, "A");
    frame.resize(ETHERNET + F::HEADER + 0x1_0000, 0);
    frame[ETHERNET + F::LENGTH..][..2].fill(0);
    let verdict = egress(&mut Frame::new(&mut frame), &hudson::<F>(identity::OVERLAY));
    passes(verdict, Reason::Translated);
    frame.truncate(ETHERNET + F::HEADER + 30);
    let verdict = ingress(&mut Frame::new(&mut frame), &walden::<F>(identity::OVERLAY));
    drops(verdict, Reason::Malformed);
}
