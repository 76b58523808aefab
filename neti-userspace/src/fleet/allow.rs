//! Allow rules. The kernel looks up the longest prefix that holds a source, and that one answers
//! alone, so the rules of all the prefixes around it are merged into it here.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;
use neti_common::maps::{ALLOW_ENTRIES, Allow, AllowEntry};
use serde_json::Value;

use super::{FleetError, PortRange, range};
use crate::keys::{Keys, parsed};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// One rule: sources in `from` may reach `ports` by `protocol`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    pub from: Ipv4Net,
    /// IP protocol number; `None` is every protocol.
    pub protocol: Option<u8>,
    /// Empty: all ports, or a protocol without ports.
    pub ports: Vec<PortRange>,
}

/// Reads and merges the rules of the key `allow`.
pub fn read(keys: &mut Keys) -> Result<BTreeMap<Ipv4Net, Allow>, FleetError> {
    let rules = keys.tables("allow")?.into_iter().map(rule).collect::<Result<Vec<_>, _>>()?;
    merge(&rules).map_err(|(from, count)| {
        let value = format!("{count} entries for {from} with the prefixes around it");
        let right = format!("at most {ALLOW_ENTRIES} protocols and port ranges for one source");
        keys.wrong("allow", &value, &right)
    })
}

fn rule(mut keys: Keys) -> Result<AllowRule, FleetError> {
    let from = keys.required("from", "an IPv4 range like 198.51.100.0/24", |v| range(v).ok())?;
    let protocol = keys.optional("protocol", "tcp, udp, icmp or a number up to 254", protocol)?;
    let ports = keys.list("ports", "a port or a range like \"8000-8010\"", parsed)?;
    let ports = ports.unwrap_or_default();
    if !ports.is_empty() && ![Some(TCP), Some(UDP)].contains(&protocol) {
        let text: Vec<_> = ports.iter().map(ToString::to_string).collect();
        return Err(keys.wrong("ports", &text.join(" "), "given with protocol tcp or udp only"));
    }
    keys.finish()?;
    Ok(AllowRule { from, protocol, ports })
}

fn protocol(value: &Value) -> Option<u8> {
    match value.as_str() {
        Some("tcp") => Some(TCP),
        Some("udp") => Some(UDP),
        Some("icmp") => Some(1),
        Some(_) => None,
        None => value.as_u64()?.try_into().ok().filter(|&n| n != AllowEntry::ANY_PROTOCOL),
    }
}

/// Merges the rules per prefix. The error is a prefix with more entries than the map has room for,
/// and how many it has.
pub fn merge(rules: &[AllowRule]) -> Result<BTreeMap<Ipv4Net, Allow>, (Ipv4Net, usize)> {
    let prefixes: BTreeSet<Ipv4Net> = rules.iter().map(|rule| rule.from).collect();
    let allow = |prefix: Ipv4Net| {
        let around = rules.iter().filter(|rule| rule.from.contains(&prefix));
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
