//! The kernel's maps, opened by their pins: what the daemon fills, `neti show` reads and the
//! programs use.

use std::{borrow::Borrow, collections::BTreeMap};

use anyhow::{Context, Result, anyhow};
use aya::{
    Pod,
    maps::{Array, HashMap, IterableMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key},
};
use neti_common::{
    family::V4,
    maps::{Allow, Member, Path, Settings, name},
};

use super::Store;
use crate::{
    diff::Changes,
    loader::{bpf, pins::Pins},
    state::MapState,
};

/// The maps of one instance that the daemon fills.
pub struct KernelStore {
    members: HashMap<MapData, [u8; 4], Member<V4>>,
    overlays: HashMap<MapData, [u8; 4], Path<V4>>,
    allow: LpmTrie<MapData, [u8; 4], Allow>,
    open_ports: Array<MapData, u64>,
    vlans: Array<MapData, u64>,
    settings: Array<MapData, Settings<V4>>,
    slot: Array<MapData, u32>,
}

impl KernelStore {
    pub fn open(pins: &Pins) -> Result<Self> {
        Ok(Self {
            members: open(pins, name::MEMBERS4, Map::HashMap)?,
            overlays: open(pins, name::OVERLAYS4, Map::HashMap)?,
            allow: open(pins, name::ALLOW4, Map::LpmTrie)?,
            open_ports: open(pins, name::OPEN_PORTS, Map::Array)?,
            vlans: open(pins, name::VLANS, Map::Array)?,
            settings: open(pins, name::SETTINGS4, Map::Array)?,
            slot: open(pins, name::SETTINGS_SLOT, Map::Array)?,
        })
    }

    /// The settings in force.
    pub fn settings(&self) -> Result<Settings<V4>> {
        let slot = self.slot.get(&0, 0).context(name::SETTINGS_SLOT)?;
        let settings = self.settings.get(&slot, 0).context(name::SETTINGS4)?;
        // A map that nobody has filled is all zeros, which as prefixes would match everything.
        Ok(if settings.valid == 0 { Settings::UNSET } else { settings })
    }

    /// Writes the slot that is not in force and then flips: the programs never see a torn value.
    fn set_settings(&mut self, settings: &Settings<V4>) -> Result<()> {
        let idle = 1 - self.slot.get(&0, 0).context(name::SETTINGS_SLOT)?.min(1);
        self.settings.set(idle, settings, 0).context(name::SETTINGS4)?;
        self.slot.set(0, idle, 0).context(name::SETTINGS_SLOT)
    }
}

impl Store for KernelStore {
    fn read(&mut self) -> Result<MapState> {
        let mut state = MapState {
            settings: self.settings()?,
            members: entries(&self.members, name::MEMBERS4)?,
            overlays: entries(&self.overlays, name::OVERLAYS4)?,
            ..MapState::empty()
        };
        for entry in self.allow.iter() {
            let (key, allow) = entry.context(name::ALLOW4)?;
            state.allow.insert((key.prefix_len(), key.data()), allow);
        }
        words(&self.open_ports, state.open_ports.as_mut_slice()).context(name::OPEN_PORTS)?;
        words(&self.vlans, &mut state.vlans).context(name::VLANS)?;
        Ok(state)
    }

    fn apply(&mut self, changes: &Changes) -> Result<()> {
        let Changes {
            put_overlays,
            put_members,
            put_allow,
            open_ports,
            vlans,
            settings,
            remove_allow,
            remove_members,
            remove_overlays,
        } = changes;
        put(&self.overlays, name::OVERLAYS4, put_overlays, |path| path.overlay)?;
        put(&self.members, name::MEMBERS4, put_members, |member| member.real)?;
        for ((length, network), allow) in put_allow {
            let key = Key::new(*length, *network);
            let put = self.allow.insert(&key, allow, 0);
            put.map_err(|error| full(name::ALLOW4, &self.allow, error.into()))?;
        }
        set(&mut self.open_ports, open_ports).context(name::OPEN_PORTS)?;
        set(&mut self.vlans, vlans).context(name::VLANS)?;
        if let Some(settings) = settings {
            self.set_settings(settings)?;
        }
        for (length, network) in remove_allow {
            match self.allow.remove(&Key::new(*length, *network)) {
                Err(error) if !is_absent(&error) => return Err(error).context(name::ALLOW4),
                _ => {}
            }
        }
        bpf::delete_batch(self.members.map(), remove_members).context(name::MEMBERS4)?;
        bpf::delete_batch(self.overlays.map(), remove_overlays).context(name::OVERLAYS4)
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
    map.iter().collect::<Result<_, _>>().context(name)
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
