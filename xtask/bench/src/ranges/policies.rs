//! Policies of ranges of addresses that are spread as widely as there is room, and packets from inside and outside.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Result;
use harness::{family::Family, host::Host};
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::packet::{Content, frame};

/// What the ranges may reach.
const PORT: u16 = 80;

/// The ranges of one policy. Every sixth is of one length; those of each length have a part of all addresses of their own,
/// and lie there at equal distances.
#[derive(Clone, Copy)]
pub struct Ranges {
    pub family: Family,
    pub number: u32,
}

impl Ranges {
    /// The range with this number, from 0 on.
    pub fn get(self, number: u32) -> Result<IpNet> {
        let (length, first) = self.place(number)?;
        Ok(IpNet::new(self.address(first), length)?)
    }

    /// An address of the range, or the one behind it, which is of none.
    fn source(self, number: u32, inside: bool) -> Result<IpAddr> {
        let (length, first) = self.place(number)?;
        let size = 1_u128 << (self.bits() - length);
        Ok(self.address(if inside { first + size / 2 } else { first + size }))
    }

    /// Its prefix length and its first address.
    fn place(self, number: u32) -> Result<(u8, u128)> {
        // Of IPv4 the parts are each of 20 networks of length 8, and have none that is special.
        let (lengths, parts, networks) = match self.family {
            Family::V4 => ([19, 20, 22, 24, 28, 32], [12, 32, 52, 72, 128, 195], 20),
            Family::V6 => ([36, 40, 44, 48, 56, 64], [0x24, 0x26, 0x28, 0x2a, 0x2c, 0x2e], 1),
        };
        let each = usize::try_from(number)? % lengths.len();
        let (length, part): (u8, u128) = (lengths[each], parts[each]);
        let places = networks << (length - 8);
        let distance = places / u128::from(self.number).div_ceil(lengths.len() as u128);
        let place = u128::from(number) / lengths.len() as u128 * distance;
        let bits = self.bits();
        Ok((length, (part << (bits - 8)) + (place << (bits - length))))
    }

    fn bits(self) -> u8 {
        match self.family {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    fn address(self, bits: u128) -> IpAddr {
        match self.family {
            Family::V4 => Ipv4Addr::from_bits(bits as u32).into(),
            Family::V6 => Ipv6Addr::from_bits(bits).into(),
        }
    }
}

/// Settings with one rule for all the ranges.
pub fn settings(ranges: Ranges) -> Result<Value> {
    let from = (0..ranges.number).map(|number| ranges.get(number)).collect::<Result<Vec<_>>>()?;
    let rule = json!({ "from": from, "protocol": "tcp", "ports": [PORT.to_string()] });
    Ok(json!({ "mode": "enforce", "allow": [rule] }))
}

/// SYNs of strangers.
#[derive(Clone, Copy)]
pub struct Packets {
    pub name: &'static str,
    /// Whether they come from the ranges, or from beside them.
    pub inside: bool,
    /// Whether each comes from another range, or all from one.
    pub spread: bool,
}

impl Packets {
    pub const ALL: [Self; 4] = [
        Self { name: "refused", inside: false, spread: false },
        Self { name: "refused, spread", inside: false, spread: true },
        Self { name: "let in", inside: true, spread: false },
        Self { name: "let in, spread", inside: true, spread: true },
    ];

    /// So many of them to a host.
    pub fn frames(self, ranges: Ranges, host: &Host, number: u32) -> Result<Vec<Vec<u8>>> {
        let to = SocketAddr::new(host.real(ranges.family), PORT);
        let frame = |packet: u32| {
            // A stride without a factor in common with any policy's size, or all would be of a few lengths.
            let range = if self.spread { packet.wrapping_mul(7919) % ranges.number } else { 0 };
            let from = ranges.source(range, self.inside)?;
            frame(SocketAddr::new(from, 40_000), to, Content::Syn)
        };
        (0..number).map(frame).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_beside_a_range_but_what_is_outside() {
        for family in Family::ALL {
            for number in [10, 100_000] {
                let ranges = Ranges { family, number };
                let source = |number, inside| ranges.source(number, inside).unwrap();
                let mut all: Vec<(IpNet, IpAddr, IpAddr)> = (0..number)
                    .map(|n| (ranges.get(n).unwrap(), source(n, true), source(n, false)))
                    .collect();
                all.sort();
                for pair in all.windows(2) {
                    let [(range, inside, outside), (next, ..)] = pair else { unreachable!() };
                    assert!(range.contains(inside) && !range.contains(outside));
                    assert!(range.broadcast() < *outside && *outside < next.network());
                }
            }
        }
    }
}
