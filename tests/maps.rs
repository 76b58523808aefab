//! What is in the pinned maps, for those tests to which it matters.

use std::fmt::Debug;

use anyhow::Context;
use aya::{
    Pod,
    maps::{HashMap, Map, MapData},
};
use harness::{family::Family, host::Host};
use neti_common::{
    family::{Family as _, V4, V6},
    maps::{Flow, name::FamilyMaps},
};

/// The flows in one of a family's maps. `A` and `B` are its values for IPv4 and for IPv6.
pub fn flows<A: Pod, B: Pod>(
    host: &Host,
    family: Family,
    name: fn(FamilyMaps) -> &'static str,
) -> anyhow::Result<Vec<String>> {
    match family {
        Family::V4 => keys::<Flow<V4>, A>(host, name(V4::MAPS)),
        Family::V6 => keys::<Flow<V6>, B>(host, name(V6::MAPS)),
    }
}

fn keys<K: Pod + Debug, V: Pod>(host: &Host, name: &str) -> anyhow::Result<Vec<String>> {
    let map = MapData::from_pin(host.pin(&format!("maps/{name}"))?)?;
    let map: HashMap<_, K, V> = Map::HashMap(map).try_into()?;
    let keys = map.keys().map(|key| key.map(|key| format!("{key:?}")));
    keys.collect::<Result<_, _>>().with_context(|| format!("read {name}"))
}
