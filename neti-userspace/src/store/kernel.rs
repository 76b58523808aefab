//! The kernel's maps, opened by their pins: what the daemon fills, `neti show` reads and the
//! programs use.

use std::{borrow::Borrow, collections::BTreeMap};

use anyhow::{Context, Result, anyhow};
use aya::{
    Pod,
    maps::{Array, HashMap, IterableMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key},
};
use neti_common::{
    family::{Family, V4, V6},
    maps::{Allow, Member, Path, Settings, name},
};

use super::Store;
use crate::{
    diff::{Changes, FamilyChanges},
    loader::{bpf, pins::Pins},
    state::{FamilyState, MapState},
};

/// The maps of one instance that the daemon fills.
pub struct KernelStore {
    v4: FamilyStore<V4>,
    v6: FamilyStore<V6>,
    open_ports: Array<MapData, u64>,
    vlans: Array<MapData, u64>,
    slot: Array<MapData, u32>,
}

/// Those of one family.
struct FamilyStore<F: Family<Addr: Pod>> {
    members: HashMap<MapData, F::Addr, Member<F>>,
    overlays: HashMap<MapData, F::Addr, Path<F>>,
    allow: LpmTrie<MapData, F::Addr, Allow>,
    settings: Array<MapData, Settings<F>>,
}

impl KernelStore {
    pub fn open(pins: &Pins) -> Result<Self> {
        Ok(Self {
            v4: FamilyStore::open(pins)?,
            v6: FamilyStore::open(pins)?,
            open_ports: open(pins, name::OPEN_PORTS, Map::Array)?,
            vlans: open(pins, name::VLANS, Map::Array)?,
            slot: open(pins, name::SETTINGS_SLOT, Map::Array)?,
        })
    }

    /// The settings in force.
    pub fn settings(&self) -> Result<(Settings<V4>, Settings<V6>)> {
        let slot = self.slot()?;
        Ok((self.v4.settings(slot)?, self.v6.settings(slot)?))
    }

    fn slot(&self) -> Result<u32> {
        self.slot.get(&0, 0).context(name::SETTINGS_SLOT)
    }

    /// Writes the slots that are not in force and then flips: the programs never see a torn value,
    /// nor one family's old settings with the other's new ones.
    fn set_settings(&mut self, (v4, v6): &(Settings<V4>, Settings<V6>)) -> Result<()> {
        let idle = 1 - self.slot()?.min(1);
        self.v4.set_settings(idle, v4)?;
        self.v6.set_settings(idle, v6)?;
        self.slot.set(0, idle, 0).context(name::SETTINGS_SLOT)
    }
}

impl Store for KernelStore {
    fn read(&mut self) -> Result<MapState> {
        let slot = self.slot()?;
        let mut state =
            MapState { v4: self.v4.read(slot)?, v6: self.v6.read(slot)?, ..MapState::empty() };
        words(&self.open_ports, state.open_ports.as_mut_slice()).context(name::OPEN_PORTS)?;
        words(&self.vlans, &mut state.vlans).context(name::VLANS)?;
        Ok(state)
    }

    fn apply(&mut self, changes: &Changes) -> Result<()> {
        let Changes { v4, v6, open_ports, vlans, settings } = changes;
        self.v4.put(v4)?;
        self.v6.put(v6)?;
        set(&mut self.open_ports, open_ports).context(name::OPEN_PORTS)?;
        set(&mut self.vlans, vlans).context(name::VLANS)?;
        if let Some(settings) = settings {
            self.set_settings(settings)?;
        }
        self.v4.remove(v4)?;
        self.v6.remove(v6)
    }
}

impl<F: Family<Addr: Pod>> FamilyStore<F> {
    fn open(pins: &Pins) -> Result<Self> {
        Ok(Self {
            members: open(pins, F::MAPS.members, Map::HashMap)?,
            overlays: open(pins, F::MAPS.overlays, Map::HashMap)?,
            allow: open(pins, F::MAPS.allow, Map::LpmTrie)?,
            settings: open(pins, F::MAPS.settings, Map::Array)?,
        })
    }

    fn settings(&self, slot: u32) -> Result<Settings<F>> {
        let settings = self.settings.get(&slot, 0).context(F::MAPS.settings)?;
        // A map that nobody has filled is all zeros, which as prefixes would match everything.
        Ok(if settings.valid == 0 { Settings::UNSET } else { settings })
    }

    fn set_settings(&mut self, slot: u32, settings: &Settings<F>) -> Result<()> {
        self.settings.set(slot, settings, 0).context(F::MAPS.settings)
    }

    fn read(&self, slot: u32) -> Result<FamilyState<F>> {
        let mut allow = BTreeMap::new();
        for entry in self.allow.iter() {
            let (key, value) = entry.context(F::MAPS.allow)?;
            allow.insert((key.prefix_len(), key.data()), value);
        }
        Ok(FamilyState {
            settings: self.settings(slot)?,
            members: entries(&self.members, F::MAPS.members)?,
            overlays: entries(&self.overlays, F::MAPS.overlays)?,
            allow,
        })
    }

    fn put(&mut self, changes: &FamilyChanges<F>) -> Result<()> {
        put(&self.overlays, F::MAPS.overlays, &changes.put_overlays, |path| path.overlay)?;
        put(&self.members, F::MAPS.members, &changes.put_members, |member| member.real)?;
        for ((length, network), allow) in &changes.put_allow {
            let put = self.allow.insert(&Key::new(*length, *network), allow, 0);
            put.map_err(|error| full(F::MAPS.allow, &self.allow, error.into()))?;
        }
        Ok(())
    }

    fn remove(&mut self, changes: &FamilyChanges<F>) -> Result<()> {
        for (length, network) in &changes.remove_allow {
            match self.allow.remove(&Key::new(*length, *network)) {
                Err(error) if !is_absent(&error) => return Err(error).context(F::MAPS.allow),
                _ => {}
            }
        }
        bpf::delete_batch(self.members.map(), &changes.remove_members).context(F::MAPS.members)?;
        bpf::delete_batch(self.overlays.map(), &changes.remove_overlays).context(F::MAPS.overlays)
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
    bpf::update_batch(map.map(), &keys, values).map_err(|error| full(name, map, error.into()))
}

/// Says that a map is full where the kernel says E2BIG or ENOSPC.
fn full<K, V>(
    name: &'static str,
    map: &impl IterableMap<K, V>,
    error: anyhow::Error,
) -> anyhow::Error
where
    K: Pod,
{
    let errno = error.root_cause().downcast_ref::<std::io::Error>();
    let errno = errno.and_then(std::io::Error::raw_os_error);
    let entries = map.map().info().map(|info| info.max_entries()).unwrap_or(0);
    match errno {
        Some(libc::E2BIG | libc::ENOSPC) => {
            anyhow!("map {name}: full; it has room for {entries} entries")
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

/// Whether an element was not there, which is as well as removed.
pub fn is_absent(error: &MapError) -> bool {
    matches!(error, MapError::KeyNotFound) || bpf::is_errno(error, libc::ENOENT)
}
