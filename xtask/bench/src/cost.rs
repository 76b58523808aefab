//! What neti costs, next to the same hosts without it.
//!
//! Times on one machine wander, so nothing here is ever judged by one: the ways are measured in turn, round after
//! round, and compared within a turn.

mod join;
pub mod lab;
mod latency;
pub mod members;
mod report;
mod rounds;
pub mod server;
mod strangers;
mod traffic;
mod workload;

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, ensure};
use clap::Args;
use harness::{family::Family, figures::available_memory, progress::Progress};

use self::{
    lab::Lab,
    report::{Figures, Origin, Report, Series, Size},
    workload::Workload,
};
use crate::{Common, lab::within, programs};

/// Without a subcommand.
#[derive(Args)]
pub struct Options {
    /// How often everything is measured.
    #[arg(long)]
    rounds: Option<u32>,
    /// Few short rounds, for a first look.
    #[arg(long)]
    quick: bool,
    /// How many other members each host knows; several sizes are measured one after the other.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
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
    fn sizes(&self) -> &[u32] {
        match &self.members[..] {
            [] if self.quick => &[8, 8000],
            [] => &[8, 8000, 100_000, 1_000_000],
            sizes => sizes,
        }
    }

    /// What meets many members is measured with all sizes; everything with the first one and, if there is time for it, with
    /// the last one, which it is compared with.
    fn plan(&self, members: u32) -> Plan {
        let (first, last) = (self.sizes().first(), self.sizes().last());
        let everything = [first, last.filter(|_| !self.quick)].contains(&Some(&members));
        let wanted = |workload: &Workload| {
            workload.meets_many() || everything && !(self.quick && workload.is_between())
        };
        let milliseconds = Duration::from_millis;
        let (rounds, slice, policy) = if self.quick { (2, 50, 100) } else { (5, 100, 250) };
        Plan {
            workloads: Workload::ALL.into_iter().filter(wanted).collect(),
            rounds: self.rounds.unwrap_or(rounds),
            slice: milliseconds(slice),
            policy: milliseconds(policy),
        }
    }

    /// What a shell takes to measure the same.
    fn command(&self) -> String {
        let members: Vec<String> = self.sizes().iter().map(u32::to_string).collect();
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

/// What is measured with one size, and for how long.
struct Plan {
    workloads: Vec<Workload>,
    rounds: u32,
    /// Time for each slice of the workloads that are not told in seconds.
    slice: Duration,
    /// Time for each figure of a policy.
    policy: Duration,
}

/// Seconds of each TCP stream, and of HTTP requests: the least that iperf3 and wrk take.
const SECONDS: u32 = 1;

/// Bytes of memory that the hosts of all ways and their registry take for each member, at most.
const MEMORY: u64 = 16 << 10;

pub fn run(options: &Options, progress: &mut Progress) -> Result<Report> {
    if let Some(file) = &options.from {
        return Report::read(file);
    }
    ensure!(options.rounds != Some(0), "--rounds 0: give at least 1");
    let most = options.sizes().iter().max().copied().unwrap_or_default();
    let (needed, available) = (u64::from(most) * MEMORY, available_memory()?);
    ensure!(
        needed < available,
        "{most} members take {} MiB of memory, {} MiB are available: give fewer with --members",
        needed >> 20,
        available >> 20
    );
    let mut sizes = Vec::new();
    let mut rounds = 0;
    for &members in options.sizes() {
        progress.step(&format!("{members} members"));
        progress.show("starting the hosts");
        let plan = options.plan(members);
        rounds = plan.rounds;
        let lab = Lab::new(options.common.family, members)?;
        sizes.push(within(lab, |lab| size(&plan, progress, lab, members))?);
    }
    Ok(Report {
        origin: Origin::look(options.command()),
        family: options.common.family.to_string(),
        rounds,
        quick: options.quick,
        sizes,
    })
}

fn size(plan: &Plan, progress: &mut Progress, lab: &Lab, members: u32) -> Result<Size> {
    let mut rounds = rounds::measure(plan, progress, &lab.ways())?;
    rounds.series.extend(strangers::measure(plan, progress, lab)?);
    progress.show("members that join");
    let joins = join::measure(lab)?;
    let memory_kib = lab.memory()?;
    progress.show("single packets");
    let programs = programs::measure(&lab.neti, &lab.members)?;
    progress.show("programs on traffic");
    let runs = traffic::measure(plan, lab)?;
    Ok(Size {
        members,
        left_out: lab.left_out.iter().map(|(way, why)| ((*way).to_owned(), why.clone())).collect(),
        workloads: rounds.series.iter().map(Series::by_key).collect(),
        distributions: report::distributions(&rounds.trips),
        join_ms: Figures::of(&joins),
        memory_kib,
        programs,
        on_traffic: runs.into_iter().map(Into::into).collect(),
    })
}
