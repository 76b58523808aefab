//! `neti show members`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use anyhow::Result;
use neti_common::{
    family::{Family, V4},
    maps::{Path, path_flag},
};
use serde::Serialize;

use crate::{
    loader::pins::Pins,
    membership::HostId,
    output::Row,
    state::MapState,
    status,
    store::{Store, kernel::KernelStore},
};

/// A member as this host reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<HostId>,
    /// Its primary overlay address.
    overlay: Ipv4Addr,
    overlays: BTreeSet<Ipv4Addr>,
    /// Where packets for it go.
    real: Ipv4Addr,
    /// Where packets from it may come from.
    reals: Vec<Ipv4Addr>,
    generation: u32,
    /// Its own neighbour entry is the next hop.
    redirect: bool,
}

impl Row for Shown {
    const TITLES: &'static [&'static str] =
        &["MEMBER", "OVERLAY", "REAL", "ALL REAL", "GEN", "NEXT HOP"];

    fn cells(&self) -> Vec<String> {
        let reals: Vec<_> = self.reals.iter().map(Ipv4Addr::to_string).collect();
        vec![
            self.id.as_ref().map_or_else(|| "-".to_owned(), HostId::to_string),
            self.overlay.to_string(),
            self.real.to_string(),
            reals.join(","),
            self.generation.to_string(),
            if self.redirect { "itself" } else { "gateway" }.to_owned(),
        ]
    }
}

pub fn read(pins: &Pins) -> Result<Vec<Shown>> {
    let state = KernelStore::open(pins)?.read()?;
    // Without the daemon's file there are no names, and everything else all the same.
    let names = status::read(pins.instance()).ok().flatten().map(|status| status.names);
    Ok(members(&state, &names.unwrap_or_default()))
}

fn members(state: &MapState, names: &BTreeMap<Ipv4Addr, HostId>) -> Vec<Shown> {
    let mut members: BTreeMap<Ipv4Addr, Shown> = BTreeMap::new();
    for path in state.overlays.values() {
        let primary = path.primary.into();
        members
            .entry(primary)
            .or_insert_with(|| member(path, names.get(&primary).cloned()))
            .overlays
            .insert(path.overlay.into());
    }
    members.into_values().collect()
}

fn member(path: &Path<V4>, id: Option<HostId>) -> Shown {
    let used = path.reals.iter().filter(|real| **real != V4::UNSPECIFIED);
    Shown {
        id,
        overlay: path.primary.into(),
        overlays: BTreeSet::new(),
        real: path.real.into(),
        reals: used.map(|real| Ipv4Addr::from(*real)).collect(),
        generation: path.generation,
        redirect: path.flags & path_flag::REDIRECT != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_host_are_one_member() {
        let path = |overlay| Path::<V4> {
            overlay,
            real: [10, 0, 0, 11],
            reals: [[10, 0, 0, 11], V4::UNSPECIFIED],
            primary: [100, 64, 0, 7],
            host: 1,
            generation: 3,
            flags: path_flag::REDIRECT,
            _pad: [0; 3],
        };
        let mut state = MapState::empty();
        for overlay in [[100, 64, 0, 7], [100, 64, 0, 9]] {
            state.overlays.insert(overlay, path(overlay));
        }
        let primary = Ipv4Addr::new(100, 64, 0, 7);
        let names = BTreeMap::from([(primary, "sierra".parse().unwrap())]);
        let shown = members(&state, &names);
        assert_eq!(
            serde_json::to_string(&shown).unwrap(),
            "[{\"id\":\"sierra\",\"overlay\":\"100.64.0.7\",\"overlays\":[\"100.64.0.7\",\
             \"100.64.0.9\"],\"real\":\"10.0.0.11\",\"reals\":[\"10.0.0.11\"],\"generation\":3,\
             \"redirect\":true}]"
        );
        let nameless = &members(&state, &BTreeMap::new())[0];
        assert_eq!(nameless.cells()[0], "-");
        assert!(!serde_json::to_string(nameless).unwrap().contains("id"));
    }
}
