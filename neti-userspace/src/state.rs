//! What the kernel's maps must hold for a view. This is where addresses become bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;
use neti_common::{
    family::{Family, V4, V6},
    maps::{
        Endpoint, Member, OVERLAYS, Path, Prefix, Settings, VLAN_WORDS, identity, member_flag,
        path_flag,
    },
};

pub use self::filter::FilterState;
use crate::{
    fleet::{FleetSettings, Identity},
    rules::numbers::{self, NOBODY},
    view::{Me, Peer, View},
};

pub mod filter;

/// The contents of the maps that the daemon fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapState {
    pub v4: FamilyState<V4>,
    pub v6: FamilyState<V6>,
    /// What its settings say beside `v4`'s and `v6`'s is part of those.
    pub filter: Arc<FilterState>,
    /// A bit per VLAN id: bit `n % 64`, counted from the least significant, of word `n / 64`.
    pub vlans: [u64; VLAN_WORDS as usize],
}

/// The contents of the maps that each family has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyState<F: Family> {
    pub settings: Settings<F>,
    /// By real address.
    pub members: BTreeMap<F::Addr, Member<F>>,
    /// By overlay address.
    pub overlays: BTreeMap<F::Addr, Path<F>>,
}

impl MapState {
    /// Maps that nobody has filled.
    pub fn empty() -> Self {
        Self {
            v4: FamilyState::empty(),
            v6: FamilyState::empty(),
            filter: Arc::new(FilterState::empty()),
            vlans: [0; VLAN_WORDS as usize],
        }
    }
}

impl MapState {
    /// The same for a host that is `me` on its uplink.
    pub fn of_host(mut self, me: &Me) -> Self {
        self.v4.set_host(me);
        self.v6.set_host(me);
        self
    }

    /// How many peers have overlay addresses here.
    pub fn peers(&self) -> usize {
        let v4 = self.v4.overlays.values().map(|path| path.host);
        let v6 = self.v6.overlays.values().map(|path| path.host);
        let hosts: BTreeSet<u32> = v4.chain(v6).filter(|host| *host != NOBODY).collect();
        hosts.len()
    }
}

impl<F: Family> FamilyState<F> {
    fn set_host(&mut self, me: &Me) {
        self.settings.reals = fill(F::UNSPECIFIED, of::<F>(&me.reals));
        self.settings.endpoints = fill(Endpoint::NONE, me.endpoints.iter().filter_map(endpoint));
        self.settings.uplink = me.uplink_index;
    }

    /// Maps that nobody has filled.
    pub fn empty() -> Self {
        Self { settings: Settings::UNSET, members: BTreeMap::new(), overlays: BTreeMap::new() }
    }
}

/// What the maps of host `me` must hold, whose `filter` comes from the same settings.
pub fn state(me: &Me, fleet: &FleetSettings, filter: &Arc<FilterState>, view: &View) -> MapState {
    let peers = peers(me, view);
    let (v4, v6) = (settings(me, fleet), settings(me, fleet));
    MapState {
        v4: FamilyState {
            settings: filter.put(&filter.v4, v4),
            ..with_overrides(me, fleet, peers.v4)
        },
        v6: FamilyState {
            settings: filter.put(&filter.v6, v6),
            ..with_overrides(me, fleet, peers.v6)
        },
        filter: filter.clone(),
        vlans: vlans(&me.vlans),
    }
}

/// The part of it that is there for the peers. Each entry is for one of them alone, so the parts of
/// a view make the parts of the state.
pub fn peers(me: &Me, view: &View) -> MapState {
    MapState { v4: family(me, view), v6: family(me, view), ..MapState::empty() }
}

/// The peers in `F`. A real address of a peer that has no overlay address in `F` is entered all the
/// same: it is let in, and nothing is translated.
fn family<F: Family>(me: &Me, view: &View) -> FamilyState<F> {
    let peers = || view.peers.values();
    let members =
        peers().flat_map(|peer| of::<F>(&peer.reals).map(|real| (real, member(peer, real))));
    let overlays = peers()
        .flat_map(|peer| of::<F>(&peer.overlays).map(|overlay| (overlay, path(me, peer, overlay))));
    FamilyState { members: members.collect(), overlays: overlays.collect(), ..FamilyState::empty() }
}

