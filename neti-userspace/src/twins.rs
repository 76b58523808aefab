//! Removes the entries of the twins maps whose flows have ended.
//!
//! The programs make an entry when two flows would be one 5-tuple on the wire; they cannot see the
//! end of a flow. A TCP flow has ended when the kernel has no socket for it any more, any other when
//! its hint has gone or is old. Both must hold in two rounds: an entry is made before its socket can
//! be seen, and a dump of the socket table is no snapshot.

mod sockets;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, Map, MapData};
use neti_common::{
    family::{Family, V4},
    maps::{Ends, Flow, Hint, Tuple, TwinIn, TwinOut, name},
};
use nix::time::{ClockId, clock_gettime};

use crate::{
    loader::pins::Pins,
    store::kernel::{is_absent, open},
};

/// Time between two rounds.
const ROUND: Duration = Duration::from_secs(5);
/// A hint not renewed for so long belongs to no flow.
const HINT_LIFE: Duration = Duration::from_secs(180);

/// The maps concerned.
pub struct Twins {
    out: HashMap<MapData, Flow<V4>, TwinOut>,
    back: HashMap<MapData, Flow<V4>, TwinIn<V4>>,
    used: Array<MapData, u32>,
    hints: HashMap<MapData, Flow<V4>, Hint<V4>>,
    /// Entries whose flow had ended in the round before.
    ended: BTreeSet<Entry>,
}

/// An entry of either map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Entry {
    Out(Flow<V4>),
    In(Flow<V4>),
}

impl Twins {
    pub fn open(pins: &Pins) -> Result<Self> {
        Ok(Self {
            out: open(pins, name::TWINS_OUT4, Map::HashMap)?,
            back: open(pins, name::TWINS_IN4, Map::HashMap)?,
            used: open(pins, name::TWINS_USED, Map::Array)?,
            hints: open(pins, name::HINTS_LOCAL_MEMBER4, Map::LruHashMap)?,
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
        let flows = self.flows()?;
        let sockets = if flows.iter().any(|(_, flow)| is_tcp(flow)) {
            sockets::tcp()?
        } else {
            BTreeSet::new()
        };
        let hinted = if flows.iter().any(|(_, flow)| !is_tcp(flow)) {
            self.hinted()?
        } else {
            BTreeSet::new()
        };
        let ended: BTreeSet<Entry> = flows
            .iter()
            .filter(|(_, flow)| {
                let live = if is_tcp(flow) { &sockets } else { &hinted };
                !live.contains(flow)
            })
            .map(|(entry, _)| *entry)
            .collect();
        for entry in ended.intersection(&self.ended) {
            let removed = match entry {
                Entry::Out(key) => self.out.remove(key),
                Entry::In(key) => self.back.remove(key),
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

    /// All entries with the flow, as its socket names it, that they are for.
    fn flows(&self) -> Result<Vec<(Entry, Flow<V4>)>> {
        let mut flows = Vec::new();
        for key in self.out.keys() {
            let key = key.context(name::TWINS_OUT4)?;
            flows.push((Entry::Out(key), key));
        }
        for entry in self.back.iter() {
            let (key, twin) = entry.context(name::TWINS_IN4)?;
            let flow = flow(&twin.ends, twin.port, key.tuple.dport, key.protocol);
            flows.push((Entry::In(key), flow));
        }
        Ok(flows)
    }

    /// The flows without sockets that are still in use. A hint's key is the flow on the wire, with
    /// the twin's port, so the socket's own port is looked up in the twins map.
    fn hinted(&self) -> Result<BTreeSet<Flow<V4>>> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("reading the clock")?;
        let oldest = Duration::from(now).saturating_sub(HINT_LIFE).as_nanos() as u64;
        let mut live = BTreeSet::new();
        for entry in self.hints.iter() {
            let (key, hint) = entry.context(name::HINTS_LOCAL_MEMBER4)?;
            if hint.seen >= oldest {
                live.insert((wire_port(&key), hint.ends.peer, key.tuple.dport, key.protocol));
            }
        }
        let mut flows = BTreeSet::new();
        for entry in self.out.iter() {
            let (flow, twin) = entry.context(name::TWINS_OUT4)?;
            if live.contains(&(twin.port, flow.tuple.dst, flow.tuple.dport, flow.protocol)) {
                flows.insert(flow);
            }
        }
        Ok(flows)
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

fn flow(ends: &Ends<V4>, sport: [u8; 2], dport: [u8; 2], protocol: u8) -> Flow<V4> {
    let tuple = Tuple { src: ends.own, dst: ends.peer, sport, dport };
    Flow { tuple, protocol, _pad: [0; 3] }
}

fn wire_port(flow: &Flow<V4>) -> [u8; 2] {
    flow.tuple.sport
}

fn is_tcp<F: Family>(flow: &Flow<F>) -> bool {
    i32::from(flow.protocol) == libc::IPPROTO_TCP
}
