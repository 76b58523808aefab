//! The hardware addresses of next hops, as packets had them that the kernel sent there a moment ago. Another packet to the
//! same peer gets the address where it stands; only after a moment is the next hop looked up again, by a redirect, which takes
//! longer than all else that is done to a packet. So neighbour entries stay in use, and what changes in one is known after a
//! moment.

use core::num::NonZero;

use crate::family::Family;

/// Entries, as a power of two; one for each peer, unless two share one and make each other forgotten.
const ENTRIES_LOG2: u32 = 12;
pub const ENTRIES: u32 = 1 << ENTRIES_LOG2;
/// A moment in jiffies: 32 ms to a third of a second, as the kernel was built.
const MOMENT: u32 = 32;

/// The address of a peer's next hop. Each half says whose it is, lest the halves of two be taken for one, and both together
/// with the place in the table are 60 bits of a hash: of IPv4 addresses no two have as many in common.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hop {
    /// Whose, and in the lower half when a packet went there, in jiffies.
    pub when: u64,
    /// In memory the address, and whose.
    pub address: u64,
}

/// A hardware address, as one word, so that none is a word too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(NonZero<u64>);

impl Mac {
    /// `None` for the address of all zeros, which nobody has.
    #[inline(always)]
    pub fn new([a, b, c, d, e, f]: [u8; 6]) -> Option<Self> {
        NonZero::new(u64::from_ne_bytes([a, b, c, d, e, f, 0, 0])).map(Self)
    }

    /// In network order.
    #[inline(always)]
    pub fn bytes(self) -> [u8; 6] {
        let [a, b, c, d, e, f, ..] = self.0.get().to_ne_bytes();
        [a, b, c, d, e, f]
    }
}

/// Where a peer's next hop is kept, and how it is told from others that would be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub index: u32,
    whose: u32,
    check: u16,
}

impl Key {
    /// From the upper bits of the hash down, which differ most.
    #[inline(always)]
    pub fn of<F: Family>(real: &F::Addr) -> Self {
        const INDEX: u32 = u64::BITS - ENTRIES_LOG2;
        const WHOSE: u32 = INDEX - u32::BITS;
        const CHECK: u32 = WHOSE - u16::BITS;
        let bits = F::scatter(real);
        Self {
            index: (bits >> INDEX) as u32,
            whose: (bits >> WHOSE) as u32,
            check: (bits >> CHECK) as u16,
        }
    }

    /// What is kept of a packet that goes to this address.
    #[inline(always)]
    pub fn hop(self, address: [u8; 6], jiffies: u64) -> Hop {
        let ([a, b, c, d, e, f], [g, h]) = (address, self.check.to_ne_bytes());
        Hop {
            when: (self.whose as u64) << 32 | jiffies as u32 as u64,
            address: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        }
    }

    /// The address, if a packet went there a moment ago.
    #[inline(always)]
    pub fn address(self, hop: Hop, jiffies: u64) -> Option<Mac> {
        let age = (jiffies as u32).wrapping_sub(hop.when as u32);
        let [a, b, c, d, e, f, g, h] = hop.address.to_ne_bytes();
        let is_its = (hop.when >> 32) as u32 == self.whose && [g, h] == self.check.to_ne_bytes();
        if is_its && age < MOMENT { Mac::new([a, b, c, d, e, f]) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use std::collections::BTreeSet;

    use super::*;
    use crate::family::{V4, V6};

    const ADDRESSES: [[u8; 6]; 2] = [[2, 1, 3, 4, 5, 6], [2, 1, 3, 4, 5, 7]];

    fn check<F: Family>(peers: [&str; 2]) {
        let [one, other] = peers.map(|peer| {
            let peer: IpAddr = peer.parse().unwrap();
            Key::of::<F>(&F::of(peer).unwrap())
        });
        assert!(one.index < ENTRIES && other.index < ENTRIES);
        for sent in [0, 1_000_000, u64::from(u32::MAX), u64::MAX - 3] {
            let hop = one.hop(ADDRESSES[0], sent);
            let after = |ticks: u64| one.address(hop, sent.wrapping_add(ticks)).map(Mac::bytes);
            for ticks in [0, u64::from(MOMENT) - 1] {
                assert_eq!(after(ticks), Some(ADDRESSES[0]));
            }
            for ticks in [u64::from(MOMENT), 1 << 31] {
                assert_eq!(after(ticks), None);
            }
            assert_eq!(other.address(hop, sent), None, "another one's");
            let theirs = other.hop(ADDRESSES[1], sent);
            for torn in [Hop { when: hop.when, ..theirs }, Hop { when: theirs.when, ..hop }] {
                assert_eq!(one.address(torn, sent), None);
            }
        }
        let nobody = Hop::default();
        assert_eq!(one.address(nobody, 0), None);
    }

    /// How many of so many addresses have a key of their own.
    fn keys<F: Family>(count: u32, address: impl Fn(u32) -> IpAddr) -> usize {
        let key = |number| Key::of::<F>(&F::of(address(number)).unwrap());
        (0..count).map(key).collect::<BTreeSet<_>>().len()
    }

    #[test]
    fn each_peer_has_a_key_of_its_own() {
        const COUNT: u32 = 100_000;
        let v4 = |shift: u32| {
            keys::<V4>(COUNT, |n| {
                Ipv4Addr::from_bits(0x0a00_0000_u32.wrapping_add(n << shift)).into()
            })
        };
        // Whatever part of an IPv6 address tells the hosts of a network apart.
        let v6 = |shift: u32| {
            keys::<V6>(COUNT, |n| {
                Ipv6Addr::from_bits((0xfd00 << 112) + (u128::from(n) << shift) + 1).into()
            })
        };
        for found in [v4(0), v4(7), v4(15), v6(1), v6(16), v6(32), v6(47), v6(64), v6(80)] {
            assert_eq!(found, COUNT as usize);
        }
    }

    #[test]
    fn a_next_hop_is_known_for_a_moment() {
        check::<V4>(["10.0.0.11", "10.0.0.12"]);
        check::<V6>(["fd00::11", "fd00::12"]);
    }
}
