//! Removes the entries of the twins maps whose flows have ended.
//!
//! The programs make an entry when two flows would be one 5-tuple on the wire; they cannot see the
//! end of a flow. A flow lives as long as the kernel has a connected socket for it or, where none
//! stands for it, its hint is fresh. An entry goes when its flow was found ended in two rounds: it is
//! made before its socket can be seen, and a dump of the socket table is no snapshot.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, Map, MapData};
use neti_common::{
    family::{Family, V4, V6},
    hints::is_fresh,
    maps::{Ends, Flow, Hint, TwinIn, TwinOut, name},
};
use nix::time::{ClockId, clock_gettime};

use crate::{
    loader::{bpf, pins::Pins},
    sockets::{self, Connected},
    store::kernel::open,
};

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(5);

/// The maps concerned.
pub struct Twins {
    v4: FamilyTwins<V4>,
    v6: FamilyTwins<V6>,
    used: Array<MapData, u32>,
}

impl Twins {
    pub fn open(pins: &Pins) -> Result<Self> {
        Ok(Self {
            v4: FamilyTwins::open(pins)?,
            v6: FamilyTwins::open(pins)?,
            used: open(pins, name::TWINS_USED, Map::Array)?,
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
            self.v4.ended.clear();
            self.v6.ended.clear();
            return Ok(());
        }
        let (v4, v6) = (self.v4.entries()?, self.v6.entries()?);
        let connected = sockets::connected()?;
        self.v4.remove_ended(&v4, &connected)?;
        self.v6.remove_ended(&v6, &connected)?;
        self.rest()
    }

    /// Tells the programs to look no more once all maps are empty.
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
        self.v4.is_empty() && self.v6.is_empty()
    }
}

/// The maps of one family.
struct FamilyTwins<F: Family> {
    out: HashMap<MapData, Flow<F>, TwinOut>,
    back: HashMap<MapData, Flow<F>, TwinIn<F>>,
    /// Of members' flows: our own, and those that we forward.
    hints: [HashMap<MapData, Flow<F>, Hint<F>>; 2],
    /// Entries whose flow had ended in the round before.
    ended: BTreeSet<Key<F>>,
}

/// The key of an entry, of either map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key<F: Family> {
    Out(Flow<F>),
    Back(Flow<F>),
}

/// What an entry of either map says.
struct Entry<F: Family> {
    key: Key<F>,
    /// The flow as its socket names it.
    flow: Flow<F>,
    /// Its port on the wire.
    wire: [u8; 2],
}

impl<F: Family> Entry<F> {
    /// The flow under the port by which a hint knows it: the one on the wire.
    fn hinted(&self) -> Flow<F> {
        let mut flow = self.flow;
        flow.sport = self.wire;
        flow
    }
}

impl<F: Family> FamilyTwins<F> {
    fn open(pins: &Pins) -> Result<Self> {
        let hints = |name| open(pins, name, Map::LruHashMap);
        Ok(Self {
            out: open(pins, F::MAPS.twins_out, Map::HashMap)?,
            back: open(pins, F::MAPS.twins_in, Map::HashMap)?,
            hints: [hints(F::MAPS.hints_local_member)?, hints(F::MAPS.hints_forward_member)?],
            ended: BTreeSet::new(),
        })
    }

    /// Removes those of `entries` whose flow had ended in the round before and still has.
    fn remove_ended(
        &mut self,
        entries: &[Entry<F>],
        connected: &BTreeSet<Connected>,
    ) -> Result<()> {
        let hinted = self.hinted()?;
        let ended: BTreeSet<Key<F>> = entries
            .iter()
            .filter(|entry| !connected.contains(&Connected::of(&entry.flow)))
            .filter(|entry| !hinted.contains(&entry.hinted()))
            .map(|entry| entry.key)
            .collect();
        for key in ended.intersection(&self.ended) {
            let (name, removed) = match key {
                Key::Out(flow) => (F::MAPS.twins_out, self.out.remove(flow)),
                Key::Back(flow) => (F::MAPS.twins_in, self.back.remove(flow)),
            };
            if let Err(error) = removed
                && !bpf::is_absent(&error)
            {
                return Err(error).context(name);
            }
        }
        self.ended = ended;
        Ok(())
    }

    fn entries(&self) -> Result<Vec<Entry<F>>> {
        let mut entries = Vec::new();
        for entry in self.out.iter() {
            let (flow, twin) = entry.context(F::MAPS.twins_out)?;
            entries.push(Entry { key: Key::Out(flow), flow, wire: twin.port });
        }
        for entry in self.back.iter() {
            let (key, twin) = entry.context(F::MAPS.twins_in)?;
            let flow = named(&key, &twin.ends, twin.port());
            entries.push(Entry { key: Key::Back(key), flow, wire: key.sport });
        }
        Ok(entries)
    }

    /// The flows that have a fresh hint, as [`Entry::hinted`] gives them.
    fn hinted(&self) -> Result<BTreeSet<Flow<F>>> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("reading the clock")?;
        let now = Duration::from(now).as_nanos() as u64;
        let mut fresh = BTreeSet::new();
        for hints in &self.hints {
            for entry in hints.iter() {
                let (key, hint) = entry.context("reading the hints")?;
                if is_fresh(&hint, &key, now) {
                    fresh.insert(named(&key, &hint.ends, key.sport));
                }
            }
        }
        Ok(fresh)
    }

    fn is_empty(&self) -> bool {
        self.out.keys().next().is_none() && self.back.keys().next().is_none()
    }
}

/// The flow with `key`'s protocol and peer's port between other names and from another port.
fn named<F: Family>(key: &Flow<F>, ends: &Ends<F>, sport: [u8; 2]) -> Flow<F> {
    Flow { src: ends.own, dst: ends.peer, sport, ..*key }
}
