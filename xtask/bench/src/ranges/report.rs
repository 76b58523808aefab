//! Both policies side by side: a table, or JSON.

use std::io::Write;

use anyhow::Result;
use harness::{family::Family, statistics::Spread};
use serde_json::{Map, Value, json};

use super::policies::{Packets, Ranges};
use crate::report::{self, with_values};

/// One policy.
pub struct Row {
    pub ranges: Ranges,
    /// Milliseconds until it was in force.
    pub loads: Vec<f64>,
    /// Nanoseconds of each kind of packet.
    pub packets: Vec<(Packets, Vec<f64>)>,
}

impl Row {
    pub fn of(ranges: Ranges) -> Self {
        let packets = Packets::ALL.map(|packets| (packets, Vec::new()));
        Self { ranges, loads: Vec::new(), packets: packets.into() }
    }
}

pub struct Report {
    pub family: Family,
    pub rounds: u32,
    /// The smaller one first.
    pub rows: [Row; 2],
}

impl report::Report for Report {
    fn print(&self, out: &mut dyn Write) -> Result<()> {
        let [few, many] = &self.rows;
        writeln!(
            out,
            "{}. Medians of {} rounds, one allow rule for all ranges. In force: from the commit\n\
             until a host judges by it. Packets: a stranger's SYN in neti_ingress, above an empty\n\
             program, from one address or each from another. Ratios: of the same round.\n",
            self.family, self.rounds
        )?;
        let of = |row: &Row| format!("{} ranges", row.ranges.number);
        writeln!(
            out,
            "{:<22}{:>16}{:>16}{:>9}{:>16}",
            "",
            of(few),
            of(many),
            "ratio",
            "min - max"
        )?;
        let mut line = |name: &str, few: &[f64], many: &[f64], unit: &str| {
            let ratio = Spread::of_ratios(many, few);
            let [few, many] =
                [few, many].map(|all| format!("{:.1} {unit}", Spread::of(all).median));
            let range = format!("{:.2} - {:.2}", ratio.min, ratio.max);
            writeln!(out, "{name:<22}{few:>16}{many:>16}{:>9.2}{range:>16}", ratio.median)
        };
        line("in force", &few.loads, &many.loads, "ms")?;
        for ((packets, few), (_, many)) in few.packets.iter().zip(&many.packets) {
            line(packets.name, few, many, "ns")?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let row = |row: &Row| {
            let costs = row.packets.iter().map(|(packets, costs)| {
                (packets.name.to_owned(), with_values(Spread::of(costs), costs))
            });
            json!({
                "ranges": row.ranges.number,
                "in_force_ms": with_values(Spread::of(&row.loads), &row.loads),
                "packet_ns": costs.collect::<Map<String, Value>>(),
            })
        };
        json!({
            "machine": report::machine(),
            "family": self.family.to_string(),
            "registry": "directory",
            "rounds": self.rounds,
            "policies": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}
