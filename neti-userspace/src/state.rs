//! What the kernel's maps must hold for a view. This is where addresses become bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;
use neti_common::{
    family::{Family, V4},
    maps::{
        Allow, Member, OPEN_PORT_WORDS, OVERLAYS, Path, Prefix, Settings, VLAN_WORDS, identity,
        mode, path_flag,
    },
};

use crate::{
    fleet::{FleetSettings, Identity, Mode, OpenPort, Transport},
    membership::HostId,
    view::{Me, Peer, View},
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
    /// A bit per open port, TCP's first, then UDP's: bit `n % 64`, counted from the least
    /// significant, of word `n / 64`.
    pub open_ports: Box<[u64; OPEN_PORT_WORDS as usize]>,
    /// A bit per VLAN id, counted likewise.
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
    let mut members = BTreeMap::new();
    let mut overlays = BTreeMap::new();
    for (id, peer) in &view.peers {
        for real in &peer.reals {
            members.insert(real.octets(), member(id, peer, *real));
        }
        for overlay in &peer.overlays {
            overlays.insert(overlay.octets(), path(me, id, peer, *overlay));
        }
    }
    let allow = |(prefix, allow): (&Ipv4Net, &Allow)| {
        ((u32::from(prefix.prefix_len()), prefix.network().octets()), *allow)
    };
    MapState {
        settings: settings(me, fleet),
        members,
        overlays,
        allow: fleet.allow.iter().map(allow).collect(),
        open_ports: open_ports(&fleet.open),
        vlans: vlans(&me.vlans),
    }
}

fn settings(me: &Me, fleet: &FleetSettings) -> Settings<V4> {
    Settings {
        reals: fill(V4::UNSPECIFIED, me.reals.iter().map(Ipv4Addr::octets)),
        overlays: fill(V4::UNSPECIFIED, [me.overlay.octets()]),
        ranges: fill(Prefix::NONE, fleet.overlay.iter().map(prefix)),
        failsafe: fill(Prefix::NONE, fleet.failsafe.iter().map(prefix)),
        uplink: me.uplink_index,
        twin_first: fleet.twin_ports.first,
        twin_last: fleet.twin_ports.last,
        mode: match fleet.mode {
            Mode::Observe => mode::OBSERVE,
            Mode::Enforce => mode::ENFORCE,
        },
        identity: match fleet.identity {
            Identity::Real => identity::REAL,
            Identity::Overlay => identity::OVERLAY,
        },
        echo: fleet.echo.into(),
        valid: 1,
        ..Settings::UNSET
    }
}

fn member(id: &HostId, peer: &Peer, real: Ipv4Addr) -> Member<V4> {
    Member {
        real: real.octets(),
        overlays: fill(V4::UNSPECIFIED, peer.overlays.iter().map(Ipv4Addr::octets)),
        host: number(id),
        generation: peer.generation,
        role: 0,
        overlay_count: peer.overlays.len().min(OVERLAYS) as u8,
        flags: 0,
    }
}

fn path(me: &Me, id: &HostId, peer: &Peer, overlay: Ipv4Addr) -> Path<V4> {
    let on_link = |real| me.on_link.iter().any(|prefix| prefix.contains(real));
    let redirect = me.redirect_all || peer.reals.first().is_some_and(on_link);
    let first =
        |addresses: &[Ipv4Addr]| addresses.first().map_or(V4::UNSPECIFIED, Ipv4Addr::octets);
    Path {
        overlay: overlay.octets(),
        real: first(&peer.reals),
        reals: fill(V4::UNSPECIFIED, peer.reals.iter().map(Ipv4Addr::octets)),
        primary: first(&peer.overlays),
        host: number(id),
        generation: peer.generation,
        flags: if redirect { path_flag::REDIRECT } else { 0 },
        _pad: [0; 3],
    }
}

fn prefix(range: &Ipv4Net) -> Prefix<V4> {
    Prefix { network: range.network().octets(), mask: range.netmask().octets() }
}

fn open_ports(open: &[OpenPort]) -> Box<[u64; OPEN_PORT_WORDS as usize]> {
    let mut words = Box::new([0; OPEN_PORT_WORDS as usize]);
    for OpenPort { transport, ports } in open {
        let base = match transport {
            Transport::Tcp => 0,
            Transport::Udp => 1 << 16,
        };
        for port in ports.first..=ports.last {
            set(words.as_mut_slice(), base + usize::from(port));
        }
    }
    words
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

/// A number for a host that is the same on every host and at every start (FNV-1a of its id). It
/// ties entries of one host together for a reader; nothing is decided by it.
pub fn number(id: &HostId) -> u32 {
    let step = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    id.as_str().bytes().fold(0x811c_9dc5, step)
}

#[cfg(test)]
mod tests;
