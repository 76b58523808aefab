//! The Bloom filter of the members' real addresses. A bit is set before its member is there, and stays when the member goes:
//! one that is set for nobody costs a look into the map of members, one that is missing would lock a member out. When
//! many members have gone, the bits are made anew from those that are there.

use std::{collections::BTreeSet, marker::PhantomData};

use anyhow::{Context, Result};
use aya::{
    Pod,
    maps::{Array, IterableMap, Map, MapData},
};
use neti_common::{
    family::Family,
    maps::bloom::{WORDS, place},
};

use super::open;
use crate::loader::{bpf, pins::Pins};

/// So many members may go before it is asked whom the bits are for.
const FEW: u32 = 100_000;

/// The filter of one family.
pub struct Bloom<F: Family<Addr: Pod>> {
    map: Array<MapData, u64>,
    /// What the map holds, once it was read.
    words: Vec<u64>,
    /// How many bits are set, and how many members have gone since they were made anew.
    set: u32,
    gone: u32,
    family: PhantomData<F>,
}

impl<F: Family<Addr: Pod>> Bloom<F> {
    pub fn open(pins: &Pins) -> Result<Self> {
        let map = open(pins, F::MAPS.bloom, Map::Array)?;
        Ok(Self { map, words: Vec::new(), set: 0, gone: 0, family: PhantomData })
    }

    /// Sets the bits of these addresses.
    pub fn add(&mut self, addresses: impl Iterator<Item = F::Addr>) -> Result<()> {
        let mut changed = BTreeSet::new();
        for address in addresses {
            self.load()?;
            let (index, bit) = place::<F>(&address);
            let word = &mut self.words[index as usize];
            if *word >> bit & 1 == 0 {
                *word |= 1 << bit;
                self.set += 1;
                changed.insert(index);
            }
        }
        self.write(changed)
    }

    /// Counts members that have gone, and tells whether many bits may be for nobody.
    pub fn is_worn(&mut self, gone: usize) -> bool {
        self.gone = self.gone.saturating_add(gone as u32);
        self.gone > FEW.max(self.set / 2)
    }

    /// Sets the bits of these addresses alone: those of all members that are there.
    pub fn renew(&mut self, members: impl Iterator<Item = F::Addr>) -> Result<()> {
        self.load()?;
        let mut words = vec![0; WORDS as usize];
        for address in members {
            let (index, bit) = place::<F>(&address);
            words[index as usize] |= 1 << bit;
        }
        let changed = (0..WORDS).filter(|word| self.words[*word as usize] != words[*word as usize]);
        let changed = changed.collect();
        (self.set, self.gone) = (ones(&words), 0);
        self.words = words;
        self.write(changed)
    }

    fn load(&mut self) -> Result<()> {
        if self.words.is_empty() {
            let words = bpf::lookup_array(self.map.map(), 0, WORDS as usize);
            self.words = words.with_context(|| format!("map {}: reading it", F::MAPS.bloom))?;
            self.set = ones(&self.words);
        }
        Ok(())
    }

    /// After an error it is not known what the map holds.
    fn write(&mut self, changed: BTreeSet<u32>) -> Result<()> {
        let keys: Vec<u32> = changed.into_iter().collect();
        let words: Vec<u64> = keys.iter().map(|index| self.words[*index as usize]).collect();
        let written = bpf::update_batch(self.map.map(), &keys, &words);
        if written.is_err() {
            self.words.clear();
        }
        written.with_context(|| format!("map {}", F::MAPS.bloom))
    }
}

fn ones(words: &[u64]) -> u32 {
    words.iter().map(|word| word.count_ones()).sum()
}
