//! The kernel's maps, opened by their pins: what the daemon fills, `neti show` reads and the
//! programs use.

use std::{borrow::Borrow, collections::BTreeMap};

use anyhow::{Context, Result, anyhow};
use aya::{
    Pod,
    maps::{Array, HashMap, IterableMap, Map, MapData, MapError},
};
use neti_common::{
    family::{Family, V4, V6},
    maps::{Member, Path, Settings, name},
};

use super::Store;
use crate::{
    diff::{Changes, FamilyChanges, InForce},
    loader::{bpf, pins::Pins},
    state::{FamilyState, MapState},
};

mod bloom;
mod slots;

use bloom::Bloom;
use slots::Slots;

/// The maps of one instance that the daemon fills.
pub struct KernelStore {
    v4: FamilyStore<V4>,
    v6: FamilyStore<V6>,
    slots: Slots,
    vlans: Array<MapData, u64>,
    slot: Array<MapData, u32>,
}

/// Those of one family.
struct FamilyStore<F: Family<Addr: Pod>> {
    members: HashMap<MapData, F::Addr, Member<F>>,
    bloom: Bloom<F>,
    overlays: HashMap<MapData, F::Addr, Path<F>>,
    settings: Array<MapData, Settings<F>>,
}

impl KernelStore {
    pub fn open(pins: &Pins) -> Result<Self> {
        Ok(Self {
            v4: FamilyStore::open(pins)?,
            v6: FamilyStore::open(pins)?,
            slots: Slots::open(pins)?,
            vlans: open(pins, name::VLANS, Map::Array)?,
            slot: open(pins, name::SETTINGS_SLOT, Map::Array)?,
        })
    }

    /// The settings in force.
    pub fn settings(&self) -> Result<(Settings<V4>, Settings<V6>)> {
        let slot = self.slot()?;
        Ok((self.v4.settings(slot)?, self.v6.settings(slot)?))
    }

    /// The part of each family that is in force, without the rules, which are far more to read.
    pub fn families(&self) -> Result<(FamilyState<V4>, FamilyState<V6>)> {
        self.families_of(self.slot()?)
    }

    fn families_of(&self, slot: u32) -> Result<(FamilyState<V4>, FamilyState<V6>)> {
        Ok((self.v4.read(slot)?, self.v6.read(slot)?))
    }

    fn slot(&self) -> Result<u32> {
        self.slot.get(&0, 0).context(name::SETTINGS_SLOT)
    }

    fn put(&mut self, changes: &Changes) -> Result<()> {
        self.v4.put(&changes.v4)?;
        self.v6.put(&changes.v6)
    }

    fn remove(&mut self, changes: &Changes) -> Result<()> {
        self.v4.remove(&changes.v4)?;
        self.v6.remove(&changes.v6)
    }

    /// Writes the slots that are not in force and then flips: a packet never meets a torn value, nor
    /// something of before with something of after.
    fn put_in_force(&mut self, InForce { v4, v6, filter }: &InForce) -> Result<()> {
        let idle = 1 - self.slot()?.min(1);
        bpf::wait_for_packets();
        self.slots.put(idle, filter)?;
        self.v4.set_settings(idle, v4)?;
        self.v6.set_settings(idle, v6)?;
        self.slot.set(0, idle, 0).context(name::SETTINGS_SLOT)
    }
}

impl Store for KernelStore {
    fn read(&mut self) -> Result<MapState> {
        let slot = self.slot()?;
        let (v4, v6) = self.families_of(slot)?;
        let filter = self.slots.read(slot, &v4.settings, &v6.settings)?;
        let mut state = MapState { v4, v6, filter, ..MapState::empty() };
        words(&self.vlans, &mut state.vlans).context(name::VLANS)?;
        Ok(state)
    }

    fn apply(&mut self, changes: &Changes) -> Result<()> {
        // Where there is no room for both, what goes makes room for what comes.
        let put = self.put(changes).or_else(|_| {
            self.remove(changes)?;
            self.put(changes)
        });
        set(&mut self.vlans, &changes.vlans).context(name::VLANS)?;
        // Whatever does not fit: the mode can be changed, and who has left is let in no longer.
        let in_force = match &changes.in_force {
            Some(in_force) => self.put_in_force(in_force),
            None => Ok(()),
        };
        self.remove(changes)?;
        put.and(in_force)
    }
}

