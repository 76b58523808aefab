//! Room for the members of a large fleet.
//!
//! The kernel makes a bucket for each entry that a hash map has room for, used or not. So the object declares maps
//! that are large enough for most fleets, and a host of a larger one makes larger maps before its programs are loaded.
//! A map that is pinned and too small is replaced by one that holds the same. Programs that are attached go on with
//! the smaller one, until those that are loaded take their place.

use std::{fs, net::IpAddr};

use anyhow::{Context, Result};
use aya::{Pod, maps::MapData};
use aya_obj::Object;
use neti_common::{
    family::{Family, V4, V6},
    maps::{MEMBERS_KEPT, Member, Path},
};

use super::{OBJECT, bpf, pins::Pins, shape};
use crate::membership::Members;

/// The maps that may be larger than the object declares them.
pub(super) const MAPS: [&str; 4] =
    [V4::MAPS.members, V4::MAPS.overlays, V6::MAPS.members, V6::MAPS.overlays];

/// The fleet may have so many times as many addresses before its maps are full.
const HEADROOM: usize = 2;

/// Sees to it that the maps of an instance have room for `members`, with head-room. None becomes smaller.
pub fn provide(pins: &Pins, members: &Members) -> Result<()> {
    let [mut reals, mut overlays] = [Count::default(); 2];
    for record in members.values() {
        record.private.iter().chain(record.public.iter()).for_each(|real| reals.add(real));
        record.overlays.iter().for_each(|overlay| overlays.add(*overlay));
    }
    provide_map::<<V4 as Family>::Addr, Member<V4>>(pins, V4::MAPS.members, reals.v4)?;
    provide_map::<<V4 as Family>::Addr, Path<V4>>(pins, V4::MAPS.overlays, overlays.v4)?;
    provide_map::<<V6 as Family>::Addr, Member<V6>>(pins, V6::MAPS.members, reals.v6)?;
    provide_map::<<V6 as Family>::Addr, Path<V6>>(pins, V6::MAPS.overlays, overlays.v6)
}

/// Addresses by their family.
#[derive(Clone, Copy, Default)]
struct Count {
    v4: usize,
    v6: usize,
}

impl Count {
    fn add(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(_) => self.v4 += 1,
            IpAddr::V6(_) => self.v6 += 1,
        }
    }
}

/// Makes the map `name` if what is pinned, or would be made for the object, is too small for `count` entries.
fn provide_map<K: Pod, V: Pod>(pins: &Pins, name: &str, count: usize) -> Result<()> {
    // The kernel makes so many buckets anyway.
    let room = (count * HEADROOM).next_power_of_two();
    let room = u32::try_from(room).with_context(|| format!("map {name}: {room} entries"))?;
    if room <= MEMBERS_KEPT {
        return Ok(());
    }
    let object = Object::parse(OBJECT).context("parsing the object with the kernel programs")?;
    let map = object.maps.get(name).with_context(|| format!("map {name}: missing"))?;
    let mut larger = map.clone();
    larger.set_max_entries(room);
    let make = || MapData::create(larger, name, None);

    let pin = pins.map(name);
    let made = if pin.exists() {
        shape::check(pins, &shape::Declared::of(name, map))?;
        let pinned = MapData::from_pin(&pin);
        let pinned = pinned.with_context(|| format!("map {name}: opening {}", pin.display()))?;
        if pinned.info()?.max_entries() >= room {
            return Ok(());
        }
        let made = make().with_context(|| format!("map {name}: making it"))?;
        let entries: Vec<(K, V)> = bpf::lookup_all(&pinned).context(name.to_owned())?;
        let (keys, values): (Vec<K>, Vec<V>) = entries.into_iter().unzip();
        bpf::update_batch(&made, &keys, &values).context(name.to_owned())?;
        made
    } else {
        make().with_context(|| format!("map {name}: making it"))?
    };
    tracing::info!("map {name}: made with room for {room} entries");
    replace(pins, name, &made).with_context(|| format!("map {name}: pinning it"))
}

/// Pins a map, in place of one that may be there: one of the two is pinned whatever happens.
fn replace(pins: &Pins, name: &str, map: &MapData) -> Result<()> {
    let draft = pins.map(&format!("{name}_larger"));
    fs::create_dir_all(pins.maps())?;
    // Of a start that was killed here.
    let _ = fs::remove_file(&draft);
    map.pin(&draft)?;
    fs::rename(&draft, pins.map(name))?;
    Ok(())
}
