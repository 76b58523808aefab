//! Tells the programs when no socket has names of a mixed form (one end overlay, the other real), so that they look for
//! each flow in two forms and not in four.
//!
//! A packet that leaves in such a form makes the programs look for all again at once. What they cannot see is when the
//! last of these sockets is gone, and one that is connected and has not sent anything.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use aya::maps::{Array, Map, MapData};
use neti_common::{
    family::{Family, V4, V6},
    maps::{
        Settings,
        mixed::{CLEARED, LEFT},
        name,
    },
};

use crate::{
    loader::pins::Pins,
    sockets::{self, Connected},
    store::kernel::{KernelStore, open},
};

/// Time between two looks at all sockets: while the programs look for all forms, and while they do not.
const PAUSE: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_secs(60);
/// And how many times as long as a look has taken.
const SPARING: u32 = 50;

/// The maps concerned.
pub struct Mixed {
    words: Array<MapData, u64>,
    store: KernelStore,
    /// What had left when the look before has found no such socket. One is not enough: a dump of the socket table is no
    /// snapshot.
    found_none: Option<u64>,
}

impl Mixed {
    pub fn open(pins: &Pins) -> Result<Self> {
        let words = open(pins, name::MIXED, Map::Array)?;
        Ok(Self { words, store: KernelStore::open(pins)?, found_none: None })
    }

    /// Works for ever; what goes wrong is logged and tried again.
    pub async fn watch(mut self) {
        loop {
            let begun = Instant::now();
            let pause = match self.look().await {
                Ok(true) => QUIET,
                Ok(false) => PAUSE,
                Err(error) => {
                    tracing::warn!("sockets of mixed forms: {error:#}");
                    PAUSE
                }
            };
            tokio::time::sleep(pause.max(SPARING * begun.elapsed())).await;
        }
    }

    /// Looks at all sockets once. Whether the programs then look for two forms only.
    pub async fn look(&mut self) -> Result<bool> {
        // Before the sockets: what leaves while they are looked at may have a socket that was missed.
        let left = self.word(LEFT)?;
        let (v4, v6) = self.store.settings()?;
        let found = tokio::task::spawn_blocking(sockets::connected).await?;
        let is_mixed = |socket: &Connected| {
            is_overlay(&v4, &v6, socket.own.ip()) != is_overlay(&v4, &v6, socket.peer.ip())
        };
        if found?.iter().any(is_mixed) {
            self.found_none = None;
            // Nothing but `left + 1` says that there are none.
            self.set_cleared(left)?;
            return Ok(false);
        }
        let before = self.found_none.replace(left);
        if self.word(CLEARED)? != left.wrapping_add(1) {
            if before != Some(left) {
                return Ok(false);
            }
            self.set_cleared(left.wrapping_add(1))?;
        }
        Ok(true)
    }

    fn word(&self, index: u32) -> Result<u64> {
        self.words.get(&index, 0).context(name::MIXED)
    }

    fn set_cleared(&mut self, word: u64) -> Result<()> {
        self.words.set(CLEARED, word, 0).context(name::MIXED)
    }
}

fn is_overlay(v4: &Settings<V4>, v6: &Settings<V6>, address: IpAddr) -> bool {
    match (V4::of(address), V6::of(address)) {
        (Some(address), _) => v4.is_overlay(&address),
        (_, Some(address)) => v6.is_overlay(&address),
        _ => false,
    }
}
