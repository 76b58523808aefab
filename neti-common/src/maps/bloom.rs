//! A Bloom filter (with one hash) of the real addresses of members: of most strangers it tells, by one word of a small array,
//! that they are none. A look into the map of members takes ten times as long, and from a flood's many sources, in a large
//! map, a hundred times.

use crate::family::Family;

/// Bits of a filter, as a power of two, which take 1 MiB. Of strangers one in 1,000 is looked for among 8,000 members, one in
/// 80 among 100,000 and one in 9 among a million.
const BITS_LOG2: u32 = 23;
/// Words of a filter.
pub const WORDS: u32 = 1 << (BITS_LOG2 - u64::BITS.ilog2());

/// Where the filter says whether an address may be a member's: the word's index, and the bit in it.
#[inline(always)]
pub fn place<F: Family>(address: &F::Addr) -> (u32, u32) {
    let bit = (F::scatter(address) >> (u64::BITS - BITS_LOG2)) as u32;
    (bit / u64::BITS, bit % u64::BITS)
}

/// Fibonacci hashing, whose upper bits differ most where addresses follow one another (Knuth, TAOCP 6.4).
pub const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::collections::BTreeSet;

    use super::*;
    use crate::family::{V4, V6};

    /// How many bits 10,000 addresses need.
    fn bits<F: Family>(address: impl Fn(u32) -> IpAddr) -> usize {
        let place = |number| place::<F>(&F::of(address(number)).unwrap());
        let places: BTreeSet<_> = (0..10_000).map(place).collect();
        assert!(places.iter().all(|(word, bit)| *word < WORDS && *bit < 64));
        places.len()
    }

    #[test]
    fn addresses_that_follow_one_another_have_bits_of_their_own() {
        let v4 = |number| Ipv4Addr::from_bits(0x0a00_0000 + number).into();
        let networks = |number: u32| Ipv4Addr::from_bits(0x0a00_0001 + (number << 8)).into();
        let v6 = |number: u32| Ipv6Addr::from_bits((0xfd00 << 112) + u128::from(number)).into();
        let prefixes = |number: u32| {
            Ipv6Addr::from_bits((0xfd00 << 112) + (u128::from(number) << 64) + 1).into()
        };
        for bits in [bits::<V4>(v4), bits::<V4>(networks), bits::<V6>(v6), bits::<V6>(prefixes)] {
            assert!(bits > 9_900, "{bits}");
        }
    }
}
