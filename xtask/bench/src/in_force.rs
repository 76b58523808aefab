//! When a host judges by settings that were changed.

use std::{
    slice,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::{
    PATIENCE,
    bpf::Map,
    host::{Fleet, Host},
    interrupt,
};
use serde_json::Value;

/// Between two looks at what is in force: what the figures are exact to.
const PERIOD: Duration = Duration::from_micros(50);

/// What the programs go by: a packet reads which of two slots is in force, and finds all of a policy there.
pub struct Slot(Map);

impl Slot {
    pub fn of(host: &Host) -> Result<Self> {
        let path = host.pin("maps/settings_slot")?;
        Ok(Self(Map::open(&path).with_context(|| format!("open {}", path.display()))?))
    }

    fn number(&mut self) -> Result<u32> {
        let number = self.0.get(&[0; 4])?.and_then(|bytes| bytes.try_into().ok());
        number.map(u32::from_ne_bytes).context("settings_slot has a number")
    }

    /// Commits other settings than those that are in force; milliseconds from then on until the host judges by them.
    pub fn follows(&mut self, fleet: &Fleet, settings: Value) -> Result<f64> {
        all_follow(slice::from_mut(self), fleet, settings)
    }
}

/// The same of several hosts, until the last of them does.
pub fn all_follow(slots: &mut [Slot], fleet: &Fleet, settings: Value) -> Result<f64> {
    let before = slots.iter_mut().map(Slot::number).collect::<Result<Vec<_>>>()?;
    fleet.set(settings)?;
    let committed = Instant::now();
    for (slot, before) in slots.iter_mut().zip(before) {
        while slot.number()? == before {
            interrupt::go_on()?;
            ensure!(
                committed.elapsed() < PATIENCE,
                "the change is not in force after {PATIENCE:?}"
            );
            sleep(PERIOD);
        }
    }
    Ok(committed.elapsed().as_secs_f64() * 1e3)
}
