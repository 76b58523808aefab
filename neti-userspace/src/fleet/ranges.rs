//! The ranges of addresses that the settings name, of either family.

use ipnet::IpNet;
use neti_common::maps;
use serde_json::Value;

use super::FleetError;
use crate::{
    addresses::{self, IpFamily, overlap, unmapped, v4, v6},
    keys::{Keys, parsed},
};

/// What a range must be, for error messages.
pub const RANGE: &str = "a range like 10.0.0.0/8 or fd00::/8";

/// The private ranges of RFC 1918, and what IPv6 has for them: unique local (RFC 4193) and
/// link-local addresses.
pub const DEFAULT_FAILSAFE: [IpNet; 5] = [
    v4([10, 0, 0, 0], 8),
    v4([172, 16, 0, 0], 12),
    v4([192, 168, 0, 0], 16),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
];

/// Which overlay ranges a family may have.
struct Bounds {
    /// The prefix lengths of the largest range and of the smallest.
    largest: u8,
    smallest: u8,
    /// It lies inside one of these.
    inside: &'static [IpNet],
    right: &'static str,
}

const V4_BOUNDS: Bounds = Bounds {
    largest: 8,
    smallest: 30,
    inside: &[v4([0, 0, 0, 0], 0)],
    right: "an IPv4 range of /8 to /30 like 100.64.0.0/16",
};

/// The unique local addresses (RFC 4193) and the global ones (RFC 4291 section 4).
const V6_BOUNDS: Bounds = Bounds {
    largest: 32,
    smallest: 112,
    inside: &[v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3)],
    right: "an IPv6 range of /32 to /112 inside fc00::/7 or 2000::/3, like fd6e:6574:69::/64",
};

/// Reads the key `overlay`.
pub fn overlay(keys: &mut Keys) -> Result<Vec<IpNet>, FleetError> {
    const RIGHT: &str = "a range like 100.64.0.0/16 or fd6e:6574:69::/64";
    let Some(ranges) = keys.list("overlay", RIGHT, overlay_range)? else {
        return Err(keys.missing("overlay", "a list of ranges like [\"100.64.0.0/16\"]"));
    };
    if ranges.is_empty() {
        return Err(keys.wrong("overlay", &"[]", "must be a list of at least one range"));
    }
    at_most(maps::RANGES, keys, "overlay", &ranges)?;
    for (index, range) in ranges.iter().enumerate() {
        if let Some(other) = ranges[..index].iter().find(|other| overlap(range, other)) {
            let what = format!("must be apart from the other range {other}");
            return Err(keys.wrong(&format!("overlay[{index}]"), range, &what));
        }
    }
    Ok(ranges)
}

/// Reads the key `failsafe`.
pub fn failsafe(keys: &mut Keys) -> Result<Vec<IpNet>, FleetError> {
    let ranges = keys.list("failsafe", RANGE, range)?;
    let ranges = ranges.unwrap_or_else(|| DEFAULT_FAILSAFE.to_vec());
    at_most(maps::FAILSAFES, keys, "failsafe", &ranges)?;
    apart(keys, "failsafe", &ranges)?;
    Ok(ranges)
}

/// Fails if one range of the list `key` lies inside another.
pub fn apart(keys: &Keys, key: &str, ranges: &[IpNet]) -> Result<(), FleetError> {
    let mut sorted: Vec<_> = ranges.iter().zip(0..).collect();
    // What lies inside a range follows it.
    sorted.sort_unstable();
    let pair = sorted.windows(2).find(|pair| pair[0].0.contains(pair[1].0));
    let Some(&[(around, at), (inside, index)]) = pair else { return Ok(()) };
    let what = match around == inside {
        true => format!("is {key}[{at}] again; must be there once"),
        false => format!("lies inside {around}; must be apart from it, or left out"),
    };
    Err(keys.wrong(&format!("{key}[{index}]"), &format!("\"{inside}\""), &what))
}

/// Reads a range without host bits.
pub fn range(value: &Value) -> Result<IpNet, String> {
    let range: IpNet = parsed(value).ok_or_else(|| format!("must be {RANGE}"))?;
    if let Some(range) = unmapped(&range) {
        return Err(format!("is {}; write {}", addresses::MAPPED, range.trunc()));
    }
    if range != range.trunc() {
        return Err(format!("has host bits; write {}", range.trunc()));
    }
    Ok(range)
}

fn overlay_range(value: &Value) -> Result<IpNet, String> {
    let range = range(value)?;
    let bounds = match IpFamily::of_range(&range) {
        IpFamily::V4 => V4_BOUNDS,
        IpFamily::V6 => V6_BOUNDS,
    };
    let unfit = addresses::unfit(&range);
    let wrong = match unfit {
        Some((all, why)) if all.contains(&range) => format!("is {why}; "),
        _ if range.prefix_len() < bounds.largest => "is too large; ".to_owned(),
        _ if range.prefix_len() > bounds.smallest => "is too small; ".to_owned(),
        Some((part, why)) => format!("contains {part}, which is {why}; "),
        None if !bounds.inside.iter().any(|all| all.contains(&range)) => String::new(),
        None => return Ok(range),
    };
    Err(format!("{wrong}must be {}", bounds.right))
}

/// The maps have room for so many in each family.
fn at_most(room: usize, keys: &Keys, key: &str, ranges: &[IpNet]) -> Result<(), FleetError> {
    for family in IpFamily::ALL {
        let count = ranges.iter().filter(|range| IpFamily::of_range(range) == family).count();
        if count > room {
            let value = format!("{count} {family} ranges");
            return Err(keys.wrong(key, &value, &format!("must be at most {room} of each family")));
        }
    }
    Ok(())
}
