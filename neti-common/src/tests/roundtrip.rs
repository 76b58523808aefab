//! What one host's egress does, the other's ingress undoes.

use proptest::prelude::*;

use super::*;

/// A packet by overlay addresses, of any protocol that has ports or none.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    (0..5u8, any::<(u16, u16)>(), proptest::collection::vec(any::<u8>(), 0..100)).prop_map(
        |(kind, (sport, dport), payload)| {
            let step = link().ipv4(HUDSON_OVERLAY, WALDEN_OVERLAY, 64);
            let mut frame = Vec::new();
            match kind {
                0 => step.udp(sport, dport).write(&mut frame, &payload),
                1 => step.tcp(sport, dport, 1, 2).syn().write(&mut frame, &payload),
                2 => step.tcp(sport, dport, 1, 2).ack(3).write(&mut frame, &payload),
                3 => step.icmpv4_echo_request(sport, dport).write(&mut frame, &payload),
                _ => step.write(&mut frame, 47.into(), &payload),
            }
            .unwrap();
            frame
        },
    )
}

proptest! {
    #[test]
    fn ingress_undoes_egress(original in packet()) {
        let hudson = hudson(identity::OVERLAY);
        let walden = walden(identity::OVERLAY);
        let mut frame = original.clone();
        passes(leave(&hudson, &mut frame), Reason::Translated);
        prop_assert_eq!(addresses(&frame), (HUDSON, WALDEN));
        passes(arrive(&walden, &mut frame), Reason::Translated);
        // 0x0000 and 0xffff are one UDP checksum: RFC 768 sends the latter.
        prop_assert_eq!(frame, original);
    }

    #[test]
    fn no_overlay_address_leaves(src in any::<Addr>(), dst in any::<Addr>(), mine in any::<bool>(), theirs in any::<bool>()) {
        let hudson = hudson(identity::REAL);
        let overlay = |address: Addr, yes: bool| if yes { [100, 64, address[2], address[3]] } else { address };
        let mut frame = udp(overlay(src, mine), overlay(dst, theirs), 1, 2);
        let verdict = leave(&hudson, &mut frame);
        let (src, dst) = addresses(&frame);
        let leaks = range().contains(&src) || range().contains(&dst);
        prop_assert!(verdict.action == Action::Drop || !leaks);
    }

    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), ip in any::<bool>()) {
        if ip && bytes.len() > 15 {
            bytes[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
        }
        let hudson = hudson(identity::OVERLAY);
        let mut copy = bytes.clone();
        ingress(&mut Frame::new(&mut copy), &hudson);
        egress(&mut Frame::new(&mut bytes), &hudson);
    }
}

#[test]
fn options_go_through_unless_they_carry_an_overlay_address() {
    let hudson = hudson(identity::OVERLAY);
    let with_options = |src: Addr, dst: Addr, options: &[u8]| {
        let ip = etherparse::Ipv4Header {
            options: options.try_into().unwrap(),
            ..etherparse::Ipv4Header::new(8, 64, 17.into(), src, dst).unwrap()
        };
        let mut frame = Vec::new();
        link()
            .ip(etherparse::IpHeaders::Ipv4(ip, Default::default()))
            .udp(1, 2)
            .write(&mut frame, b"payload")
            .unwrap();
        frame
    };
    let mut nops = with_options(HUDSON_OVERLAY, WALDEN_OVERLAY, &[1, 1, 1, 0]);
    passes(leave(&hudson, &mut nops), Reason::Translated);
    assert_eq!(addresses(&nops), (HUDSON, WALDEN));
    // A record route option (RFC 791) that has our overlay address already, at an odd offset.
    let record = [7, 7, 8, 100, 64, 1, 1, 0];
    drops(
        leave(&hudson, &mut with_options(HUDSON_OVERLAY, WALDEN_OVERLAY, &record)),
        Reason::OverlayOption,
    );
    drops(leave(&hudson, &mut with_options(HUDSON, STRANGER, &record)), Reason::OverlayOption);
    let mut others = with_options(HUDSON_OVERLAY, WALDEN_OVERLAY, &[7, 7, 8, 192, 0, 2, 1, 0]);
    passes(leave(&hudson, &mut others), Reason::Translated);
}

#[test]
fn big_tcp_has_no_total_length() {
    let mut frame = tcp(HUDSON_OVERLAY, WALDEN_OVERLAY, 40_000, 80, "A");
    frame.resize(14 + 0x1_0000, 0);
    frame[16..18].fill(0);
    let verdict = egress(&mut Frame::new(&mut frame), &hudson(identity::OVERLAY));
    passes(verdict, Reason::Translated);
    frame.truncate(60);
    let verdict = ingress(&mut Frame::new(&mut frame), &walden(identity::OVERLAY));
    drops(verdict, Reason::Malformed);
}
