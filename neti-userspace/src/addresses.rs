//! The addresses of hosts and the ranges they lie in, of both families alike.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use neti_common::family::{Family, V4, V6};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An address family where it is a value; [`Family`] is the one that is a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IpFamily {
    V4,
    V6,
}

impl IpFamily {
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub const fn of_range(range: &IpNet) -> Self {
        match range {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }

    /// What people call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => V4::NAME,
            Self::V6 => V6::NAME,
        }
    }

    /// Protocol number of its ICMP.
    pub const fn icmp(self) -> u8 {
        match self {
            Self::V4 => V4::ICMP,
            Self::V6 => V6::ICMP,
        }
    }
}

impl fmt::Display for IpFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// At most one address of each family. In files it is nothing, one text, or a list of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Option<OneOrMore>", into = "Option<OneOrMore>")]
pub struct Addresses {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
}

/// Two addresses of one family, where there is room for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0} and {1} are both {of}; must be at most one of each family", of = IpFamily::of(*.0))]
pub struct Twice(IpAddr, IpAddr);

impl Addresses {
    /// IPv4 first.
    pub fn iter(self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }

    pub fn of(self, family: IpFamily) -> Option<IpAddr> {
        match family {
            IpFamily::V4 => self.v4.map(IpAddr::V4),
            IpFamily::V6 => self.v6.map(IpAddr::V6),
        }
    }

    pub fn contains(self, address: IpAddr) -> bool {
        self.of(IpFamily::of(address)) == Some(address)
    }

    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Puts `address` in the place of the one of its family, which it returns.
    pub fn insert(&mut self, address: IpAddr) -> Option<IpAddr> {
        match address {
            IpAddr::V4(address) => self.v4.replace(address).map(IpAddr::V4),
            IpAddr::V6(address) => self.v6.replace(address).map(IpAddr::V6),
        }
    }

    /// # Errors
    /// If two of `addresses` are of one family.
    pub fn collect(addresses: impl IntoIterator<Item = IpAddr>) -> Result<Self, Twice> {
        let mut collected = Self::default();
        for address in addresses {
            if let Some(other) = collected.insert(address) {
                return Err(Twice(other, address));
            }
        }
        Ok(collected)
    }
}

/// [`Addresses`] as they are written.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "must be an address or a list of addresses")]
enum OneOrMore {
    One(IpAddr),
    More(Vec<IpAddr>),
}

impl TryFrom<Option<OneOrMore>> for Addresses {
    type Error = Twice;

    fn try_from(written: Option<OneOrMore>) -> Result<Self, Twice> {
        match written {
            None => Ok(Self::default()),
            Some(OneOrMore::One(address)) => Self::collect([address]),
            Some(OneOrMore::More(addresses)) => Self::collect(addresses),
        }
    }
}

impl From<Addresses> for Option<OneOrMore> {
    fn from(addresses: Addresses) -> Self {
        let mut addresses: Vec<IpAddr> = addresses.iter().collect();
        match addresses.len() {
            0 | 1 => addresses.pop().map(OneOrMore::One),
            _ => Some(OneOrMore::More(addresses)),
        }
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&list(self.iter()))
    }
}

/// RFC 4291 section 2.5.5.2.
pub const MAPPED: &str = "IPv4 written as IPv6 (v4-mapped)";

/// The ranges in which no host has an address that others reach it by.
const UNFIT: [(IpNet, &str); 10] = [
    (v4([0, 0, 0, 0], 8), "unspecified"),
    (v4([127, 0, 0, 0], 8), "loopback"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    // RFC 1112 section 4; the broadcast address is in it.
    (v4([240, 0, 0, 0], 4), "reserved"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback"),
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), MAPPED),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

/// What part of a range no host can have to be reached by, and why.
pub fn unfit(range: &IpNet) -> Option<(IpNet, &'static str)> {
    UNFIT.into_iter().find(|(unfit, _)| overlap(unfit, range))
}

/// An address that no other host reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub struct NoHost {
    address: IpAddr,
    why: &'static str,
}

impl fmt::Display for NoHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "is {}; ", self.why)?;
        match unmapped(&self.address.into()) {
            Some(range) => write!(f, "write {}", range.addr()),
            None => f.write_str("must be an address that other hosts reach this one by"),
        }
    }
}

/// Takes an address that a host can have on an interface and be reached by from another host.
pub fn real(address: IpAddr) -> Result<IpAddr, NoHost> {
    unfit(&address.into()).map_or(Ok(address), |(_, why)| Err(NoHost { address, why }))
}

/// An IPv4 range that is written as IPv6, as it should be written.
pub fn unmapped(range: &IpNet) -> Option<IpNet> {
    let IpNet::V6(range) = range else { return None };
    let length = range.prefix_len().checked_sub(96)?;
    Ipv4Net::new(range.addr().to_ipv4_mapped()?, length).ok().map(IpNet::V4)
}

pub fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

pub const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

pub const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length))
}

/// The items one after another, for messages.
pub fn list(items: impl IntoIterator<Item = impl ToString>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