impl<F: Family<Addr: Pod>> FamilyStore<F> {
    fn open(pins: &Pins) -> Result<Self> {
        Ok(Self {
            members: open(pins, F::MAPS.members, Map::HashMap)?,
            bloom: Bloom::open(pins)?,
            overlays: open(pins, F::MAPS.overlays, Map::HashMap)?,
            settings: open(pins, F::MAPS.settings, Map::Array)?,
        })
    }

    fn settings(&self, slot: u32) -> Result<Settings<F>> {
        let settings = self.settings.get(&slot, 0).context(F::MAPS.settings)?;
        // A map that nobody has filled is all zeros, which as prefixes would match everything.
        Ok(if settings.valid == 0 { Settings::UNSET } else { Settings { slot: 0, ..settings } })
    }

    fn set_settings(&mut self, slot: u32, settings: &Settings<F>) -> Result<()> {
        self.settings.set(slot, Settings { slot, ..*settings }, 0).context(F::MAPS.settings)
    }

    fn read(&self, slot: u32) -> Result<FamilyState<F>> {
        Ok(FamilyState {
            settings: self.settings(slot)?,
            members: entries(&self.members, F::MAPS.members)?,
            overlays: entries(&self.overlays, F::MAPS.overlays)?,
        })
    }

    fn put(&mut self, changes: &FamilyChanges<F>) -> Result<()> {
        put(&self.overlays, F::MAPS.overlays, &changes.put_overlays, |path| path.overlay)?;
        self.bloom.add(changes.put_members.iter().map(|member| member.real))?;
        put(&self.members, F::MAPS.members, &changes.put_members, |member| member.real)?;
        Ok(())
    }

    fn remove(&mut self, changes: &FamilyChanges<F>) -> Result<()> {
        bpf::delete_batch(self.members.map(), &changes.remove_members).context(F::MAPS.members)?;
        bpf::delete_batch(self.overlays.map(), &changes.remove_overlays)
            .context(F::MAPS.overlays)?;
        if self.bloom.is_worn(changes.remove_members.len()) {
            let members = entries(&self.members, F::MAPS.members)?;
            self.bloom.renew(members.into_keys())?;
        }
        Ok(())
    }
}

/// Opens a pinned map as the typed map that its user expects.
pub fn open<T>(pins: &Pins, name: &str, kind: impl FnOnce(MapData) -> Map) -> Result<T>
where
    T: TryFrom<Map, Error = MapError>,
{
    let path = pins.map(name);
    let data = MapData::from_pin(&path);
    let data = data.with_context(|| format!("map {name}: opening {}", path.display()))?;
    T::try_from(kind(data)).with_context(|| format!("map {name}"))
}

fn entries<K: Pod + Ord, V: Pod>(
    map: &HashMap<MapData, K, V>,
    name: &'static str,
) -> Result<BTreeMap<K, V>> {
    let entries = bpf::lookup_all(map.map()).with_context(|| format!("map {name}: reading it"))?;
    Ok(entries.into_iter().collect())
}

fn put<K: Pod, V: Pod>(
    map: &HashMap<MapData, K, V>,
    name: &'static str,
    values: &[V],
    key: impl Fn(&V) -> K,
) -> Result<()> {
    let keys: Vec<K> = values.iter().map(key).collect();
    bpf::update_batch(map.map(), &keys, values).map_err(|error| {
        full(name, map, error.into(), "; neti makes a larger one when it is started again")
    })
}

/// Says that a map is full where the kernel says E2BIG or ENOSPC, and what becomes of that.
fn full<K, V>(
    name: &'static str,
    map: &impl IterableMap<K, V>,
    error: anyhow::Error,
    then: &str,
) -> anyhow::Error
where
    K: Pod,
{
    let errno = error.root_cause().downcast_ref::<std::io::Error>();
    let errno = errno.and_then(std::io::Error::raw_os_error);
    let entries = map.map().info().map(|info| info.max_entries()).unwrap_or(0);
    match errno {
        Some(libc::E2BIG | libc::ENOSPC) => {
            anyhow!("map {name}: full; it has room for {entries} entries{then}")
        }
        _ => error.context(format!("map {name}")),
    }
}

fn words(map: &Array<impl Borrow<MapData>, u64>, into: &mut [u64]) -> Result<(), MapError> {
    for (index, word) in into.iter_mut().enumerate() {
        *word = map.get(&(index as u32), 0)?;
    }
    Ok(())
}

fn set(map: &mut Array<MapData, u64>, words: &[(u32, u64)]) -> Result<(), MapError> {
    words.iter().try_for_each(|(index, word)| map.set(*index, word, 0))
}
