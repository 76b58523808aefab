//! Rounds: every workload by every way, again and again, so that what the machine does besides meets all of them.

use anyhow::Result;
use harness::{interrupt, progress::Progress};

use super::{Plan, lab::Way, workload::Metric};

/// A metric's figures.
pub struct Series {
    pub metric: &'static Metric,
    /// By way, the one to compare with first; by round.
    pub ways: Vec<(&'static str, Vec<f64>)>,
}

impl Series {
    /// Without figures.
    pub fn of(metric: &'static Metric) -> Self {
        Self { metric, ways: Vec::new() }
    }

    /// Adds a round's figure. Ways stand in the order in which they come first.
    pub fn push(&mut self, way: &'static str, value: f64) {
        match self.ways.iter_mut().find(|(name, _)| *name == way) {
            Some((_, figures)) => figures.push(value),
            None => self.ways.push((way, vec![value])),
        }
    }
}

/// Measures all rounds.
pub fn measure(plan: &Plan, progress: &mut Progress, ways: &[Way]) -> Result<Vec<Series>> {
    let metrics = plan.workloads.iter().flat_map(|workload| workload.metrics());
    let mut all: Vec<Series> = metrics.map(Series::of).collect();
    for round in 0..plan.rounds as usize {
        progress.step(&format!("round {} of {}", round + 1, plan.rounds));
        let mut series = &mut all[..];
        for workload in &plan.workloads {
            let (own, rest) = series.split_at_mut(workload.metrics().len());
            series = rest;
            // Another one begins in every round: whoever is first may meet a colder machine.
            for turn in 0..ways.len() {
                let index = (round + turn) % ways.len();
                let way = &ways[index];
                progress.show(&format!("{}, {}", workload.name(), way.name));
                interrupt::go_on()?;
                for (series, value) in own.iter_mut().zip(workload.run(way, plan)?) {
                    series.push(way.name, value);
                }
            }
        }
    }
    Ok(all)
}
