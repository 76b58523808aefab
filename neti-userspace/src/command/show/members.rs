//! `neti show members`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::Result;
use neti_common::{
    family::Family,
    maps::{Path, path_flag},
};
use serde::Serialize;

use crate::{
    loader::pins::Pins, membership::HostId, output::Row, rules::numbers::NOBODY,
    state::FamilyState, status::names, store::kernel::KernelStore,
};

/// A member as this host reaches it by one address family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<HostId>,
    /// Its primary overlay address.
    overlay: IpAddr,
    overlays: BTreeSet<IpAddr>,
    /// Where packets for it go.
    real: IpAddr,
    /// Where packets from it may come from.
    reals: Vec<IpAddr>,
    generation: u32,
    /// Its own neighbour entry is the next hop.
    redirect: bool,
}

impl Row for Shown {
    const TITLES: &'static [&'static str] =
        &["MEMBER", "OVERLAY", "REAL", "ALL REAL", "GEN", "NEXT HOP"];

    fn cells(&self) -> Vec<String> {
        let reals: Vec<_> = self.reals.iter().map(IpAddr::to_string).collect();
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
    let (v4, v6) = KernelStore::open(pins)?.families()?;
    // Without the daemon's file there are no names, and everything else all the same.
    let names = names::read(pins.instance()).unwrap_or_default();
    Ok([members(&v4, &names), members(&v6, &names)].concat())
}

fn members<F: Family>(state: &FamilyState<F>, names: &BTreeMap<IpAddr, HostId>) -> Vec<Shown> {
    let mut members: BTreeMap<IpAddr, Shown> = BTreeMap::new();
    // An address of `nat_overrides` is no member's.
    for path in state.overlays.values().filter(|path| path.host != NOBODY) {
        let primary = F::to_ip(&path.primary);
        members
            .entry(primary)
            .or_insert_with(|| member(path, names.get(&primary).cloned()))
            .overlays
            .insert(F::to_ip(&path.overlay));
    }
    members.into_values().collect()
}

fn member<F: Family>(path: &Path<F>, id: Option<HostId>) -> Shown {
    let used = path.reals.iter().filter(|real| **real != F::UNSPECIFIED);
    Shown {
        id,
        overlay: F::to_ip(&path.primary),
        overlays: BTreeSet::new(),
        real: F::to_ip(&path.real),
        reals: used.map(F::to_ip).collect(),
        generation: path.generation,
        redirect: path.flags & path_flag::REDIRECT != 0,
    }
}

#[cfg(test)]
mod tests {
    use neti_common::family::{V4, V6};

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A member with two overlay addresses, the first of them the primary one.
    fn state<F: Family>(overlays: [&str; 2], real: &str) -> FamilyState<F> {
        let address = |text| F::of(ip(text)).unwrap();
        let [primary, other] = overlays.map(address);
        let path = |overlay| Path::<F> {
            overlay,
            real: address(real),
            reals: [address(real), F::UNSPECIFIED],
            primary,
            host: 1,
            generation: 3,
            flags: path_flag::REDIRECT,
            _pad: [0; 7],
        };
        let overlays = [primary, other].map(|overlay| (overlay, path(overlay))).into();
        FamilyState { overlays, ..FamilyState::empty() }
    }

    #[test]
    fn addresses_of_one_host_are_one_member() {
        let state = state::<V4>(["100.64.0.7", "100.64.0.9"], "10.0.0.11");
        let names = BTreeMap::from([(ip("100.64.0.7"), "sierra".parse().unwrap())]);
        assert_eq!(
            serde_json::to_string(&members(&state, &names)).unwrap(),
            "[{\"id\":\"sierra\",\"overlay\":\"100.64.0.7\",\"overlays\":[\"100.64.0.7\",\
             \"100.64.0.9\"],\"real\":\"10.0.0.11\",\"reals\":[\"10.0.0.11\"],\"generation\":3,\
             \"redirect\":true}]"
        );
        let nameless = &members(&state, &BTreeMap::new())[0];
        assert_eq!(nameless.cells()[0], "-");
        assert!(!serde_json::to_string(nameless).unwrap().contains("id"));
    }

    #[test]
    fn what_stands_for_another_address_is_no_member() {
        let mut state = state::<V4>(["100.64.0.7", "100.64.0.9"], "10.0.0.11");
        state.overlays.values_mut().for_each(|path| path.host = NOBODY);
        assert_eq!(members(&state, &BTreeMap::new()), []);
    }

    #[test]
    fn shows_either_family() {
        let shown = members(&state::<V6>(["fd64::7", "fd64::9"], "fd00:1::11"), &BTreeMap::new());
        assert_eq!(shown.len(), 1);
        let expected = ["-", "fd64::7", "fd00:1::11", "fd00:1::11", "3", "itself"];
        assert_eq!(shown[0].cells(), expected);
    }
}
