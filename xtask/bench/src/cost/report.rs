//! All figures. What is shown is made of these alone, so that a file which has them can be shown again.

mod look;
mod origin;
mod page;
mod plot;
mod scale;
mod table;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fs, io::Write, path::Path};

use anyhow::{Context, Result};
use harness::statistics::Spread;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::look::Ways;
pub use self::origin::Origin;
use super::{latency::Trips, rounds, traffic, workload::Metric};
use crate::{programs::Cost, report};

/// Everything measured.
#[derive(Serialize, Deserialize)]
pub struct Report {
    #[serde(flatten)]
    pub origin: Origin,
    /// Of all addresses.
    pub family: String,
    pub rounds: u32,
    pub quick: bool,
    pub sizes: Vec<Size>,
}

/// What was measured where each host knows so many others.
#[derive(Serialize, Deserialize)]
pub struct Size {
    pub members: u32,
    /// The ways that were not measured, and why.
    pub left_out: IndexMap<String, String>,
    /// By the metric's key.
    pub workloads: IndexMap<String, Series>,
    /// Of round trips, by workload and by way, over all rounds.
    pub distributions: IndexMap<String, IndexMap<String, Distribution>>,
    /// Until a member answers.
    pub join_ms: Option<Figures>,
    /// Of each daemon.
    pub memory_kib: BTreeMap<String, u64>,
    pub programs: Vec<Cost>,
    pub on_traffic: Vec<Run>,
}

/// A metric's figures.
#[derive(Serialize, Deserialize)]
pub struct Series {
    pub name: String,
    pub unit: String,
    /// Digits after the point that mean something.
    pub digits: usize,
    /// By way, the one to compare with first; without those that were not measured.
    pub ways: IndexMap<String, Figures>,
}

/// Figures of one thing.
#[derive(Serialize, Deserialize)]
pub struct Figures {
    #[serde(flatten)]
    pub spread: Spread,
    /// By turn: of what is measured in slices each round has several.
    pub values: Vec<f64>,
    /// The ratios to the way to compare with, of the same turn: to bare, or to what stands for it. That way has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of_bare: Option<Spread>,
}

/// By percent of the round trips, the microseconds that they did not exceed.
pub type Distribution = IndexMap<String, f64>;

/// A program's figure for one kind of traffic.
#[derive(Serialize, Deserialize)]
pub struct Run {
    pub program: String,
    pub traffic: String,
    /// Above an empty program.
    pub ns: f64,
    pub runs: u64,
}

impl Report {
    /// What an earlier run wrote with `--json`.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{}: not what this version's --json writes", path.display()))
    }
}

impl report::Report for Report {
    fn print(&self, out: &mut dyn Write) -> Result<()> {
        table::print(self, out)
    }

    fn json(&self) -> Value {
        json!(self)
    }

    fn html(&self) -> Result<String> {
        page::page(self)
    }

    fn svg(&self) -> Result<String> {
        plot::headline(self, &Ways::of(self))
    }
}

impl Series {
    /// The metric's key, and its figures, without the ways that were not measured.
    pub fn by_key(series: &rounds::Series) -> (String, Self) {
        let bare = series.ways.first().map_or(&[][..], |(_, figures)| figures);
        let way = |(index, (way, figures)): (usize, &(&str, Vec<f64>))| {
            let ratio = (index > 0).then(|| Spread::of_ratios(figures, bare));
            // Not of nothing, nor by nothing: JSON has no such numbers.
            let of_bare = ratio.filter(|ratio| ratio.min.is_finite() && ratio.max.is_finite());
            Some(((*way).to_owned(), Figures { of_bare, ..Figures::of(figures)? }))
        };
        let Metric { key, name, unit, digits } = *series.metric;
        let ways = series.ways.iter().enumerate().filter_map(way).collect();
        (key.to_owned(), Self { name: name.to_owned(), unit: unit.to_owned(), digits, ways })
    }

    /// The way to compare with.
    fn baseline(&self) -> &str {
        self.ways.keys().next().map_or("", |way| way)
    }

    /// Whether it is a time rather than a rate.
    fn less_is_better(&self) -> bool {
        self.unit == "µs"
    }

    /// The same in words.
    fn direction(&self) -> &'static str {
        if self.less_is_better() { "less is better" } else { "more is better" }
    }

    /// What its ratios are, in words.
    fn ratio(&self) -> String {
        format!("ratio to {}, {}", self.baseline(), self.direction())
    }
}

impl Figures {
    /// Of at least one.
    pub fn of(values: &[f64]) -> Option<Self> {
        let spread = (!values.is_empty()).then(|| Spread::of(values))?;
        Some(Self { spread, values: values.to_vec(), of_bare: None })
    }
}

/// Of all rounds.
pub fn distributions(
    trips: &IndexMap<&'static str, IndexMap<&'static str, Trips>>,
) -> IndexMap<String, IndexMap<String, Distribution>> {
    let by_way = |ways: &IndexMap<&'static str, Trips>| {
        ways.iter().map(|(way, trips)| ((*way).to_owned(), trips.distribution())).collect()
    };
    trips.iter().map(|(workload, ways)| ((*workload).to_owned(), by_way(ways))).collect()
}

impl From<traffic::Run> for Run {
    fn from(run: traffic::Run) -> Self {
        let traffic::Run { program, traffic, nanoseconds, runs } = run;
        Self { program: program.to_owned(), traffic: traffic.to_owned(), ns: nanoseconds, runs }
    }
}
