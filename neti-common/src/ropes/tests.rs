use proptest::{collection::btree_map, prelude::*};

use super::*;
use crate::{
    family::{V4, V6},
    maps::Settings,
    model::World,
    rules,
};

/// The set that a search finds for an address.
fn found<F: Family>(prefixes: &BTreeMap<Prefix<F>, u32>, address: &F::Addr) -> u32 {
    let range = crate::maps::Prefix::NONE;
    let mut world = World::<F>::new(F::UNSPECIFIED, F::UNSPECIFIED, range);
    world.rules.prefixes = prefixes.clone();
    let Ropes { rope, anywhere, .. } = Ropes::<F>::new(prefixes);
    world.settings = Settings { rope, anywhere, ..world.settings };
    rules::set_of_source(&world, &world.settings, address)
}

/// The set of the longest prefix that holds an address.
fn longest<F: Family>(prefixes: &BTreeMap<Prefix<F>, u32>, address: &F::Addr) -> u32 {
    let holds = |(length, network): &Prefix<F>| F::network(address, *length) == *network;
    let mut within = prefixes.iter().rev().filter(|(prefix, _)| holds(prefix));
    within.next().map_or(set::NONE, |(_, set)| *set)
}

/// Few bits differ, so that prefixes hold one another.
fn v4() -> impl Strategy<Value = [u8; 4]> {
    (0..4_u8, 0..3_u8, 0..3_u8, 0..4_u8).prop_map(|(a, b, c, d)| [a << 6, b << 3, c << 5, d])
}

fn v6() -> impl Strategy<Value = <V6 as Family>::Addr> {
    let address = |bits: u128| V6::of(std::net::Ipv6Addr::from_bits(bits).into()).unwrap();
    (0..4_u128, 0..4_u128, 0..4_u128)
        .prop_map(move |(a, b, c)| address(a << 126 | b << 62 | c << 20))
}

fn prefixes<F: Family>(
    address: impl Strategy<Value = F::Addr>,
) -> impl Strategy<Value = BTreeMap<Prefix<F>, u32>> {
    let prefix = (0..=F::BITS, address).prop_map(|(n, address)| (n, F::network(&address, n)));
    btree_map(prefix, 0..9_u32, 0..40)
}

proptest! {
    #[test]
    fn the_longest_ipv4_prefix_is_found(prefixes in prefixes::<V4>(v4()), address in v4()) {
        prop_assert_eq!(found::<V4>(&prefixes, &address), longest::<V4>(&prefixes, &address));
    }

    #[test]
    fn the_longest_ipv6_prefix_is_found(prefixes in prefixes::<V6>(v6()), address in v6()) {
        prop_assert_eq!(found::<V6>(&prefixes, &address), longest::<V6>(&prefixes, &address));
    }
}

#[test]
fn every_length_of_one_address_is_found() {
    fn check<F: Family>(address: F::Addr) {
        let all: BTreeMap<_, _> =
            (0..=F::BITS).map(|n| ((n, F::network(&address, n)), n)).collect();
        for length in 0..=F::BITS {
            let mut prefixes = all.clone();
            prefixes.retain(|(n, _), _| *n <= length);
            assert_eq!(found::<F>(&prefixes, &address), length);
        }
    }
    check::<V4>([0xff; 4]);
    check::<V6>(V6::ALL_ONES);
}

#[test]
fn prefixes_of_one_length_take_one_step() {
    let prefixes: BTreeMap<Prefix<V4>, u32> =
        (0..=255).map(|n| ((24, [10, 0, n, 0]), u32::from(n))).collect();
    let ropes = Ropes::<V4>::new(&prefixes);
    assert_eq!((ropes.rope, ropes.ranges.len()), (24, 256));
    assert!(ropes.ranges.values().all(|range| range.rope == 0));
}

#[test]
fn networks_are_those_of_masks() {
    for length in 0..=128 {
        let mask = V6::mask(length);
        assert_eq!(V6::network(&V6::ALL_ONES, length), mask, "/{length}");
        if length <= 32 {
            assert_eq!(V4::network(&[0xff; 4], length), V4::mask(length), "/{length}");
        }
    }
}
