//! What the sources in a prefix may reach. The kernel finds the longest prefix that holds a source, and
//! that one answers alone, so what the prefixes around it may reach is merged in.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::sets::Sets;
use crate::fleet::AllowRule;

/// The prefixes that rules name, each with the set of what its rule lets in; in no order.
pub fn named<'a>(rules: impl Iterator<Item = &'a AllowRule>, sets: &mut Sets) -> Vec<(IpNet, u32)> {
    let mut named = Vec::new();
    for rule in rules {
        let set = sets.index(rule.services());
        named.extend(rule.from.iter().map(|prefix| (*prefix, set)));
    }
    named
}

/// Each prefix once, in order, with all that its sources may reach.
pub fn merged(mut named: Vec<(IpNet, u32)>, sets: &mut Sets) -> Vec<(IpNet, u32)> {
    // A prefix comes before those inside it, so that the ones around the next are those that are open.
    named.sort_unstable();
    let mut open: Vec<(IpNet, u32)> = Vec::new();
    let mut merged: Vec<(IpNet, u32)> = Vec::with_capacity(named.len());
    for (prefix, own) in named {
        while open.last().is_some_and(|(around, _)| !around.contains(&prefix)) {
            open.pop();
        }
        let set = open.last().map_or(own, |(_, around)| sets.union(*around, own));
        for list in [&mut open, &mut merged] {
            match list.last_mut() {
                Some((last, known)) if *last == prefix => *known = set,
                _ => list.push((prefix, set)),
            }
        }
    }
    merged
}

/// What belongs to the longest of `prefixes` that holds all of `range`.
pub fn longest<T>(prefixes: &BTreeMap<IpNet, T>, range: IpNet) -> Option<&T> {
    let around = std::iter::successors(Some(range.trunc()), IpNet::supernet);
    around.into_iter().find_map(|around| prefixes.get(&around))
}
