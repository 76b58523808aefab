//! What a policy of very many ranges of addresses costs, next to one of a few: to load, and each packet.

mod policies;
mod report;

use anyhow::{Context, Result};
use clap::Args;
use harness::{bpf::Kind, process::prefer, progress::Progress};

use self::{
    policies::{Ranges, settings},
    report::{Report, Row},
};
use crate::{
    Common,
    alone::Alone,
    in_force::Slot,
    lab::within,
    packet::{Attached, Outcome},
};

/// Of `ranges`.
#[derive(Args)]
pub struct Options {
    /// How many ranges the larger policy has.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(11..=100_000))]
    ranges: u32,
    /// How often everything is measured.
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    pub common: Common,
}

/// What it is compared with.
const FEW: u32 = 10;
/// How many packets each figure is of.
const RUNS: u32 = 2000;

pub fn run(options: &Options, progress: &mut Progress) -> Result<Report> {
    prefer(10).context("go before other programs")?;
    progress.step("a host");
    let family = options.common.family;
    let sizes = [FEW, options.ranges].map(|number| Ranges { family, number });
    let lab = Alone::new(family, 0, settings(sizes[1])?)?;
    within(lab, |lab| {
        let mut slot = Slot::of(&lab.host)?;
        let ingress = Attached::to(&lab.host, "ingress", "neti_ingress", Kind::SchedClassifier)?;
        let mut rows = sizes.map(Row::of);
        progress.step(&format!("{FEW} and {} ranges in turn", options.ranges));
        for round in 1..=options.rounds {
            progress.show(&format!("round {round} of {}", options.rounds));
            for row in &mut rows {
                row.loads.push(slot.follows(&lab.fleet, settings(row.ranges)?)?);
                for (packets, costs) in &mut row.packets {
                    let frames = packets.frames(row.ranges, &lab.host, RUNS)?;
                    let frames = frames.iter().map(Vec::as_slice);
                    let expected = if packets.inside { Outcome::Passed } else { Outcome::Dropped };
                    costs.push(lab.host.site.netns.run(|| ingress.cold(frames, expected))?);
                }
            }
        }
        Ok(Report { family, rounds: options.rounds, rows })
    })
}
