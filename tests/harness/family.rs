//! The two address families. Whatever the tests' networks and commands differ by is here.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use socket2::Domain;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Dual-stack.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// The address of this family among those of a host, which has at most one of each.
    pub fn among(self, addresses: &[IpAddr]) -> Option<IpAddr> {
        addresses.iter().copied().find(|address| Self::of(*address) == self)
    }

    /// The unspecified address.
    pub fn any(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// What every host calls itself.
    pub fn loopback(self) -> IpNet {
        match self {
            Self::V4 => IpNet::new_assert(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
            Self::V6 => IpNet::new_assert(Ipv6Addr::LOCALHOST.into(), 128),
        }
    }

    /// The overlay range of fleets that do not say otherwise.
    pub fn range(self) -> IpNet {
        let (network, length): (IpAddr, u8) = match self {
            Self::V4 => (Ipv4Addr::new(100, 64, 0, 0).into(), 16),
            Self::V6 => (Ipv6Addr::new(0xfd64, 0x6e65, 0x7469, 0, 0, 0, 0, 0).into(), 48),
        };
        IpNet::new_assert(network, length)
    }

    /// The smallest overlay range that a fleet may have.
    pub fn smallest_range(self) -> IpNet {
        let length = match self {
            Self::V4 => 30,
            Self::V6 => 112,
        };
        IpNet::new_assert(self.range().network(), length)
    }

    /// The network in [`Self::range`] of overlay addresses that no host takes: those of members without neti.
    pub fn ghost(self, last: u8) -> IpAddr {
        Network { v4: [100, 64, 250], v6: [0xfd64, 0x6e65, 0x7469, 0x250] }.host(self, last)
    }

    /// Length of an address in bits.
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// Length of a header without options or extension headers.
    pub fn header(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }

    /// What nftables calls it.
    pub fn nft(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    /// What conntrack(8) calls it.
    pub fn conntrack(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    /// The option of `ip` and `ping` that means it.
    pub fn flag(self) -> &'static str {
        match self {
            Self::V4 => "-4",
            Self::V6 => "-6",
        }
    }

    /// Its sockets.
    pub fn domain(self) -> Domain {
        match self {
            Self::V4 => Domain::IPV4,
            Self::V6 => Domain::IPV6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

impl AsRef<[Family]> for Family {
    /// This family alone.
    fn as_ref(&self) -> &[Family] {
        std::slice::from_ref(self)
    }
}

/// A network with a prefix in each family, a /24 and a /64, whose hosts end in the same digits in both.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    pub v4: [u8; 3],
    pub v6: [u16; 4],
}

impl Network {
    /// The address of host number `last`.
    pub fn host(self, family: Family, last: u8) -> IpAddr {
        match (family, self.v4, self.v6) {
            (Family::V4, [a, b, c], _) => Ipv4Addr::new(a, b, c, last).into(),
            (Family::V6, _, [a, b, c, d]) => {
                let digits = u16::from(last / 100) << 8 | u16::from(last / 10 % 10) << 4;
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, digits | u16::from(last % 10)).into()
            }
        }
    }

    /// The prefix.
    pub fn prefix(self, family: Family) -> IpNet {
        IpNet::new_assert(self.host(family, 0), if family == Family::V4 { 24 } else { 64 })
    }

    /// The line for `ip` that gives an interface the address of host number `last`.
    pub fn addr_add(self, family: Family, last: u8, interface: &str) -> String {
        addr_add(self.host(family, last), self.prefix(family).prefix_len(), interface)
    }
}

/// The line for `ip` that gives an interface an address, to be used at once.
pub fn addr_add(address: IpAddr, length: u8, interface: &str) -> String {
    let nodad = if address.is_ipv6() { "nodad" } else { "" };
    format!("addr add {address}/{length} dev {interface} {nodad}\n")
}

/// Makes a test of each family from functions that take a [`Family`]: `NAME::v4` and `NAME::v6`.
#[macro_export]
macro_rules! in_each_family {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use $crate::family::Family;

            #[test]
            fn v4() -> super::Result {
                super::$name(Family::V4)
            }

            #[test]
            fn v6() -> super::Result {
                super::$name(Family::V6)
            }
        }
    )+};
}

/// Makes a test from functions that take a network with both families and a [`Family`], as `NAME on NETWORK`: hosts
/// start once for both, which takes most of the time.
#[macro_export]
macro_rules! in_both_families {
    ($($name:ident on $stage:expr),+ $(,)?) => {$(
        mod $name {
            use super::*;

            #[test]
            fn v4_and_v6() -> Result {
                let stage = $stage?;
                $crate::family::in_turn(|family| super::$name(&stage, family))
            }
        }
    )+};
}

/// Checks the families one after the other, and names the one that fails.
pub fn in_turn(mut check: impl FnMut(Family) -> Result<()>) -> Result<()> {
    for family in Family::ALL {
        // Where a check panics, this is the last line before.
        println!("{family}:");
        check(family).with_context(|| family.to_string())?;
    }
    Ok(())
}
