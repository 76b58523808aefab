//! Rounds: every workload by every way, again and again, so that what the machine does besides meets all of them.

use anyhow::Result;
use harness::{interrupt, progress::Progress};

use super::{
    Plan,
    lab::Way,
    workload::{Metric, Workload},
};

/// A metric's figures.
pub struct Series {
    pub metric: &'static Metric,
    /// By way, the one to compare with first; by round.
    pub ways: Vec<(&'static str, Vec<f64>)>,
}

/// Measures all rounds.
pub fn measure(plan: &Plan, progress: &mut Progress, ways: &[Way]) -> Result<Vec<Series>> {
    let mut all = Vec::new();
    for workload in Workload::ALL {
        all.extend(workload.metrics().iter().map(|metric| Series {
            metric,
            ways: ways.iter().map(|way| (way.name, Vec::new())).collect(),
        }));
    }
    for round in 0..plan.rounds as usize {
        progress.step(&format!("round {} of {}", round + 1, plan.rounds));
        let mut series = &mut all[..];
        for workload in Workload::ALL {
            let (own, rest) = series.split_at_mut(workload.metrics().len());
            series = rest;
            // Another one begins in every round: whoever is first may meet a colder machine.
            for turn in 0..ways.len() {
                let index = (round + turn) % ways.len();
                let way = &ways[index];
                progress.show(&format!("{}, {}", workload.name(), way.name));
                interrupt::go_on()?;
                for (series, value) in own.iter_mut().zip(workload.run(way, plan)?) {
                    series.ways[index].1.push(value);
                }
            }
        }
    }
    Ok(all)
}
