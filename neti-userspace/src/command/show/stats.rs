//! `neti show stats`.

use anyhow::{Context, Result};
use aya::maps::{Map, MapData, PerCpuArray};
use neti_common::{
    maps::{Counter, name},
    verdict::{Hook, Kind, Reason, counter_index},
};
use serde::Serialize;

use crate::{loader::pins::Pins, output::Row, store::kernel::open};

/// One counter.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    hook: &'static str,
    reason: &'static str,
    action: &'static str,
    packets: u64,
    /// From the link layer on.
    bytes: u64,
    #[serde(skip)]
    meaning: &'static str,
}

impl Row for Shown {
    const TITLES: &'static [&'static str] =
        &["HOOK", "ACTION", "REASON", "PACKETS", "BYTES", "MEANING"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.hook.to_owned(),
            self.action.to_owned(),
            self.reason.to_owned(),
            self.packets.to_string(),
            self.bytes.to_string(),
            self.meaning.trim().to_owned(),
        ]
    }
}

/// The counters that are not zero, or `all` that can ever count.
pub fn read(pins: &Pins, all: bool) -> Result<Vec<Shown>> {
    let counters: PerCpuArray<MapData, Counter> = open(pins, name::COUNTERS, Map::PerCpuArray)?;
    let mut shown = Vec::new();
    for hook in Hook::ALL {
        for &reason in Reason::ALL {
            for &(action, would) in actions(reason.kind()) {
                let index = counter_index(hook, reason, would);
                let per_cpu = counters.get(&index, 0).context(name::COUNTERS)?;
                let packets = per_cpu.iter().map(|counter| counter.packets).sum();
                let bytes = per_cpu.iter().map(|counter| counter.bytes).sum();
                if all || packets != 0 {
                    shown.push(Shown {
                        hook: hook.as_str(),
                        reason: reason.as_str(),
                        action,
                        packets,
                        bytes,
                        meaning: reason.explain(),
                    });
                }
            }
        }
    }
    Ok(shown)
}

/// What can become of a packet with a reason of this kind, and whether it is counted as
/// would-drop.
const fn actions(kind: Kind) -> &'static [(&'static str, bool)] {
    match kind {
        Kind::Pass => &[("pass", false)],
        Kind::Refuse => &[("drop", false), ("would-drop", true)],
        Kind::Drop => &[("drop", false)],
    }
}
