//! By which next hop a packet goes.

use super::*;
use crate::{egress::egress_again, headers::ethertype};

in_both_families!(
    only_a_peer_that_is_redirected_gets_the_address_of_its_next_hop,
    only_an_untagged_packet_of_the_family_tells_of_a_next_hop,
);

const GATEWAY: [u8; 6] = [2, 0, 0, 0, 0, 1];
const NEIGHBOUR: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// Hudson, for which walden is on the link, or is not.
fn world<F: Scene>(on_link: bool) -> World<F> {
    let mut world = hudson::<F>(identity::OVERLAY);
    world.add_member(F::WALDEN_OVERLAY, &[F::WALDEN], on_link);
    world
}

/// A packet as the stack sends it, to the gateway.
fn packet<F: Scene>() -> Vec<u8> {
    let mut frame = F::udp(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, 4000, 80);
    frame[..6].copy_from_slice(&GATEWAY);
    frame
}

fn only_a_peer_that_is_redirected_gets_the_address_of_its_next_hop<F: Scene>() {
    let passed = Verdict::pass(Reason::Translated);
    for (on_link, first, then, address) in [
        (false, passed, passed, GATEWAY),
        (true, Verdict::redirect(), Verdict::pass(Reason::Redirected), NEIGHBOUR),
    ] {
        let world = world::<F>(on_link);
        let mut frame = packet::<F>();
        assert_eq!(leave(&world, &mut frame), first);
        assert_eq!(frame[..6], GATEWAY);
        // The kernel puts in whom it was redirected to.
        frame[..6].copy_from_slice(&NEIGHBOUR);
        let sent = frame.clone();
        egress_again::<F, _, _>(&Frame::new(&mut frame), &world);
        assert_eq!(frame, sent);
        let mut next = packet::<F>();
        assert_eq!(leave(&world, &mut next), then);
        assert_eq!(next[..6], address);
    }
}

/// What comes again and is not of the family, or has a tag, behind which its EtherType stands elsewhere.
fn only_an_untagged_packet_of_the_family_tells_of_a_next_hop<F: Scene>() {
    let world = world::<F>(true);
    let mut tagged = packet::<F>();
    tagged.splice(12..12, [0x81, 0, 0, 7]);
    let mut other = packet::<F>();
    let ethertype = if F::BITS == 32 { ethertype::IPV6 } else { ethertype::IPV4 };
    other[12..14].copy_from_slice(&ethertype.to_be_bytes());
    for frame in [&mut tagged, &mut other] {
        egress_again::<F, _, _>(&Frame::new(frame), &world);
        assert!(world.hops.borrow().is_empty());
    }
}
