//! Makes what [`crate::rules`] searches for the longest prefix of an address: a hash table of prefixes, and which lengths
//! are worth trying after one is found (Waldvogel et al., "Scalable High Speed IP Routing Lookups", 1997).
//!
//! The lengths that occur are the nodes of a balanced binary tree. Each prefix leaves a marker at every shorter length on
//! the way to its own node, by which a search learns that there is something longer; a rope is the way down from a
//! node for as long as nothing is found.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    family::Family,
    maps::{Range, RangeKey, set},
};

/// Length in bits and network address of a prefix.
pub type Prefix<F> = (u32, <F as Family>::Addr);

/// What the maps must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ropes<F: Family> {
    /// [`crate::maps::Settings::rope`].
    pub rope: u64,
    /// [`crate::maps::Settings::anywhere`].
    pub anywhere: u32,
    /// By length and network; [`RangeKey`] without its slot.
    pub ranges: BTreeMap<Prefix<F>, Range>,
}

impl<F: Family> Ropes<F> {
    /// Nothing is in any set.
    pub const EMPTY: Self = Self { rope: 0, anywhere: set::NONE, ranges: BTreeMap::new() };

    /// Of prefixes and their sets.
    pub fn new(prefixes: &BTreeMap<Prefix<F>, u32>) -> Self {
        let anywhere = prefixes.get(&(0, F::UNSPECIFIED)).copied().unwrap_or(set::NONE);
        let proper = || prefixes.iter().filter(|((length, _), _)| *length > 0);
        let lengths: BTreeSet<u32> = proper().map(|((length, _), _)| *length).collect();
        let tree = Tree(lengths.into_iter().collect());

        // Each prefix and marker, with the rope to what is longer.
        let mut ropes: HashMap<Prefix<F>, u64> = HashMap::with_capacity(prefixes.len());
        for ((length, network), _) in proper() {
            for (at, longer) in tree.way(*length) {
                let rope = ropes.entry((at, F::network(network, at))).or_default();
                if at != *length {
                    *rope = longer;
                }
            }
        }
        let longest = |(length, network): Prefix<F>| {
            let mut lengths = tree.0.iter().rev().skip_while(|other| **other > length);
            let set = lengths.find_map(|&at| prefixes.get(&(at, F::network(&network, at))));
            set.copied().unwrap_or(anywhere)
        };
        let range = |(prefix, rope)| (prefix, Range { rope, set: longest(prefix), _pad: [0; 4] });
        let ranges = ropes.into_iter().map(range).collect();
        Self { rope: tree.rope(0, tree.0.len()), anywhere, ranges }
    }

    /// The range of a key in whatever slot.
    pub fn get(&self, key: &RangeKey<F>) -> Option<Range> {
        self.ranges.get(&(key.length, key.network)).copied()
    }
}

/// The lengths that occur, in order. The root of a part is its middle.
struct Tree(Vec<u32>);

impl Tree {
    /// The lengths at which a prefix of `length` leaves something on the way to its own, which is the last, and the rope
    /// from each to what is longer.
    fn way(&self, length: u32) -> Vec<(u32, u64)> {
        let (mut low, mut high) = (0, self.0.len());
        let mut way = Vec::new();
        while low < high {
            let middle = low.midpoint(high);
            let at = self.0[middle];
            if at <= length {
                way.push((at, self.rope(middle + 1, high)));
                low = middle + 1;
            } else {
                high = middle;
            }
            if at == length {
                break;
            }
        }
        way
    }

    /// The lengths that are tried one after another in a part as long as none is found, the first in the lowest byte.
    fn rope(&self, low: usize, mut high: usize) -> u64 {
        let (mut rope, mut shift) = (0, 0);
        while low < high {
            high = low.midpoint(high);
            rope |= u64::from(self.0[high]) << shift;
            shift += 8;
        }
        rope
    }
}

#[cfg(test)]
mod tests;
