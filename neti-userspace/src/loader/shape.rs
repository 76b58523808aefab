//! Compares a pinned map with the one in the object before it is used again: aya takes a pinned map
//! of another key size, capacity or flags without a word.

use std::{fmt, path::Path};

use anyhow::{Context, Result, bail};
use aya::maps::MapInfo;
use aya_obj::{EbpfSectionKind, Map, Object};

use super::{pins::Pins, room};

/// aya-log's ring buffer: it belongs to one daemon and is not pinned.
const LOG: &str = "AYA_LOGS";

/// A map as the object declares it.
#[derive(Debug)]
pub struct Declared {
    pub name: String,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    /// `enum bpf_map_type`.
    kind: u32,
    key: u32,
    value: u32,
    entries: u32,
    /// `BPF_F_*`: how it allocates.
    flags: u32,
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, key, value, entries, flags } = self;
        write!(
            f,
            "type {kind}, key of {key} bytes, value of {value} bytes, {entries} entries, flags {flags:#x}"
        )
    }
}

/// The maps of `object` that are pinned: all but those of global variables and logging.
pub fn pinned_maps(object: &[u8]) -> Result<Vec<Declared>> {
    let object = Object::parse(object).context("parsing the object with the kernel programs")?;
    Ok(object
        .maps
        .iter()
        .filter(|(name, map)| {
            let declared = [EbpfSectionKind::Maps, EbpfSectionKind::BtfMaps];
            declared.contains(&map.section_kind()) && name.as_str() != LOG
        })
        .map(|(name, map)| Declared::of(name, map))
        .collect())
}

impl Declared {
    pub fn of(name: &str, map: &Map) -> Self {
        Self {
            name: name.to_owned(),
            shape: Shape {
                kind: map.map_type(),
                key: map.key_size(),
                value: map.value_size(),
                entries: map.max_entries(),
                flags: map.map_flags(),
            },
        }
    }
}

/// Errors if `declared` is pinned in another shape; those of members may be larger.
pub fn check(pins: &Pins, declared: &Declared) -> Result<()> {
    let path = pins.map(&declared.name);
    if !path.exists() {
        return Ok(());
    }
    let pinned = pinned_shape(&path)
        .with_context(|| format!("map {}: reading {}", declared.name, path.display()))?;
    let mut wanted = declared.shape;
    if room::MAPS.contains(&declared.name.as_str()) {
        wanted.entries = wanted.entries.max(pinned.entries);
    }
    if pinned != wanted {
        bail!(
            "map {}: {} is pinned with {pinned}, but must have {}; `neti down --instance {}` \
             removes it",
            declared.name,
            path.display(),
            wanted,
            pins.instance(),
        );
    }
    Ok(())
}

fn pinned_shape(path: &Path) -> Result<Shape> {
    let info = MapInfo::from_pin(path)?;
    Ok(Shape {
        kind: info.map_type()? as u32,
        key: info.key_size(),
        value: info.value_size(),
        entries: info.max_entries(),
        flags: info.map_flags(),
    })
}
