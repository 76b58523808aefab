//! The maps of the filter, of which each has two slots. The one that is not in force is brought to what
//! it must hold by what differs from what it held when it was last in force.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, Result};
use aya::{
    Pod,
    maps::{Array, HashMap, IterableMap, Map, MapData},
};
use neti_common::{
    family::{Family, V4, V6},
    maps::{CLASS_WORDS, Range, RangeKey, SLOT_SETS_WORDS, Settings, SubjectKey, name},
    ropes::{Prefix, Ropes},
};

use super::{full, open};
use crate::{
    loader::{bpf, pins::Pins},
    state::{
        FilterState,
        filter::{Policy, trimmed},
    },
};

/// The maps, and what each slot holds where that is known.
pub struct Slots {
    classes: Array<MapData, u64>,
    sets: Array<MapData, u64>,
    subjects: HashMap<MapData, SubjectKey, u32>,
    v4: HashMap<MapData, RangeKey<V4>, Range>,
    v6: HashMap<MapData, RangeKey<V6>, Range>,
    held: [Option<Arc<FilterState>>; 2],
}

impl Slots {
    pub fn open(pins: &Pins) -> Result<Self> {
        Ok(Self {
            classes: open(pins, name::CLASSES, Map::Array)?,
            sets: open(pins, name::SETS, Map::Array)?,
            subjects: open(pins, name::SUBJECTS, Map::HashMap)?,
            v4: open(pins, V4::MAPS.ranges, Map::HashMap)?,
            v6: open(pins, V6::MAPS.ranges, Map::HashMap)?,
            held: [None, None],
        })
    }

    /// What `slot` holds, with the settings that are in force with it.
    pub fn read(
        &mut self,
        slot: u32,
        v4: &Settings<V4>,
        v6: &Settings<V6>,
    ) -> Result<Arc<FilterState>> {
        let Settings { mode, echo, members, others, .. } = *v4;
        let held = FilterState {
            v4: Ropes { rope: v4.rope, anywhere: v4.anywhere, ranges: ranges(&self.v4, slot)? },
            v6: Ropes { rope: v6.rope, anywhere: v6.anywhere, ranges: ranges(&self.v6, slot)? },
            policy: Policy { mode, echo, members, others },
            ..self.shared(slot)?
        };
        let held = Arc::new(held);
        self.held[slot as usize & 1] = Some(held.clone());
        Ok(held)
    }

    /// Brings `slot`, which must not be in force, to what it must hold.
    pub fn put(&mut self, slot: u32, want: &Arc<FilterState>) -> Result<()> {
        // After an error nobody knows what is there.
        let have = match self.held[slot as usize & 1].take() {
            Some(held) => held,
            None => {
                let (v4, v6) = (ranges(&self.v4, slot)?, ranges(&self.v6, slot)?);
                let empty = FilterState::empty();
                Arc::new(FilterState {
                    v4: Ropes { ranges: v4, ..empty.v4 },
                    v6: Ropes { ranges: v6, ..empty.v6 },
                    ..self.shared(slot)?
                })
            }
        };
        words(&self.classes, slot * CLASS_WORDS, &have.classes, &want.classes)
            .context(name::CLASSES)?;
        words(&self.sets, slot * SLOT_SETS_WORDS, &have.sets, &want.sets).context(name::SETS)?;
        let key = |&(kind, number): &(u32, u32)| SubjectKey { slot, kind, number };
        entries(&self.subjects, name::SUBJECTS, key, &have.subjects, &want.subjects)?;
        put_ranges(&self.v4, slot, &have.v4, &want.v4)?;
        put_ranges(&self.v6, slot, &have.v6, &want.v6)?;
        self.held[slot as usize & 1] = Some(want.clone());
        Ok(())
    }

    /// The part of a slot that both families share.
    fn shared(&self, slot: u32) -> Result<FilterState> {
        // Of this slot alone: to read hundreds of thousands of words takes long.
        let of_slot = |map: &Array<MapData, u64>, length: u32| {
            bpf::lookup_array(map.map(), slot * length, length as usize)
        };
        let mut classes = of_slot(&self.classes, CLASS_WORDS).context(name::CLASSES)?;
        if classes.iter().all(|word| *word == 0) {
            classes.clear();
        }
        let sets = trimmed(of_slot(&self.sets, SLOT_SETS_WORDS).context(name::SETS)?);
        let subjects: Vec<(SubjectKey, u32)> =
            bpf::lookup_all(self.subjects.map()).context(name::SUBJECTS)?;
        let ours = subjects.into_iter().filter(|(key, _)| key.slot == slot);
        let subjects = ours.map(|(key, set)| ((key.kind, key.number), set)).collect();
        Ok(FilterState { classes, sets, subjects, ..FilterState::empty() })
    }
}

fn ranges<F: Family>(
    map: &HashMap<MapData, RangeKey<F>, Range>,
    slot: u32,
) -> Result<BTreeMap<Prefix<F>, Range>> {
    let all: Vec<(RangeKey<F>, Range)> = bpf::lookup_all(map.map()).context(F::MAPS.ranges)?;
    let ours = all.into_iter().filter(|(key, _)| key.slot == slot);
    Ok(ours.map(|(key, range)| ((key.length, key.network), range)).collect())
}

fn put_ranges<F: Family>(
    map: &HashMap<MapData, RangeKey<F>, Range>,
    slot: u32,
    have: &Ropes<F>,
    want: &Ropes<F>,
) -> Result<()> {
    let key = |&(length, network): &Prefix<F>| RangeKey { network, length, slot };
    entries(map, F::MAPS.ranges, key, &have.ranges, &want.ranges)
}

/// Brings the entries of a slot from `have` to `want`. What goes is removed first, so that there is room
/// for what comes: nobody looks at either.
fn entries<K: Pod, L: Ord, V: Pod + Eq>(
    map: &HashMap<MapData, K, V>,
    name: &'static str,
    key: impl Fn(&L) -> K,
    have: &BTreeMap<L, V>,
    want: &BTreeMap<L, V>,
) -> Result<()> {
    let gone: Vec<K> = have.keys().filter(|k| !want.contains_key(k)).map(&key).collect();
    bpf::delete_batch(map.map(), &gone).context(name)?;
    let changed = || want.iter().filter(|(k, value)| have.get(k) != Some(value));
    let keys: Vec<K> = changed().map(|(k, _)| key(k)).collect();
    let values: Vec<V> = changed().map(|(_, value)| *value).collect();
    let put = bpf::update_batch(map.map(), &keys, &values);
    put.map_err(|error| full(name, map, error.into(), ""))
}

/// Brings the words from `first` on from `have` to `want`; the shorter of the two goes on with zeros.
fn words(map: &Array<MapData, u64>, first: u32, have: &[u64], want: &[u64]) -> std::io::Result<()> {
    let at = |words: &[u64], n: usize| words.get(n).copied().unwrap_or(0);
    let changed = |n: &usize| at(have, *n) != at(want, *n);
    let changed: Vec<usize> = (0..have.len().max(want.len())).filter(changed).collect();
    let indices: Vec<u32> = changed.iter().map(|n| first + *n as u32).collect();
    let values: Vec<u64> = changed.iter().map(|n| at(want, *n)).collect();
    bpf::update_batch(map.map(), &indices, &values)
}