/// With the addresses that overlay addresses of the settings lead to. No member has any of them
/// ([`crate::view`]), and they have names and no rights.
fn with_overrides<F: Family>(
    me: &Me,
    fleet: &FleetSettings,
    mut peers: FamilyState<F>,
) -> FamilyState<F> {
    if of::<F>(&me.overlays).next().is_none() {
        return peers;
    }
    for (&overlay, &real) in &fleet.policy.nat_overrides {
        let peer = Peer {
            overlays: vec![overlay],
            reals: vec![real],
            host: NOBODY,
            role: String::new(),
            generation: 0,
        };
        // Our own addresses stand for nobody else here.
        if me.overlays.contains(&overlay) || me.reals.contains(&real) {
            continue;
        }
        let (Some(overlay), Some(real)) = (F::of(overlay), F::of(real)) else { continue };
        let flags = member_flag::OVERRIDE;
        peers.members.insert(real, Member { flags, ..member(&peer, real) });
        peers.overlays.insert(overlay, path(me, &peer, overlay));
    }
    peers
}

/// What both families share is in both: the programs of a family read its own settings only.
fn settings<F: Family>(me: &Me, fleet: &FleetSettings) -> Settings<F> {
    Settings {
        reals: fill(F::UNSPECIFIED, of::<F>(&me.reals)),
        overlays: fill(F::UNSPECIFIED, of::<F>(&me.overlays)),
        ranges: fill(Prefix::NONE, fleet.overlay.iter().filter_map(prefix)),
        failsafe: fill(Prefix::NONE, fleet.failsafe.iter().filter_map(prefix)),
        endpoints: fill(Endpoint::NONE, me.endpoints.iter().filter_map(endpoint)),
        uplink: me.uplink_index,
        twin_first: fleet.twin_ports.first,
        twin_last: fleet.twin_ports.last,
        identity: match fleet.identity {
            Identity::Real => identity::REAL,
            Identity::Overlay => identity::OVERLAY,
        },
        valid: 1,
        ..Settings::UNSET
    }
}

fn member<F: Family>(peer: &Peer, real: F::Addr) -> Member<F> {
    Member {
        real,
        overlays: fill(F::UNSPECIFIED, of::<F>(&peer.overlays)),
        host: peer.host,
        generation: peer.generation,
        role: numbers::of_role(&peer.role),
        overlay_count: of::<F>(&peer.overlays).count().min(OVERLAYS) as u8,
        flags: 0,
        _pad: [0; 2],
    }
}

fn path<F: Family>(me: &Me, peer: &Peer, overlay: F::Addr) -> Path<F> {
    let real = of::<F>(&peer.reals).next().unwrap_or(F::UNSPECIFIED);
    let redirect = me.on_link.iter().any(|range| range.contains(&F::to_ip(&real)));
    Path {
        overlay,
        real,
        reals: fill(F::UNSPECIFIED, of::<F>(&peer.reals)),
        primary: of::<F>(&peer.overlays).next().unwrap_or(overlay),
        host: peer.host,
        generation: peer.generation,
        flags: if redirect { path_flag::REDIRECT } else { 0 },
        _pad: [0; 7],
    }
}

/// Those of `addresses` that are of family `F`.
fn of<F: Family>(addresses: &[IpAddr]) -> impl Iterator<Item = F::Addr> {
    addresses.iter().filter_map(|address| F::of(*address))
}

fn prefix<F: Family>(range: &IpNet) -> Option<Prefix<F>> {
    Some(Prefix { network: F::of(range.network())?, mask: F::mask(range.prefix_len().into()) })
}

fn endpoint<F: Family>(endpoint: &SocketAddr) -> Option<Endpoint<F>> {
    let address = F::of(endpoint.ip())?;
    Some(Endpoint { address, port: endpoint.port().to_be_bytes(), ..Endpoint::NONE })
}

fn vlans(ids: &BTreeSet<u16>) -> [u64; VLAN_WORDS as usize] {
    let mut words = [0; VLAN_WORDS as usize];
    for &id in ids {
        // A VLAN id has 12 bits.
        set(&mut words, usize::from(id & 0x0fff));
    }
    words
}

fn set(words: &mut [u64], bit: usize) {
    words[bit / 64] |= 1 << (bit % 64);
}

/// An array with `values` first and `unused` after them; values that find no room are left out.
fn fill<T: Copy, const N: usize>(unused: T, values: impl IntoIterator<Item = T>) -> [T; N] {
    let mut array = [unused; N];
    array.iter_mut().zip(values).for_each(|(slot, value)| *slot = value);
    array
}

#[cfg(test)]
mod tests;
