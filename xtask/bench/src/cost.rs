//! What neti costs, next to the same hosts without it.
//!
//! Times on one machine wander, so nothing here is ever judged by one: the ways are measured in turn, round after
//! round, and compared within a round.

mod join;
mod lab;
mod latency;
mod programs;
mod report;
mod rounds;
mod server;
mod traffic;
mod workload;

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use clap::Args;
use harness::{family::Family, progress::Progress};

use self::{
    lab::Lab,
    report::{Figures, Origin, Report, Series, Size},
};
use crate::{Common, lab::within};

/// Without a subcommand.
#[derive(Args)]
pub struct Options {
    /// How often everything is measured.
    #[arg(long)]
    rounds: Option<u32>,
    /// Three short rounds, for a first look.
    #[arg(long)]
    quick: bool,
    /// How many other members each host knows; several sizes are measured one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [8, 8000], value_parser = clap::value_parser!(u32).range(1..=200_000))]
    members: Vec<u32>,
    /// Measure nothing: show the figures in this file, which an earlier run wrote with --json.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Also write a page with plots of all figures to this file.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Also write the plot that says most to this file, as SVG.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    #[command(flatten)]
    pub common: Common,
}

impl Options {
    fn plan(&self) -> Plan {
        let milliseconds = Duration::from_millis;
        let (rounds, stream, other) = if self.quick { (3, 1, 300) } else { (7, 3, 1000) };
        Plan { rounds: self.rounds.unwrap_or(rounds), stream, other: milliseconds(other) }
    }

    /// What a shell takes to measure the same.
    fn command(&self) -> String {
        let members: Vec<String> = self.members.iter().map(u32::to_string).collect();
        let mut command = format!("cargo xtask bench --members {}", members.join(","));
        if self.quick {
            command += " --quick";
        }
        if let Some(rounds) = self.rounds {
            command += &format!(" --rounds {rounds}");
        }
        if self.common.family == Family::V6 {
            command += " --family v6";
        }
        command
    }
}

/// How long it is measured.
struct Plan {
    rounds: u32,
    /// Seconds of each TCP stream.
    stream: u32,
    /// Time for each of the other workloads.
    other: Duration,
}

pub fn run(options: &Options, progress: &mut Progress) -> Result<Report> {
    if let Some(file) = &options.from {
        return Report::read(file);
    }
    let plan = options.plan();
    ensure!(plan.rounds > 0, "--rounds 0: give at least 1");
    let mut sizes = Vec::new();
    for &members in &options.members {
        progress.step(&format!("{members} members"));
        progress.show("starting the hosts");
        let lab = Lab::new(options.common.family, members)?;
        sizes.push(within(lab, |lab| size(&plan, progress, lab, members))?);
    }
    Ok(Report {
        origin: Origin::look(options.command()),
        family: options.common.family.to_string(),
        rounds: plan.rounds,
        quick: options.quick,
        sizes,
    })
}

fn size(plan: &Plan, progress: &mut Progress, lab: &Lab, members: u32) -> Result<Size> {
    let rounds = rounds::measure(plan, progress, &lab.ways())?;
    progress.show("members that join");
    let joins = join::measure(lab)?;
    let memory_kib = lab.memory()?;
    progress.show("single packets");
    let programs = programs::measure(lab)?;
    progress.show("programs on traffic");
    let runs = traffic::measure(plan, lab)?;
    Ok(Size {
        members,
        workloads: rounds.series.iter().map(Series::by_key).collect(),
        distributions: report::distributions(&rounds.trips),
        join_ms: Figures::of(&joins),
        memory_kib,
        programs: programs.into_iter().map(Into::into).collect(),
        on_traffic: runs.into_iter().map(Into::into).collect(),
    })
}
