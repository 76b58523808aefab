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

/// So many prefixes of each length, each with an address of its own.
fn spread<F: Family>(counts: &BTreeMap<u32, usize>) -> BTreeMap<Prefix<F>, u32> {
    // An odd factor makes of numbers others, all different, that share no leading bits.
    let address = |n: u128| {
        let bits = n.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        F::of(std::net::Ipv6Addr::from_bits(bits).into())
            .or_else(|| F::of(std::net::Ipv4Addr::from_bits((bits >> 96) as u32).into()))
            .unwrap()
    };
    let mut prefixes = BTreeMap::new();
    for (&length, &count) in counts {
        for n in 0..count as u128 {
            let address = address(n + 1 + u128::from(length) * 1_000_000);
            prefixes.insert((length, F::network(&address, length)), 1);
        }
    }
    prefixes
}

/// So many in all, in these proportions.
fn shares(count: usize, lengths: impl IntoIterator<Item = (u32, usize)>) -> BTreeMap<u32, usize> {
    let lengths: Vec<_> = lengths.into_iter().collect();
    let all: usize = lengths.iter().map(|(_, share): &(u32, usize)| *share).sum();
    // Short lengths have not so many networks.
    let networks = |length: u32| 1_usize.checked_shl(length).unwrap_or(usize::MAX);
    let most = |(length, share): (u32, usize)| {
        (length, (count * share).div_ceil(all).min(networks(length)))
    };
    lengths.into_iter().map(most).collect()
}

#[test]
fn there_is_room_for_100_000_ranges() {
    let even = |first, last| shares(100_000, (first..=last).map(|length| (length, 1)));
    let one_of_each = |first, last| {
        shares(100_000, (first..last).map(|length| (length, 1)).chain([(last, 100_000)]))
    };
    for counts in [
        one_of_each(8, 32),
        even(17, 32),
        even(8, 32),
        even(1, 32),
        shares(100_000, [(24, 1), (32, 4)]),
        shares(100_000, [(16, 1), (20, 2), (22, 3), (24, 10), (32, 10)]),
        shares(100_000, (8..=32).map(|length| (length, length as usize * length as usize))),
    ] {
        assert!(Ropes::<V4>::has_room(&counts), "{counts:?}");
    }
    for counts in [
        one_of_each(16, 128),
        even(24, 64),
        even(48, 128),
        shares(100_000, [(32, 1), (48, 4), (56, 2), (64, 8), (128, 8)]),
    ] {
        assert!(Ropes::<V6>::has_room(&counts), "{counts:?}");
    }
}

#[test]
fn the_tree_is_the_lowest_that_has_room() {
    let counts = shares(1000, (8..=32).map(|length| (length, 1)));
    let prefixes = spread::<V4>(&counts);
    let trees = Ropes::<V4>::trees(&counts);
    let (lowest, least) = (trees.shallow(usize::MAX), trees.shallow(0));
    let steps = |tree: &Option<Box<Node>>| counts.keys().map(|l| Node::way(tree, *l).len()).max();
    assert!(steps(&lowest) <= Some(5) && steps(&least) <= Some(6));
    let ranges = |tree: &Option<Box<Node>>| Ropes::<V4>::in_tree(tree, &prefixes).ranges.len();
    assert!(ranges(&least) < ranges(&lowest));
    assert!(ranges(&least) <= trees.fewest(), "{}", trees.fewest());
}

#[test]
fn a_search_in_the_tree_of_the_fewest_markers_finds_the_longest() {
    let counts = shares(300, (1..=32).map(|length| (length, 1)));
    let prefixes: BTreeMap<Prefix<V4>, u32> = spread::<V4>(&counts).into_keys().zip(1..).collect();
    let tree = Ropes::<V4>::trees(&counts).shallow(0);
    let ropes = Ropes::<V4>::in_tree(&tree, &prefixes);
    let found = |address: &[u8; 4]| {
        let (mut rope, mut set) = (ropes.rope, ropes.anywhere);
        while rope != 0 {
            let length = rope as u32 & 0xff;
            rope >>= 8;
            if let Some(range) = ropes.ranges.get(&(length, V4::network(address, length))) {
                (rope, set) = (range.rope, range.set);
            }
        }
        set
    };
    for (length, network) in prefixes.keys() {
        let [a, b, c, d] = *network;
        for address in [*network, [a, b, c, d ^ 1], [a, b, c ^ 1, d], [a ^ 1, b, c, d]] {
            assert_eq!(found(&address), longest::<V4>(&prefixes, &address), "{length} {address:?}");
        }
    }
}
