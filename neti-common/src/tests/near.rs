//! By which neighbour entry a packet goes.

use super::*;
use crate::{egress::egress_again, maps::path_flag};

in_both_families!(
    only_an_on_link_peer_that_was_reached_is_sent_to_directly,
    only_a_packet_of_ones_own_family_tells_who_was_reached,
);

/// Hudson, for which the path to walden has these flags.
fn world<F: Scene>(flags: u8) -> World<F> {
    let mut world = hudson::<F>(identity::OVERLAY);
    world.add_member(F::WALDEN_OVERLAY, &[F::WALDEN], flags);
    world
}

fn syn<F: Scene>() -> Vec<u8> {
    F::tcp(F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, 4000, 80, "S")
}

fn only_an_on_link_peer_that_was_reached_is_sent_to_directly<F: Scene>() {
    let (other, on_link) = (path_flag::REDIRECT, path_flag::REDIRECT | path_flag::ON_LINK);
    let passed = Verdict::pass(Reason::Translated);
    for (flags, first, then) in [
        (0, passed, passed),
        (other, Verdict::redirect(), Verdict::redirect()),
        (on_link, Verdict::redirect(), Verdict::neighbour()),
    ] {
        let world = world::<F>(flags);
        let mut frame = syn::<F>();
        assert_eq!(leave(&world, &mut frame), first);
        let same = frame.clone();
        egress_again::<F, _, _>(&Frame::new(&mut frame), &world);
        assert_eq!(frame, same);
        assert_eq!(leave(&world, &mut syn::<F>()), then);
    }
}

fn only_a_packet_of_ones_own_family_tells_who_was_reached<F: Scene>() {
    let world = world::<F>(path_flag::REDIRECT | path_flag::ON_LINK);
    let mut frame = syn::<F>();
    leave(&world, &mut frame);
    // A tag in front, as of another protocol.
    frame.splice(12..12, [0x81, 0, 0, 7]);
    egress_again::<F, _, _>(&Frame::new(&mut frame), &world);
    assert!(world.near.borrow().is_empty());
}
