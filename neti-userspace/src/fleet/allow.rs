//! Allow rules. The kernel looks up the longest prefix that holds a source, and that one answers
//! alone, so the rules of all the prefixes around it are merged into it here.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::IpNet;
use neti_common::maps::{ALLOW_ENTRIES, Allow, AllowEntry};
use serde_json::Value;

use super::{FleetError, PortRange, ranges};
use crate::{
    addresses::{self, IpFamily},
    keys::{Keys, parsed},
};

const TCP: u8 = 6;
const UDP: u8 = 17;
const PROTOCOL: &str = "tcp, udp, icmp, icmpv6 or a number up to 254";

/// One rule: sources in `from` may reach `ports` by `protocol`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    /// Ranges of one family.
    pub from: Vec<IpNet>,
    /// IP protocol number; `None` is every protocol.
    pub protocol: Option<u8>,
    /// Empty: all ports, or a protocol without ports.
    pub ports: Vec<PortRange>,
}

/// Reads and merges the rules of the key `allow`.
pub fn read(keys: &mut Keys) -> Result<BTreeMap<IpNet, Allow>, FleetError> {
    let rules = keys.tables("allow")?.into_iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    merge(&rules).map_err(|(from, count)| {
        let value = format!("{count} entries for {from} with the prefixes around it");
        let what =
            format!("must be at most {ALLOW_ENTRIES} protocols and port ranges for one source");
        keys.wrong("allow", &value, &what)
    })
}

fn rule(mut keys: Keys) -> Result<AllowRule, FleetError> {
    let from = keys.one_or_more("from", ranges::RANGE, ranges::range)?;
    let Some(family) = from.first().map(IpFamily::of_range) else {
        return Err(keys.missing("from", ranges::RANGE));
    };
    if let Some(other) = from.iter().find(|range| IpFamily::of_range(range) != family) {
        let what = format!("{} is {family}, {other} is not; must be of one family", from[0]);
        return Err(keys.wrong("from", &addresses::list(&from), &what));
    }
    let protocol = keys.optional("protocol", PROTOCOL, |value| protocol(value, family))?;
    let ports = keys.list("ports", "a port or a range like \"8000-8010\"", parsed)?;
    let ports = ports.unwrap_or_default();
    if !ports.is_empty() && ![Some(TCP), Some(UDP)].contains(&protocol) {
        let text: Vec<_> = ports.iter().map(ToString::to_string).collect();
        return Err(keys.wrong(
            "ports",
            &text.join(" "),
            "must be given with protocol tcp or udp only",
        ));
    }
    keys.finish()?;
    Ok(AllowRule { from, protocol, ports })
}

fn protocol(value: &Value, family: IpFamily) -> Result<u8, String> {
    match value.as_str() {
        Some("tcp") => Ok(TCP),
        Some("udp") => Ok(UDP),
        Some("icmp") => Ok(family.icmp()),
        Some("icmpv6") if family == IpFamily::V6 => Ok(family.icmp()),
        Some("icmpv6") => Err("is for IPv6 ranges; must be icmp for IPv4".to_owned()),
        _ => {
            let number = value.as_u64().and_then(|number| number.try_into().ok());
            number
                .filter(|number| *number != AllowEntry::ANY_PROTOCOL)
                .ok_or_else(|| format!("must be {PROTOCOL}"))
        }
    }
}

/// Merges the rules per prefix. The error is a prefix with more entries than the map has room for,
/// and how many it has.
pub fn merge(rules: &[AllowRule]) -> Result<BTreeMap<IpNet, Allow>, (IpNet, usize)> {
    let prefixes: BTreeSet<IpNet> = rules.iter().flat_map(|rule| rule.from.clone()).collect();
    let allow = |prefix: IpNet| {
        let around =
            rules.iter().filter(|rule| rule.from.iter().any(|from| from.contains(&prefix)));
        let merged = join(around.flat_map(entries).collect());
        let mut allow = Allow { count: merged.len() as u32, ..Allow::default() };
        let room = allow.entries.get_mut(..merged.len()).ok_or((prefix, merged.len()))?;
        room.copy_from_slice(&merged);
        Ok((prefix, allow))
    };
    prefixes.into_iter().map(allow).collect()
}

fn entries(rule: &AllowRule) -> Vec<AllowEntry> {
    let protocol = rule.protocol.unwrap_or(AllowEntry::ANY_PROTOCOL);
    let entry = |first, last| AllowEntry { first, last, protocol, _pad: 0 };
    if rule.ports.is_empty() {
        return vec![entry(0, u16::MAX)];
    }
    rule.ports.iter().map(|ports| entry(ports.first, ports.last)).collect()
}

/// Joins entries that overlap or touch. An entry for every protocol swallows all others: rules
/// give ports with a protocol only, so it has them all.
fn join(mut entries: Vec<AllowEntry>) -> Vec<AllowEntry> {
    if let Some(any) = entries.iter().find(|e| e.protocol == AllowEntry::ANY_PROTOCOL) {
        return vec![*any];
    }
    entries.sort_by_key(|entry| (entry.protocol, entry.first));
    let mut joined: Vec<AllowEntry> = Vec::new();
    for entry in entries {
        match joined.last_mut() {
            Some(last)
                if last.protocol == entry.protocol
                    && u32::from(entry.first) <= u32::from(last.last) + 1 =>
            {
                last.last = last.last.max(entry.last);
            }
            _ => joined.push(entry),
        }
    }
    joined
}

#[cfg(test)]
mod tests;
