//! Rounds: every workload by every way, again and again, so that what the machine does besides meets all of them.

use anyhow::Result;
use harness::{interrupt, progress::Progress};
use indexmap::{IndexMap, map::Entry};

use super::{
    Plan,
    lab::Way,
    latency::Trips,
    workload::{Metric, Workload},
};

/// A metric's figures.
pub struct Series {
    pub metric: &'static Metric,
    /// By way, the one to compare with first; by round.
    pub ways: Vec<(&'static str, Vec<f64>)>,
}

/// What all rounds give.
pub struct Rounds {
    pub series: Vec<Series>,
    /// Round trips of all rounds, by workload, and by way.
    pub trips: IndexMap<&'static str, IndexMap<&'static str, Trips>>,
}

/// Measures all rounds.
pub fn measure(plan: &Plan, progress: &mut Progress, ways: &[Way]) -> Result<Rounds> {
    let mut all = Vec::new();
    let mut trips: IndexMap<_, IndexMap<_, Trips>> = IndexMap::new();
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
                let measured = workload.run(way, plan)?;
                for (series, value) in own.iter_mut().zip(measured.figures) {
                    series.ways[index].1.push(value);
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
