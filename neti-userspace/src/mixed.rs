//! Tells the programs when no socket has names of a mixed form (one end overlay, the other real), so that they look for
//! each flow in two forms and not in four.
//!
//! A packet that leaves in such a form makes the programs look for all again at once. What they cannot see is when the
//! last of these sockets is gone.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData};
use neti_common::{
    family::{Family, V4, V6},
    maps::{
        mixed::{CLEARED, LEFT},
        name,
    },
};

use crate::{
    loader::pins::Pins,
    sockets,
    store::kernel::{KernelStore, open},
};

/// Time between two looks at all sockets while some are mixed, and how many times as long as a look has taken.
const PAUSE: Duration = Duration::from_secs(5);
const SPARING: u32 = 50;

/// The maps concerned.
pub struct Mixed {
    words: Array<MapData, u64>,
    store: KernelStore,
}

impl Mixed {
    pub fn open(pins: &Pins) -> Result<Self> {
        Ok(Self { words: open(pins, name::MIXED, Map::Array)?, store: KernelStore::open(pins)? })
    }

    /// Works for ever; what goes wrong is logged and tried again.
    pub async fn watch(mut self) {
        loop {
            let begun = Instant::now();
            if let Err(error) = self.round() {
                tracing::warn!("sockets of mixed forms: {error:#}");
            }
            tokio::time::sleep(PAUSE.max(SPARING * begun.elapsed())).await;
        }
    }

    /// Looks once, if it is not known already that there are none.
    pub fn round(&mut self) -> Result<()> {
        let word = |index| self.words.get(&index, 0).context(name::MIXED);
        // Before the sockets: what leaves while they are looked at counts as not looked at.
        let cleared = word(LEFT)?.wrapping_add(1);
        if word(CLEARED)? == cleared {
            return Ok(());
        }
        let (v4, v6) = self.store.settings()?;
        let is_overlay = |address: IpAddr| match (V4::of(address), V6::of(address)) {
            (Some(address), _) => v4.is_overlay(&address),
            (_, Some(address)) => v6.is_overlay(&address),
            _ => false,
        };
        let connected = sockets::connected()?;
        if connected
            .iter()
            .any(|socket| is_overlay(socket.own.ip()) != is_overlay(socket.peer.ip()))
        {
            return Ok(());
        }
        self.words.set(CLEARED, cleared, 0).context(name::MIXED)
    }
}
