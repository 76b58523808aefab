//! The streams of each arm under each flood: tables, or JSON.

use std::io::Write;

use anyhow::Result;
use harness::{family::Family, statistics::Spread};
use serde_json::{Map, Value, json};

use super::{Figures, lab::Memory};
use crate::report::{self, with_values};

/// All figures of one flood.
pub struct Row {
    pub flood: &'static str,
    /// The arm that the others are compared with first.
    arms: Vec<Column>,
}

/// Figures by round.
struct Column {
    arm: &'static str,
    streams: Vec<f64>,
    offered: Vec<f64>,
    dropped: Vec<f64>,
}

impl Row {
    pub fn new(flood: &'static str, arms: impl Iterator<Item = &'static str>) -> Self {
        let column =
            |arm| Column { arm, streams: Vec::new(), offered: Vec::new(), dropped: Vec::new() };
        Self { flood, arms: arms.map(column).collect() }
    }

    pub fn push(&mut self, arm: usize, figures: Figures) {
        let Figures { stream, offered, dropped } = figures;
        self.arms[arm].streams.push(stream);
        self.arms[arm].offered.push(offered);
        self.arms[arm].dropped.push(dropped);
    }

    /// The streams of the arm to compare with.
    fn sieve(&self) -> &[f64] {
        self.arms.first().map_or(&[], |column| &column.streams)
    }
}

pub struct Report {
    pub family: Family,
    /// Packets per second that the flood was asked for.
    pub rate: u32,
    pub rounds: u32,
    /// Seconds of each stream.
    pub seconds: u32,
    /// How many sources the flood has during one stream.
    pub sources: u64,
    pub rows: Vec<Row>,
    /// Before all floods, and after them.
    pub memory: [Vec<Memory>; 2],
}

impl report::Report for Report {
    fn print(&self, out: &mut dyn Write) -> Result<()> {
        writeln!(
            out,
            "{}. A TCP stream between members, {} s, while {} packets/s from {}\n\
             sources that do not exist flood its receiver. Rounds: {}. sieve: a program that\n\
             drops the flood's prefix and nothing else, in neti's place. Of sieve: of the\n\
             first, in the same round.\n",
            self.family, self.seconds, self.rate, self.sources, self.rounds
        )?;
        writeln!(
            out,
            "{:<18}{:<11}{:>7}{:>14}{:>9}{:>8}{:>13}",
            "", "", "Gbit/s", "min - max", "of sieve", "kpkt/s", "dropped"
        )?;
        for row in &self.rows {
            for (index, column) in row.arms.iter().enumerate() {
                let title = if index == 0 { row.flood } else { "" };
                let Spread { median, min, max } = Spread::of(&column.streams);
                let of_sieve = Spread::of_ratios(&column.streams, row.sieve()).median;
                let thousands = |figures: &[f64]| Spread::of(figures).median / 1e3;
                writeln!(
                    out,
                    "{title:<18}{:<11}{median:>7.2}{:>14}{of_sieve:>9.2}{:>8.1}{:>13.1}",
                    column.arm,
                    format!("{min:.2} - {max:.2}"),
                    thousands(&column.offered),
                    thousands(&column.dropped)
                )?;
            }
        }
        let [before, after] = &self.memory;
        writeln!(out, "\nMemory of the flooded host's neti, before -> after:")?;
        for (before, after) in before.iter().zip(after) {
            let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
            writeln!(
                out,
                "  {:<11}maps {:.1} -> {:.1} MiB, daemon {:.1} -> {:.1} MiB",
                before.arm,
                mib(before.maps),
                mib(after.maps),
                mib(before.resident << 10),
                mib(after.resident << 10)
            )?;
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let column = |row: &Row, column: &Column| {
            let mut stream = with_values(Spread::of(&column.streams), &column.streams);
            stream["of_sieve"] = Spread::of_ratios(&column.streams, row.sieve()).json();
            let figures = json!({
                "gbit_per_s": stream,
                "offered_per_s": with_values(Spread::of(&column.offered), &column.offered),
                "dropped_per_s": with_values(Spread::of(&column.dropped), &column.dropped),
            });
            (column.arm.to_owned(), figures)
        };
        let row = |row: &Row| {
            let arms: Map<String, Value> = row.arms.iter().map(|arm| column(row, arm)).collect();
            (row.flood.to_owned(), arms.into())
        };
        let memory = |memory: &Vec<Memory>| -> Map<String, Value> {
            let of = |m: &Memory| json!({ "maps_bytes": m.maps, "resident_kib": m.resident });
            memory.iter().map(|memory| (memory.arm.to_owned(), of(memory))).collect()
        };
        let [before, after] = &self.memory;
        json!({
            "machine": report::machine(),
            "family": self.family.to_string(),
            "asked_per_s": self.rate,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "sources": self.sources,
            "floods": self.rows.iter().map(row).collect::<Map<String, Value>>(),
            "memory": { "before": memory(before), "after": memory(after) },
        })
    }
}
