//! The members that a fleet has beside the measured pair. They exist in the registry, and some of them as addresses of one
//! host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use harness::{family::Family, host::Fleet, rivals::Member};
use ipnet::{IpNet, Ipv4Net};

use super::lab::{LEFT, NETWORK, RIGHT, settings};

/// So many of the members are talked to, spread over all of them.
const PEERS: u32 = 1000;

/// The hosts that run neti, by the numbers of their addresses.
const HOSTS: [(&str, u8); 3] = [("left", LEFT), ("right", RIGHT), ("xdp", 13)];

/// So many of one family.
pub struct Fleetmates {
    pub family: Family,
    pub count: u32,
}

impl Fleetmates {
    pub fn all(&self) -> impl Iterator<Item = Member> {
        (0..self.count).map(|number| self.member(number))
    }

    /// Those that are talked to.
    pub fn peers(&self) -> impl Iterator<Item = Member> {
        self.spread(PEERS)
    }

    /// So many at the most, spread over all of them.
    pub fn spread(&self, most: u32) -> impl Iterator<Item = Member> {
        let count = self.count.min(most);
        (0..count).map(move |number| {
            self.member((u64::from(number) * u64::from(self.count) / u64::from(count)) as u32)
        })
    }

    fn member(&self, number: u32) -> Member {
        let number = number + 1;
        match self.family {
            // From the middle of the range on: those of hosts are at its beginning.
            Family::V4 => (
                Ipv4Addr::from_bits(Ipv4Addr::new(100, 96, 0, 0).to_bits() + number).into(),
                Ipv4Addr::from_bits(Ipv4Addr::new(10, 64, 0, 0).to_bits() + number).into(),
            ),
            Family::V6 => {
                let IpAddr::V6(overlay) = self.range().addr() else { unreachable!() };
                let real = Ipv6Addr::new(0xfd00, 0, 0, 1, 1, 0, 0, 0);
                let after = |base: Ipv6Addr, far: u128| {
                    Ipv6Addr::from_bits(base.to_bits() + far + u128::from(number)).into()
                };
                (after(overlay, 1 << 64), after(real, 0))
            }
        }
    }

    /// A fleet that has all of them.
    pub fn fleet(&self) -> Result<Fleet> {
        let fleet = self.empty()?;
        let ids: Vec<String> = (0..self.count).map(|number| format!("host-{number}")).collect();
        let named = ids.iter().zip(self.all());
        fleet.populate(named.map(|(id, (overlay, real))| (&id[..], overlay, real)), NETWORK)?;
        Ok(fleet)
    }

    /// Two such fleets.
    pub fn fleets(&self) -> Result<[Fleet; 2]> {
        let (fleet, other) = (self.fleet()?, self.empty()?);
        other.populate_like(&fleet)?;
        Ok([fleet, other])
    }

    /// A fleet without them, in which the pair's hosts have claimed their addresses.
    fn empty(&self) -> Result<Fleet> {
        let fleet = Fleet::new(self.family, settings(self.range()))?;
        for (host, last) in HOSTS {
            fleet.claim(host, self.family.ghost(last))?;
        }
        Ok(fleet)
    }

    /// The overlay range that all of them are in.
    pub fn range(&self) -> IpNet {
        match self.family {
            Family::V4 => Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10).into(),
            Family::V6 => self.family.range(),
        }
    }

    /// The range of their real addresses.
    pub fn reals(&self) -> &'static str {
        match self.family {
            Family::V4 => "10.64.0.0/10",
            Family::V6 => "fd00:0:0:1:1::/80",
        }
    }
}
