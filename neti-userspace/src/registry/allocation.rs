//! Which overlay address a host gets: a random one of those that nobody has. Ranges may be far too
//! large to look at each address; only the claims are.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use rand::Rng;

use crate::addresses::IpFamily;

/// The addresses of a range, and which of them are taken.
#[derive(Debug)]
pub struct Pool {
    family: IpFamily,
    first: u128,
    last: u128,
    taken: BTreeSet<u128>,
}

impl Pool {
    /// Those of `taken` that lie elsewhere are of no matter.
    pub fn new(range: IpNet, taken: impl IntoIterator<Item = IpAddr>) -> Self {
        let (first, last) = usable(&range);
        let mut pool =
            Self { family: IpFamily::of_range(&range), first, last, taken: BTreeSet::new() };
        taken.into_iter().for_each(|address| pool.take(address));
        pool
    }

    /// Notes that somebody has this address.
    pub fn take(&mut self, address: IpAddr) {
        let bits = bits(address);
        if IpFamily::of(address) == self.family && (self.first..=self.last).contains(&bits) {
            self.taken.insert(bits);
        }
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.taken.len()
    }

    /// A random address of those that nobody has; `None` if there is none.
    pub fn draw(&self) -> Option<IpAddr> {
        let free = self.last - self.first + 1 - self.taken.len() as u128;
        let random = || rand::rng().random_range(0..free);
        (free > 0).then(|| address(self.family, nth_free(self.first, &self.taken, random())))
    }
}

/// The first and the last address that a host may have: not the network's own, which the route may
/// name as its next hop and which in IPv6 belongs to the routers (RFC 4291 section 2.6.1), nor the
/// last one, IPv4's broadcast address.
fn usable(range: &IpNet) -> (u128, u128) {
    (bits(range.network()) + 1, bits(range.broadcast()) - 1)
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(family: IpFamily, bits: u128) -> IpAddr {
    match family {
        IpFamily::V4 => Ipv4Addr::from_bits(bits as u32).into(),
        IpFamily::V6 => Ipv6Addr::from_bits(bits).into(),
    }
}

/// The `n`th address, counted from 0, of those that begin at `first` and are not `taken`.
fn nth_free(first: u128, taken: &BTreeSet<u128>, n: u128) -> u128 {
    let mut address = first + n;
    for &other in taken {
        if other > address {
            break;
        }
        address += 1;
    }
    address
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nth_free_counts_what_is_not_taken(
            taken in prop::collection::btree_set(0u128..20, 0..19),
            first in prop::sample::select(vec![10, 0xfd << 120]),
        ) {
            let taken: BTreeSet<u128> = taken.into_iter().map(|n| first + n).collect();
            let free: Vec<_> = (first..first + 20).filter(|address| !taken.contains(address)).collect();
            for (n, address) in free.into_iter().enumerate() {
                prop_assert_eq!(nth_free(first, &taken, n as u128), address);
            }
        }
    }
}
