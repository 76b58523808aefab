//! What the kernel tracks when neti comes to a host.
//!
//! What containers have under way then is older than the hints, which the programs keep of what they
//! see begin. Whoever masquerades it has the kernel track it, and the kernel can be asked.

mod conntrack;

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use aya::{
    Pod,
    maps::{HashMap, IterableMap, Map, MapData, MapError},
};
use neti_common::{
    demux::Names,
    family::{Family, V4, V6},
    headers::{TCP, UDP},
    hints::{member_key, state},
    maps::{Ends, Flow, Hint, Member, Path, Settings},
    tables::Class,
};
use nix::time::{ClockId, clock_gettime};

use self::conntrack::{Tracked, tcp};
use crate::{
    loader::{bpf, pins::Pins},
    store::kernel::{KernelStore, open},
};

/// Keeps the hints that the programs would have kept of what is tracked; how many. The settings and
/// members must be in the maps.
pub fn remember(pins: &Pins) -> Result<usize> {
    let tracked = conntrack::tracked()?;
    if tracked.is_empty() {
        return Ok(0);
    }
    let (v4, v6) = KernelStore::open(pins)?.settings()?;
    Ok(keep::<V4>(pins, &v4, &tracked)? + keep::<V6>(pins, &v6, &tracked)?)
}

fn keep<F: Family<Addr: Pod>>(
    pins: &Pins,
    settings: &Settings<F>,
    tracked: &[Tracked],
) -> Result<usize> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("reading the clock")?;
    let now = Duration::from(now).as_nanos() as u64;
    let members: HashMap<MapData, F::Addr, Member<F>> = open(pins, F::MAPS.members, Map::HashMap)?;
    let paths: HashMap<MapData, F::Addr, Path<F>> = open(pins, F::MAPS.overlays, Map::HashMap)?;
    let mut hints: BTreeMap<Class, BTreeMap<Flow<F>, Hint<F>>> = BTreeMap::new();
    for passing in tracked.iter().filter_map(|tracked| Passing::of(settings, tracked)) {
        let peer = &passing.flow.dst;
        // What is older than a start may have been translated by the start before.
        let overlay = if settings.is_overlay(peer) {
            let path = found(paths.get(peer, 0)).context(F::MAPS.overlays)?;
            let Some(path) = path else { continue };
            Some(path.primary)
        } else {
            let member = found(members.get(peer, 0)).context(F::MAPS.members)?;
            member.filter(|member| member.overlay_count != 0).map(|member| member.overlays[0])
        };
        if overlay.is_none() && settings.is_own_overlay(&passing.flow.src) {
            continue;
        }
        let (class, key, hint) = passing.hint(settings, overlay.as_ref(), now);
        hints.entry(class).or_default().insert(key, hint);
    }
    for (class, hints) in &hints {
        let name = F::MAPS.hints(*class);
        let map: HashMap<MapData, Flow<F>, Hint<F>> = open(pins, name, Map::LruHashMap)?;
        let (keys, values): (Vec<_>, Vec<_>) =
            hints.iter().map(|(key, hint)| (*key, *hint)).unzip();
        bpf::update_batch(map.map(), &keys, &values).context(name)?;
    }
    Ok(hints.values().map(BTreeMap::len).sum())
}

fn found<T>(read: Result<T, MapError>) -> Result<Option<T>, MapError> {
    match read {
        Err(MapError::KeyNotFound) => Ok(None),
        read => read.map(Some),
    }
}

/// A tracked flow that crosses the uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Passing<F: Family> {
    /// As the kernel has it where the programs see it leave: in overlay addresses, if it was begun with them.
    flow: Flow<F>,
    forwarded: bool,
    /// As in [`Hint`].
    state: u64,
}

impl<F: Family> Passing<F> {
    /// `None` for what has another family, another interface or no hint: what a socket stands for,
    /// what has ended, and what was asked of us without being a connection.
    fn of(settings: &Settings<F>, tracked: &Tracked) -> Option<Self> {
        let is_own =
            |end: SocketAddr| F::of(end.ip()).is_some_and(|address| is_own(settings, &address));
        let Tracked { protocol, original, reply, answered, state } = *tracked;
        let (own, peer, forwarded) = if is_own(reply.dst) {
            // It began here, or behind us. What was given other ends has no socket under those on the wire.
            let translated = original.src != reply.dst || original.dst != reply.src;
            (reply.dst, reply.src, translated)
        } else if is_own(original.dst) && !is_own(reply.src) && protocol == TCP {
            // A connection to a published port.
            (original.dst, original.src, true)
        } else {
            return None;
        };
        let state = match (protocol, state) {
            (TCP, _) if !forwarded => return None,
            (TCP, tcp::SYN_SENT | tcp::SYN_RECV) => state::OPENED,
            (TCP, tcp::ESTABLISHED) => state::ANSWERED,
            (TCP, tcp::FIN_WAIT | tcp::CLOSE_WAIT | tcp::LAST_ACK) => state::CLOSING,
            (TCP, _) => return None,
            _ if answered => state::ANSWERED,
            _ => state::OPENED,
        };
        // Of what has no ports that it could be known by, the programs look at none.
        let port = |end: SocketAddr| match protocol {
            TCP | UDP => end.port().to_be_bytes(),
            _ if protocol == F::ICMP => end.port().to_be_bytes(),
            _ => [0; 2],
        };
        let flow = Flow {
            src: F::of(own.ip())?,
            dst: F::of(peer.ip())?,
            sport: port(own),
            dport: port(peer),
            protocol: protocol.into(),
        };
        Some(Self { flow, forwarded, state })
    }

    /// Its hint, of the class and with the key that the programs look for; `overlay` is the peer's, if
    /// it is a member.
    fn hint(
        &self,
        settings: &Settings<F>,
        overlay: Option<&F::Addr>,
        now: u64,
    ) -> (Class, Flow<F>, Hint<F>) {
        let flow = &self.flow;
        let names = Names {
            real_peer: &flow.dst,
            real_own: if settings.is_own_overlay(&flow.src) {
                &settings.reals[0]
            } else {
                &flow.src
            },
            overlay_peer: overlay.unwrap_or(&flow.dst),
            overlay_own: &settings.overlays[0],
            peer_port: flow.dport,
            own_port: flow.sport,
        };
        let key = match overlay {
            Some(_) => member_key(settings, flow.transport(), &names),
            None => *flow,
        };
        let ends = Ends { peer: flow.dst, own: flow.src };
        let hint = Hint { seen: now, ends, state: self.state };
        (Class::of(self.forwarded, overlay.is_some()), key, hint)
    }
}

fn is_own<F: Family>(settings: &Settings<F>, address: &F::Addr) -> bool {
    settings.is_own_real(address) || settings.is_own_overlay(address)
}

#[cfg(test)]
mod tests;
