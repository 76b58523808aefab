//! Makes what [`crate::rules`] searches for the longest prefix of an address: a hash table of prefixes, and which lengths
//! are worth trying after one is found (Waldvogel et al., "Scalable High Speed IP Routing Lookups", 1997).
//!
//! The lengths that occur are the nodes of a binary tree. Each prefix leaves a marker at every shorter length on the way
//! to its own node, by which a search learns that there is something longer; a rope is the way down from a node for as
//! long as nothing is found. Markers take room, steps take time: the tree has as few steps as there is room for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::{
    family::Family,
    maps::{RANGES_KEPT, Range, RangeKey, set},
};

use self::tree::{Node, Trees};

mod tree;

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
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        for (length, _) in prefixes.keys().filter(|(length, _)| *length > 0) {
            *counts.entry(*length).or_default() += 1;
        }
        // Few prefixes find room in any tree.
        let tree = match Self::is_small(&counts) {
            true => Node::balanced(&counts.keys().copied().collect::<Vec<_>>()),
            false => Self::trees(&counts).shallow(RANGES_KEPT as usize),
        };
        Self::in_tree(&tree, prefixes)
    }

    /// The same with the tree of all their lengths.
    fn in_tree(tree: &Option<Box<Node>>, prefixes: &BTreeMap<Prefix<F>, u32>) -> Self {
        let anywhere = prefixes.get(&(0, F::UNSPECIFIED)).copied().unwrap_or(set::NONE);
        let proper = || prefixes.iter().filter(|((length, _), _)| *length > 0);
        let lengths: BTreeSet<u32> = proper().map(|((length, _), _)| *length).collect();

        // Each prefix and marker, with the rope to what is longer.
        let mut ropes: HashMap<Prefix<F>, u64> = HashMap::with_capacity(prefixes.len());
        for ((length, network), _) in proper() {
            for (at, longer) in Node::way(tree, *length) {
                let rope = ropes.entry((at, F::network(network, at))).or_default();
                if at != *length {
                    *rope = longer;
                }
            }
        }
        let longest = |(length, network): Prefix<F>| {
            let mut lengths = lengths.range(..=length).rev();
            let set = lengths.find_map(|&at| prefixes.get(&(at, F::network(&network, at))));
            set.copied().unwrap_or(anywhere)
        };
        let range = |(prefix, rope)| (prefix, Range { rope, set: longest(prefix), _pad: [0; 4] });
        let ranges = ropes.into_iter().map(range).collect();
        Self { rope: Node::rope(tree), anywhere, ranges }
    }

    /// Whether a host has room for so many prefixes of each length, and their markers.
    pub fn has_room(counts: &BTreeMap<u32, usize>) -> bool {
        Self::is_small(counts) || Self::trees(counts).fewest() <= RANGES_KEPT as usize
    }

    /// Whether there would be room even if each prefix left a marker at every step.
    fn is_small(counts: &BTreeMap<u32, usize>) -> bool {
        counts.values().sum::<usize>() * Self::STEPS <= RANGES_KEPT as usize
    }

    /// No more than a rope has bytes, and enough for a balanced tree of all lengths.
    const STEPS: usize = F::BITS.ilog2() as usize + 1;

    /// The trees of these lengths that a search can go down in.
    fn trees(counts: &BTreeMap<u32, usize>) -> Trees {
        let proper = counts.range(1..).map(|(length, count)| (*length, *count));
        Trees::new(proper.collect(), Self::STEPS)
    }

    /// The range of a key in whatever slot.
    pub fn get(&self, key: &RangeKey<F>) -> Option<Range> {
        self.ranges.get(&(key.length, key.network)).copied()
    }
}

#[cfg(test)]
mod tests;
