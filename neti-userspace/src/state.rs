//! What the kernel's maps must hold for a view. This is where addresses become bytes.

use std::collections::BTreeMap;

use neti_common::{
    family::{Family, V4},
    maps::{Allow, Member, OPEN_PORT_WORDS, Path, Settings, VLAN_WORDS},
};

use crate::{
    fleet::FleetSettings,
    view::{Me, View},
};

/// The contents of the maps that the daemon fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapState<F: Family = V4> {
    pub settings: Settings<F>,
    /// By real address.
    pub members: BTreeMap<F::Addr, Member<F>>,
    /// By overlay address.
    pub overlays: BTreeMap<F::Addr, Path<F>>,
    pub allow: BTreeMap<AllowKey<F>, Allow>,
    /// A bit per open port, TCP's first, then UDP's.
    pub open_ports: Box<[u64; OPEN_PORT_WORDS as usize]>,
    /// A bit per VLAN id.
    pub vlans: [u64; VLAN_WORDS as usize],
}

/// Length in bits and network address of a prefix.
pub type AllowKey<F = V4> = (u32, <F as Family>::Addr);

impl<F: Family> MapState<F> {
    /// Maps that nobody has filled.
    pub fn empty() -> Self {
        Self {
            settings: Settings::UNSET,
            members: BTreeMap::new(),
            overlays: BTreeMap::new(),
            allow: BTreeMap::new(),
            open_ports: Box::new([0; OPEN_PORT_WORDS as usize]),
            vlans: [0; VLAN_WORDS as usize],
        }
    }
}

/// What the maps of host `me` must hold.
pub fn state(me: &Me, fleet: &FleetSettings, view: &View) -> MapState {
    let _ = (me, fleet, view);
    MapState::empty()
}
