//! Removes the entries of the twins maps whose flows have ended.
//!
//! The programs make an entry when two flows would be one 5-tuple on the wire; they cannot see the
//! end of a flow. A flow lives as long as the kernel has a connected socket for it or, where none
//! stands for it, its hint is fresh. An entry goes when its flow was found ended in two rounds: it is
//! made before its socket can be seen, and a dump of the socket table is no snapshot.

mod sockets;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, Map, MapData};
use neti_common::{
    family::V4,
    hints::is_fresh,
    maps::{Ends, Flow, Hint, Tuple, TwinIn, TwinOut, name},
};
use nix::time::{ClockId, clock_gettime};

use crate::{
    loader::pins::Pins,
    store::kernel::{is_absent, open},
};

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(5);
/// The hints of members' flows: our own, and those that we forward.
const HINTS: [&str; 2] = [name::HINTS_LOCAL_MEMBER4, name::HINTS_FORWARD_MEMBER4];

/// The maps concerned.
pub struct Twins {
    out: HashMap<MapData, Flow<V4>, TwinOut>,
    back: HashMap<MapData, Flow<V4>, TwinIn<V4>>,
    used: Array<MapData, u32>,
    hints: [HashMap<MapData, Flow<V4>, Hint<V4>>; HINTS.len()],
    /// Entries whose flow had ended in the round before.
    ended: BTreeSet<Key>,
}

/// The key of an entry, of either map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Out(Flow<V4>),
    Back(Flow<V4>),
}

/// What an entry of either map says.
struct Entry {
    key: Key,
    /// The flow as its socket names it.
    flow: Flow<V4>,
    /// Its port on the wire.
    wire: [u8; 2],
}

impl Entry {
    /// The flow under the port by which a hint knows it: the one on the wire.
    fn hinted(&self) -> Flow<V4> {
        let mut flow = self.flow;
        flow.tuple.sport = self.wire;
        flow
    }
}

impl Twins {
    pub fn open(pins: &Pins) -> Result<Self> {
        let [local, forwarded] = HINTS.map(|name| open(pins, name, Map::LruHashMap));
        Ok(Self {
            out: open(pins, name::TWINS_OUT4, Map::HashMap)?,
            back: open(pins, name::TWINS_IN4, Map::HashMap)?,
            used: open(pins, name::TWINS_USED, Map::Array)?,
            hints: [local?, forwarded?],
            ended: BTreeSet::new(),
        })
    }

    /// Works for ever; what goes wrong is logged and tried again.
    pub async fn collect(mut self) {
        loop {
            tokio::time::sleep(ROUND).await;
            if let Err(error) = self.round() {
                tracing::warn!("twins: {error:#}");
            }
        }
    }

    /// One round; does nothing while the maps are not in use.
    pub fn round(&mut self) -> Result<()> {
        if self.used.get(&0, 0).context(name::TWINS_USED)? == 0 {
            self.ended.clear();
            return Ok(());
        }
        let entries = self.entries()?;
        let connected = sockets::connected()?;
        let hinted = self.hinted()?;
        let ended: BTreeSet<Key> = entries
            .iter()
            .filter(|entry| !connected.contains(&entry.flow))
            .filter(|entry| !hinted.contains(&entry.hinted()))
            .map(|entry| entry.key)
            .collect();
        for key in ended.intersection(&self.ended) {
            let removed = match key {
                Key::Out(flow) => self.out.remove(flow),
                Key::Back(flow) => self.back.remove(flow),
            };
            if let Err(error) = removed
                && !is_absent(&error)
            {
                return Err(error).context("removing an entry");
            }
        }
        self.ended = ended;
        self.rest()
    }

    fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in self.out.iter() {
            let (flow, twin) = entry.context(name::TWINS_OUT4)?;
            entries.push(Entry { key: Key::Out(flow), flow, wire: twin.port });
        }
        for entry in self.back.iter() {
            let (key, twin) = entry.context(name::TWINS_IN4)?;
            let flow = named(&key, &twin.ends, twin.port);
            entries.push(Entry { key: Key::Back(key), flow, wire: key.tuple.sport });
        }
        Ok(entries)
    }

    /// The flows that have a fresh hint, as [`Entry::hinted`] gives them.
    fn hinted(&self) -> Result<BTreeSet<Flow<V4>>> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("reading the clock")?;
        let now = Duration::from(now).as_nanos() as u64;
        let mut fresh = BTreeSet::new();
        for (hints, name) in self.hints.iter().zip(HINTS) {
            for entry in hints.iter() {
                let (key, hint) = entry.context(name)?;
                if is_fresh(&hint, key.protocol, now) {
                    fresh.insert(named(&key, &hint.ends, key.tuple.sport));
                }
            }
        }
        Ok(fresh)
    }

    /// Tells the programs to look no more once both maps are empty.
    fn rest(&mut self) -> Result<()> {
        if !self.is_empty() {
            return Ok(());
        }
        self.used.set(0, 0, 0).context(name::TWINS_USED)?;
        // An entry made between the look and the write would never be found.
        if !self.is_empty() {
            self.used.set(0, 1, 0).context(name::TWINS_USED)?;
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.out.keys().next().is_none() && self.back.keys().next().is_none()
    }
}

/// The flow with `key`'s protocol and peer's port between other names and from another port.
fn named(key: &Flow<V4>, ends: &Ends<V4>, sport: [u8; 2]) -> Flow<V4> {
    let tuple = Tuple { src: ends.own, dst: ends.peer, sport, dport: key.tuple.dport };
    Flow { tuple, ..*key }
}
