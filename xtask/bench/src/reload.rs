//! How long it takes from a policy's commit to the registry until a host's programs judge by it.

pub mod policies;
mod report;

use std::{thread::sleep, time::Duration};

use anyhow::{Context, Result};
use clap::Args;
use harness::{process::prefer, progress::Progress};

use self::{
    policies::{Change, settings},
    report::{Report, Row},
};
use crate::{Common, alone::Alone, in_force::Slot, lab::within};

/// Of `reload`.
#[derive(Args)]
pub struct Options {
    /// How many members the fleet has.
    #[arg(long, default_value_t = 8_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    members: u32,
    /// How many allow rules the policy has.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rules: u32,
    /// How often the policy is changed, in each way.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    reloads: u32,
    #[command(flatten)]
    pub common: Common,
}

/// Between two changes, so that none waits for the one before.
const PAUSE: Duration = Duration::from_millis(100);

pub fn run(options: &Options, progress: &mut Progress) -> Result<Report> {
    // Whatever else this machine does stands back: it would be part of the figures.
    prefer(10).context("go before other programs")?;
    progress.step(&format!("a host among {} members", options.members));
    let Options { members, rules, .. } = *options;
    let family = options.common.family;
    let lab = Alone::new(family, members, settings(family, rules, Change::All, 0))?;
    within(lab, |lab| {
        let mut slot = Slot::of(&lab.host)?;
        let mut rows = Vec::new();
        for change in Change::ALL {
            progress.step(change.name());
            let mut latencies = Vec::new();
            for number in 1..=options.reloads {
                progress.show(&format!("{number} of {}", options.reloads));
                sleep(PAUSE);
                latencies.push(slot.follows(&lab.fleet, settings(family, rules, change, number))?);
            }
            latencies.sort_by(f64::total_cmp);
            rows.push(Row { change, latencies });
        }
        Ok(Report { family, members, rules, rows })
    })
}
