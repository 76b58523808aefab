//! First loads and latencies of changes by the fleet's size: tables, or JSON.

use std::{io::Write, time::Duration};

use anyhow::Result;
use harness::statistics::{Spread, percentile};
use neti_simulate::registry::Kind;
use serde_json::{Map, Value, json};

use super::{
    changes::Changes,
    load::{Load, Maps},
};
use crate::report;

/// Everything about a fleet of one size.
pub struct Size {
    pub members: u32,
    pub loads: Vec<Load>,
    pub maps: Maps,
    pub one: Changes,
    pub many: Changes,
}

pub struct Report {
    pub registry: Kind,
    pub sizes: Vec<Size>,
}

const PERCENTILES: [(&str, usize); 3] = [("p50", 50), ("p99", 99), ("max", 100)];

impl report::Report for Report {
    fn print(&self, out: &mut dyn Write) -> Result<()> {
        writeln!(
            out,
            "A host's first load; the registry is {}. Medians of starts: until the registry is read,\n\
             from there until all members are in the kernel's maps, from neti's start until it is\n\
             ready, and the processor time of that. Bytes of maps per member without head-room, and\n\
             with it.\n",
            self.registry.name()
        )?;
        writeln!(
            out,
            "{:>9}{:>9}{:>9}{:>9}{:>11}{:>12}{:>10}{:>10}",
            "members", "read", "maps", "ready", "processor", "daemon", "bytes", "all"
        )?;
        for size in &self.sizes {
            let seconds = |of: fn(&Load) -> Duration| format!("{:.2} s", size.median(of));
            let each = |bytes: u64| bytes / u64::from(size.members);
            writeln!(
                out,
                "{:>9}{:>9}{:>9}{:>9}{:>11}{:>12}{:>10}{:>10}",
                size.members,
                seconds(|load| load.read),
                seconds(|load| load.filled),
                seconds(|load| load.ready),
                seconds(|load| load.processor),
                format!("{:.0} MiB", size.resident() / 1024.0),
                each(size.maps.used),
                each(size.maps.bytes),
            )?;
        }
        writeln!(
            out,
            "\nMilliseconds until changes are in the kernel's maps: from the daemon's hearing of them, and\n\
             from the registry's acknowledgement of the last.\n"
        )?;
        writeln!(out, "{:>9}{:>9}{:>30}{:>30}", "members", "change", "heard", "acknowledged")?;
        write!(out, "{:>9}{:>9}", "", "at once")?;
        for _ in 0..2 {
            PERCENTILES.iter().try_for_each(|(name, _)| write!(out, "{name:>10}"))?;
        }
        writeln!(out)?;
        for size in &self.sizes {
            for changes in [&size.one, &size.many] {
                write!(out, "{:>9}{:>9}", size.members, changes.members)?;
                for latencies in [&changes.heard, &changes.acknowledged] {
                    for (_, percent) in PERCENTILES {
                        write!(out, "{:>10.2}", percentile(latencies, percent))?;
                    }
                }
                writeln!(out)?;
            }
        }
        Ok(())
    }

    fn json(&self) -> Value {
        json!({
            "machine": report::machine(),
            "family": "IPv4",
            "registry": self.registry.name(),
            "sizes": self.sizes.iter().map(Size::json).collect::<Vec<_>>(),
        })
    }
}

impl Size {
    /// Seconds.
    fn all(&self, of: fn(&Load) -> Duration) -> Vec<f64> {
        self.loads.iter().map(|load| of(load).as_secs_f64()).collect()
    }

    fn median(&self, of: fn(&Load) -> Duration) -> f64 {
        Spread::of(&self.all(of)).median
    }

    /// KiB.
    fn resident(&self) -> f64 {
        let all: Vec<f64> = self.loads.iter().map(|load| load.resident as f64).collect();
        Spread::of(&all).median
    }

    fn json(&self) -> Value {
        let spread = |of: fn(&Load) -> Duration| {
            let all = self.all(of);
            report::with_values(Spread::of(&all), &all)
        };
        let each = |bytes: u64| bytes as f64 / f64::from(self.members);
        let changes = [&self.one, &self.many].map(changes);
        json!({
            "members": self.members,
            "load": {
                "read_s": spread(|load| load.read),
                "maps_s": spread(|load| load.filled),
                "ready_s": spread(|load| load.ready),
                "processor_s": spread(|load| load.processor),
                "resident_kib": self.resident(),
            },
            "maps": {
                "bytes": self.maps.bytes,
                "bytes_per_member": each(self.maps.bytes),
                "bytes_per_member_without_headroom": each(self.maps.used),
            },
            "changes": changes,
        })
    }
}

fn changes(changes: &Changes) -> Value {
    let latencies = |values: &[f64]| {
        let figures = PERCENTILES.map(|(name, p)| (name.to_owned(), json!(percentile(values, p))));
        let mut latency: Map<String, Value> = figures.into_iter().collect();
        latency.insert("values".to_owned(), json!(values));
        latency
    };
    json!({
        "members": changes.members,
        "heard_ms": latencies(&changes.heard),
        "acknowledged_ms": latencies(&changes.acknowledged),
    })
}
