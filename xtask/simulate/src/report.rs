//! All figures: a table, or JSON.

use std::{io::Write, time::Duration};

use anyhow::Result;
use harness::{figures::Memory, statistics::percentile};
use neti_simulate::registry::Kind;
use serde_json::{Value, json};

use crate::churn::Plan;

/// Of a start.
pub struct Times {
    /// How long it took to write all members.
    pub filling: Duration,
    /// From neti's start until it said so.
    pub ready: Duration,
    /// From neti's start until all members were in the maps.
    pub synced: Duration,
}

/// Everything measured.
pub struct Report {
    pub registry: Kind,
    pub members: u32,
    pub plan: Plan,
    pub times: Times,
    /// Milliseconds, in order of size.
    pub latencies: Vec<f64>,
    /// Changes that did not arrive.
    pub lost: usize,
    /// How long it took to make the changes.
    pub lasted: Duration,
    /// Percent of one processor, of the daemon while nothing changes.
    pub idle: f64,
    /// The same while members change.
    pub busy: f64,
    pub after_sync: Memory,
    pub after_churn: Memory,
    /// Bytes of the maps of peers.
    pub maps: u64,
}

const PERCENTILES: [(&str, usize); 4] = [("p50", 50), ("p90", 90), ("p99", 99), ("max", 100)];

impl Report {
    pub fn print(&self, out: &mut impl Write) -> Result<()> {
        let Self { registry, members, plan, times, .. } = self;
        writeln!(out, "{} members in {}; one host.\n", members, registry.name())?;
        let mut row = |what: &str, figure: String| writeln!(out, "  {what:<52}{figure:>20}");
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        row("all members written to the registry", seconds(times.filling))?;
        row("neti's start -> all members in the kernel's maps", seconds(times.synced))?;
        row("neti's start -> ready", seconds(times.ready))?;
        row("idle: of one processor", format!("{:.1} %", self.idle))?;
        let done = self.latencies.len() + self.lost;
        let rate = done as f64 / self.lasted.as_secs_f64();
        let what = format!("{} changes, {} per second asked for", done, plan.rate);
        row(&what, format!("{rate:.1} /s"))?;
        for (name, percent) in PERCENTILES {
            let what = format!("  acknowledged -> in the kernel's map, {name}");
            row(&what, format!("{:.1} ms", percentile(&self.latencies, percent)))?;
        }
        row("  of one processor meanwhile", format!("{:.1} %", self.busy))?;
        row("  not arrived", self.lost.to_string())?;
        let mib = |kib: u64| format!("{:.0} MiB", kib as f64 / 1024.0);
        row("the daemon's memory, after the first sync", mib(self.after_sync.resident))?;
        row("  after the changes", mib(self.after_churn.resident))?;
        row("  at most", mib(self.after_churn.peak))?;
        row("the maps' memory", mib(self.maps / 1024))?;
        Ok(())
    }

    pub fn json(&self) -> Value {
        let latencies = PERCENTILES
            .map(|(name, percent)| (name.to_owned(), json!(percentile(&self.latencies, percent))));
        let processors = std::thread::available_parallelism().map_or(0, usize::from);
        json!({
            "processors": processors,
            "registry": self.registry.name(),
            "members": self.members,
            "filling_s": self.times.filling.as_secs_f64(),
            "synced_s": self.times.synced.as_secs_f64(),
            "ready_s": self.times.ready.as_secs_f64(),
            "idle_percent": self.idle,
            "churn": {
                "asked_per_s": self.plan.rate,
                "seconds": self.lasted.as_secs_f64(),
                "changes": self.latencies.len() + self.lost,
                "lost": self.lost,
                "latency_ms": latencies.into_iter().collect::<serde_json::Map<_, _>>(),
                "percent": self.busy,
            },
            "resident_kib": {
                "after_sync": self.after_sync.resident,
                "after_churn": self.after_churn.resident,
                "peak": self.after_churn.peak,
            },
            "maps_bytes": self.maps,
        })
    }
}
