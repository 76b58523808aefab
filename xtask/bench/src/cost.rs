//! What neti costs, next to the same hosts without it.
//!
//! Times on one machine wander, so nothing here is ever judged by one: the ways are measured in turn, round after
//! round, and compared within a round.

mod join;
mod lab;
mod members;
mod programs;
mod report;
mod rounds;
mod server;
mod strangers;
mod traffic;
mod workload;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use harness::{figures::available_memory, progress::Progress};

use self::{
    lab::Lab,
    report::{Report, Size},
    workload::Workload,
};
use crate::{Common, lab::within};

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
        let (rounds, other, policy) = if self.quick { (2, 200, 100) } else { (5, 500, 250) };
        Plan {
            workloads: Workload::ALL.into_iter().filter(wanted).collect(),
            rounds: self.rounds.unwrap_or(rounds),
            other: milliseconds(other),
            policy: milliseconds(policy),
        }
    }
}

/// What is measured with one size, and for how long.
struct Plan {
    workloads: Vec<Workload>,
    rounds: u32,
    /// Time for each of the workloads that are not told in seconds, and for each figure of a policy.
    other: Duration,
    policy: Duration,
}

/// Seconds of each TCP stream, and of HTTP requests: the least that iperf3 and wrk take.
const SECONDS: u32 = 1;

/// Bytes of memory that the hosts of all ways and their registry take for each member, at most.
const MEMORY: u64 = 16 << 10;

pub fn run(options: &Options, progress: &mut Progress) -> Result<Report> {
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
    Ok(Report { family: options.common.family, rounds, quick: options.quick, sizes })
}

fn size(plan: &Plan, progress: &mut Progress, lab: &Lab, members: u32) -> Result<Size> {
    let mut series = rounds::measure(plan, progress, &lab.ways())?;
    series.extend(strangers::measure(plan, progress, lab)?);
    progress.show("members that join");
    let joins = join::measure(lab)?;
    let memory = lab.memory()?;
    progress.show("single packets");
    let programs = programs::measure(lab)?;
    progress.show("programs on traffic");
    let runs = traffic::measure(plan, lab)?;
    let left_out = lab.left_out.clone();
    Ok(Size { members, left_out, series, joins, memory, programs, runs })
}
