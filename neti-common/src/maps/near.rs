//! Which neighbours were reached a moment ago. A packet for one of them is handed to its neighbour entry as it is; for another
//! one the kernel looks the route up first, which takes longer, but the packet then knows its next hop where it has to wait
//! for the entry (`neigh_update` asks the route of what has waited).

use crate::family::Family;

/// Entries, as a power of two; one each for so many neighbours, unless two share one and make each other forgotten.
const ENTRIES_LOG2: u32 = 12;
/// Words of [`super::name::NEAR`]: in the upper half who it is, in the lower one when it was reached.
pub const ENTRIES: u32 = 1 << ENTRIES_LOG2;
/// A moment in jiffies: a quarter of a second to two and a half, as the kernel was built.
const MOMENT: u32 = 250;

/// A neighbour's place, and how it is told from others there: in IPv4 for certain, in IPv6 by 32 bits of a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub index: u32,
    who: u32,
}

impl Place {
    #[inline(always)]
    pub fn of<F: Family>(real: &F::Addr) -> Self {
        let bits = F::scatter(real);
        Self { index: (bits >> (u64::BITS - ENTRIES_LOG2)) as u32, who: bits as u32 }
    }

    /// The entry of one that is reached now.
    #[inline(always)]
    pub fn reached(self, jiffies: u64) -> u64 {
        (self.who as u64) << 32 | jiffies as u32 as u64
    }

    /// Whether an entry says that it was reached a moment ago.
    #[inline(always)]
    pub fn is_near(self, entry: u64, jiffies: u64) -> bool {
        (entry >> 32) as u32 == self.who && (jiffies as u32).wrapping_sub(entry as u32) < MOMENT
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;
    use crate::family::{V4, V6};

    fn check<F: Family>(addresses: [&str; 2]) {
        let [one, other] = addresses.map(|address| {
            let address: IpAddr = address.parse().unwrap();
            Place::of::<F>(&F::of(address).unwrap())
        });
        assert_ne!(one.who, other.who);
        for reached in [0, 1_000_000, u64::from(u32::MAX), u64::MAX - 3] {
            let entry = one.reached(reached);
            let after = |ticks: u64| one.is_near(entry, reached.wrapping_add(ticks));
            assert!(after(0) && after(u64::from(MOMENT) - 1));
            assert!(!after(u64::from(MOMENT)) && !after(1 << 31));
            assert!(!other.is_near(entry, reached), "another one in its place");
        }
        assert!(one.index < ENTRIES && !one.is_near(0, u64::from(MOMENT)), "nobody yet");
    }

    #[test]
    fn a_neighbour_is_near_for_a_moment() {
        check::<V4>(["10.0.0.11", "10.0.0.12"]);
        check::<V6>(["fd00::11", "fd00::12"]);
    }
}
