//! All figures: a table of 80 columns, or JSON.

use std::{collections::BTreeMap, io::Write};

use anyhow::Result;
use harness::{family::Family, statistics::Spread};
use serde_json::{Map, Value, json};

use super::{programs::Cost, rounds::Series, traffic::Run};
use crate::report::{self, with_values};

/// Everything measured.
pub struct Report {
    pub family: Family,
    pub rounds: u32,
    pub quick: bool,
    pub sizes: Vec<Size>,
}

/// What was measured where each host knows so many others.
pub struct Size {
    pub members: u32,
    /// What was not measured, and why.
    pub left_out: Vec<(&'static str, String)>,
    pub series: Vec<Series>,
    /// Milliseconds until a member answers.
    pub joins: Vec<f64>,
    /// KiB of each daemon.
    pub memory: BTreeMap<String, u64>,
    pub programs: Vec<Cost>,
    pub runs: Vec<Run>,
}

impl report::Report for Report {
    fn print(&self, out: &mut dyn Write) -> Result<()> {
        writeln!(
            out,
            "{}. Rounds: {}, of one client on one machine. Of bare: of the same round.\n\
             bare: nothing between. iptables: a rule for each member in both tables, as the\n\
             first Neti. ipset + DNAT: as the original one. nftables: a set and a map. neti:\n\
             on both hosts, enforcing (tcx, or XDP and tcx), dialled by overlay address, or\n\
             direct. With many: one host has up to 1,000 members' addresses, dialled in turn.\n\
             Strangers' SYNs: sent, taken in and dropped by one processor; the first figure,\n\
             which stands for bare's, is that of a program that does nothing else. Let in: by\n\
             the last of as many rules, a stranger by its address, a member by its name.",
            self.family, self.rounds
        )?;
        self.sizes.iter().try_for_each(|size| size.print(out))
    }

    fn json(&self) -> Value {
        let sizes: Vec<Value> = self.sizes.iter().map(Size::json).collect();
        json!({
            "machine": report::machine(),
            "family": self.family.to_string(),
            "rounds": self.rounds,
            "quick": self.quick,
            "sizes": sizes,
        })
    }
}

impl Size {
    fn print(&self, out: &mut dyn Write) -> Result<()> {
        writeln!(out, "\n{} members", self.members)?;
        for (way, why) in &self.left_out {
            writeln!(out, "{way} is left out: {why}")?;
        }
        writeln!(
            out,
            "{:<19}{:<13}{:>7}{:>18}{:>9}{:>14}",
            "", "", "median", "min - max", "of bare", "min - max"
        )?;
        for series in &self.series {
            rows(out, series)?;
        }
        self.once(out)
    }

    fn json(&self) -> Value {
        let series: Map<String, Value> = self.series.iter().map(series_json).collect();
        let programs: Vec<Value> = self.programs.iter().map(cost_json).collect();
        json!({
            "members": self.members,
            "left_out": self.left_out.iter().cloned().collect::<BTreeMap<_, _>>(),
            "workloads": series,
            "join_ms": with_values(Spread::of(&self.joins), &self.joins),
            "memory_kib": self.memory,
            "programs": programs,
            "on_traffic": self.runs.iter().map(run_json).collect::<Vec<_>>(),
        })
    }

    fn once(&self, out: &mut dyn Write) -> Result<()> {
        let joins = Spread::of(&self.joins);
        writeln!(
            out,
            "\nA member's file is written -> it answers by its overlay address:\n  \
             median {:.1} ms, at most {:.1} ms, of {}",
            joins.median,
            joins.max,
            self.joins.len()
        )?;
        let mib = |kib: &u64| format!("{:.1} MiB", *kib as f64 / 1024.0);
        let memory: Vec<String> = self.memory.values().map(mib).collect();
        writeln!(out, "Resident memory of each daemon: {}", memory.join(", "))?;
        writeln!(out, "One packet in a program, one run per call, above an empty program:")?;
        for cost in &self.programs {
            let Cost { program, packet, nanoseconds } = cost;
            writeln!(out, "  {program:<14}{packet:<38}{nanoseconds:>6.0} ns")?;
        }
        writeln!(out, "A run on traffic, by the kernel's count, above an empty program:")?;
        for run in &self.runs {
            let Run { program, traffic, nanoseconds, .. } = run;
            writeln!(out, "  {program:<14}{traffic:<38}{nanoseconds:>6.0} ns")?;
        }
        Ok(())
    }
}

fn rows(out: &mut dyn Write, series: &Series) -> Result<()> {
    let digits = series.metric.digits;
    let Some((_, bare)) = series.ways.first() else { return Ok(()) };
    for (index, (way, figures)) in series.ways.iter().enumerate() {
        let title = match index {
            0 => series.metric.name,
            1 => series.metric.unit,
            _ => "",
        };
        let Spread { median, min, max } = Spread::of(figures);
        let range = format!("{min:.digits$} - {max:.digits$}");
        write!(out, "{title:<19}{way:<13}{median:>7.digits$}{range:>18}")?;
        if index > 0 {
            let Spread { median, min, max } = Spread::of_ratios(figures, bare);
            let range = format!("{min:.2} - {max:.2}");
            write!(out, "{median:>9.2}{range:>14}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn series_json(series: &Series) -> (String, Value) {
    let bare = series.ways.first().map_or(&[][..], |(_, figures)| figures);
    let way = |(index, (way, figures)): (usize, &(&str, Vec<f64>))| {
        let mut value = with_values(Spread::of(figures), figures);
        if index > 0 {
            value["of_bare"] = Spread::of_ratios(figures, bare).json();
        }
        ((*way).to_owned(), value)
    };
    let ways: Map<String, Value> = series.ways.iter().enumerate().map(way).collect();
    (series.metric.key.to_owned(), json!({ "unit": series.metric.unit, "ways": ways }))
}

fn cost_json(cost: &Cost) -> Value {
    json!({ "program": cost.program, "packet": cost.packet, "ns": cost.nanoseconds })
}

fn run_json(run: &Run) -> Value {
    json!({ "program": run.program, "traffic": run.traffic, "ns": run.nanoseconds, "runs": run.runs })
}
