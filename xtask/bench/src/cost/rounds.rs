//! Rounds: every workload by every way, again and again, so that what the machine does besides meets all of them. Where it
//! can be, a round is cut into slices, in which the ways take turns: the shorter a turn, the more alike are the times that they
//! are compared over.

use anyhow::Result;
use harness::{interrupt, progress::Progress};
use indexmap::{IndexMap, map::Entry};

use super::{Plan, lab::Way, latency::Trips, workload::Metric};

/// A metric's figures.
pub struct Series {
    pub metric: &'static Metric,
    /// By way, the one to compare with first; by slice of all rounds.
    pub ways: Vec<(&'static str, Vec<f64>)>,
}

impl Series {
    /// Without figures.
    pub fn of(metric: &'static Metric) -> Self {
        Self { metric, ways: Vec::new() }
    }

    /// Adds a slice's figure. Ways stand in the order in which they come first.
    pub fn push(&mut self, way: &'static str, value: f64) {
        match self.ways.iter_mut().find(|(name, _)| *name == way) {
            Some((_, figures)) => figures.push(value),
            None => self.ways.push((way, vec![value])),
        }
    }
}

/// What all rounds give.
pub struct Rounds {
    pub series: Vec<Series>,
    /// Round trips of all rounds, by workload, and by way.
    pub trips: IndexMap<&'static str, IndexMap<&'static str, Trips>>,
}

/// Measures all rounds.
pub fn measure(plan: &Plan, progress: &mut Progress, ways: &[Way]) -> Result<Rounds> {
    let metrics = plan.workloads.iter().flat_map(|workload| workload.metrics());
    let mut all: Vec<Series> = metrics.map(Series::of).collect();
    let mut trips: IndexMap<_, IndexMap<_, Trips>> = IndexMap::new();
    for round in 0..plan.rounds as usize {
        progress.step(&format!("round {} of {}", round + 1, plan.rounds));
        let mut series = &mut all[..];
        for workload in &plan.workloads {
            let (own, rest) = series.split_at_mut(workload.metrics().len());
            series = rest;
            // Another one begins each time: whoever is first may meet a colder machine.
            let slices = workload.slices() as usize;
            for turn in 0..slices * ways.len() {
                let (slice, turn) = (turn / ways.len(), turn % ways.len());
                let way = &ways[(round + slice + turn) % ways.len()];
                progress.show(&format!("{}, {}", workload.name(), way.name));
                interrupt::go_on()?;
                let measured = workload.run(way, plan)?;
                for (series, value) in own.iter_mut().zip(measured.figures) {
                    series.push(way.name, value);
                }
                if let Some(more) = measured.trips {
                    match trips.entry(workload.name()).or_default().entry(way.name) {
                        Entry::Occupied(mut all) => all.get_mut().add(&more)?,
                        Entry::Vacant(none) => drop(none.insert(more)),
                    }
                }
            }
        }
    }
    Ok(Rounds { series: all, trips })
}
