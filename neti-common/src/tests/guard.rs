//! What comes in through other interfaces than the uplink.

use super::*;
use crate::{
    family::{Family, V4, V6},
    guard::guard,
    maps::Settings,
    packet::{Plain, Received},
};

in_both_families!(
    an_overlay_source_is_dropped_in_every_mode,
    tags_are_looked_behind_wherever_they_are,
    a_packet_without_a_link_layer_header_is_judged_by_what_it_carries,
    nothing_is_judged_before_there_are_settings,
    the_other_family_is_left_to_its_own,
);

fn judged<F: Scene>(world: &World<F>, frame: &[u8]) -> Verdict {
    guard(&Frame::new(&mut frame.to_vec()), world)
}

/// A frame under these tags, the outermost of which may have been taken out of it already.
fn under<F: Scene>(world: &World<F>, frame: &[u8], tags: &[[u8; 4]], taken: bool) -> Verdict {
    let (outer, inside) = tags.split_at(taken.into());
    let mut frame = [&frame[..12], &inside.concat(), &frame[12..]].concat();
    let mut packet = Frame::new(&mut frame);
    packet.vlan_id = outer.first().map(|tag| u16::from_be_bytes([tag[2], tag[3]]) & 0x0fff);
    guard(&packet, world)
}

fn an_overlay_source_is_dropped_in_every_mode<F: Scene>() {
    let mut world = hudson::<F>(identity::REAL);
    for mode in [mode::OBSERVE, mode::ENFORCE] {
        world.settings.mode = mode;
        for src in [F::WALDEN_OVERLAY, F::HUDSON_OVERLAY, F::NOBODY] {
            for dst in [F::HUDSON, F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, F::STRANGER] {
                let frame = F::udp(src, dst, 4000, 53);
                drops(judged(&world, &frame), Reason::SpoofedOverlay);
            }
        }
        for src in [F::CONTAINER, F::STRANGER, F::WALDEN] {
            for dst in [F::HUDSON, F::HUDSON_OVERLAY, F::WALDEN_OVERLAY, F::STRANGER] {
                let frame = F::udp(src, dst, 4000, 53);
                passes(judged(&world, &frame), Reason::NotOurs);
            }
        }
    }
}

fn tags_are_looked_behind_wherever_they_are<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    let forged = F::udp(F::WALDEN_OVERLAY, F::HUDSON, 4000, 53);
    let honest = F::udp(F::CONTAINER, F::HUDSON, 4000, 53);
    let (priority, seven, service) = ([0x81, 0, 0, 0], [0x81, 0, 0xe0, 7], [0x88, 0xa8, 0, 9]);
    for tags in [&[priority][..], &[seven], &[priority, priority], &[service, seven]] {
        for taken in [false, true] {
            drops(under(&world, &forged, tags, taken), Reason::SpoofedOverlay);
            passes(under(&world, &honest, tags, taken), Reason::NotOurs);
        }
    }
    for tags in [[priority; 3], [service, seven, priority]] {
        for taken in [false, true] {
            drops(under(&world, &honest, &tags, taken), Reason::TooManyTags);
        }
    }
}

/// A packet as a tunnel hands it up.
struct Bare<'a> {
    ethertype: u16,
    bytes: &'a [u8],
}

impl Received for Bare<'_> {
    fn ethertype(&self) -> u16 {
        self.ethertype
    }

    fn was_tagged(&self) -> bool {
        false
    }

    fn load_inner<T: Plain>(&self, offset: usize) -> Option<T> {
        crate::packet::Packet::load(&Frame::new(&mut self.bytes.to_vec()), offset)
    }
}

fn a_packet_without_a_link_layer_header_is_judged_by_what_it_carries<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    for (src, reason) in
        [(F::WALDEN_OVERLAY, Reason::SpoofedOverlay), (F::CONTAINER, Reason::NotOurs)]
    {
        let frame = F::udp(src, F::HUDSON, 4000, 53);
        let packet = Bare { ethertype: F::ETHERTYPE, bytes: &frame[ETHERNET..] };
        assert_eq!(guard(&packet, &world).reason, reason);
        // Cut within its source address, it is nobody's.
        let end = F::SRC + size_of::<F::Addr>() - 1;
        let packet = Bare { ethertype: F::ETHERTYPE, bytes: &packet.bytes[..end] };
        passes(guard(&packet, &world), Reason::NotOurs);
    }
}

fn nothing_is_judged_before_there_are_settings<F: Scene>() {
    let mut world = hudson::<F>(identity::REAL);
    world.settings = Settings::UNSET;
    let forged = F::udp(F::WALDEN_OVERLAY, F::HUDSON, 4000, 53);
    assert_eq!(judged(&world, &forged), Verdict::UNSET);
}

fn the_other_family_is_left_to_its_own<F: Scene>() {
    let world = hudson::<F>(identity::REAL);
    let other = |frame: Vec<u8>, ethertype: u16| {
        let [high, low] = ethertype.to_be_bytes();
        [&frame[..12], &[high, low], &frame[ETHERNET..]].concat()
    };
    let forged = F::udp(F::WALDEN_OVERLAY, F::HUDSON, 4000, 53);
    let (ethertype, reason) = match F::ETHERTYPE {
        V4::ETHERTYPE => (V6::ETHERTYPE, Reason::Ipv6),
        _ => (V4::ETHERTYPE, Reason::NotOurs),
    };
    passes(judged(&world, &other(forged, ethertype)), reason);
}

#[test]
fn nobody_resolves_in_the_name_of_an_overlay_address() {
    let world = hudson::<V4>(identity::REAL);
    let check = |link_length: usize, sender: [u8; 4], reason| {
        let target = V4::HUDSON_OVERLAY;
        let link = vec![2; link_length];
        let head = [0, 1, 8, 0, link_length as u8, 4, 0, 1];
        let bytes = [&head[..], &link, &sender, &link, &target].concat();
        let packet = Bare { ethertype: V4::RESOLUTION.unwrap(), bytes: &bytes };
        assert_eq!(guard(&packet, &world).reason, reason, "{link_length} bytes, {sender:?}");
    };
    // Ethernet, InfiniBand (RFC 4391), and a link of no addresses.
    for link_length in [6, 20, 0] {
        check(link_length, V4::WALDEN_OVERLAY, Reason::SpoofedOverlay);
        check(link_length, V4::CONTAINER, Reason::NotOurs);
    }
}
