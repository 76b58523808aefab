//! Many connections at once between two members, with connection tracking bounded to fewer.

mod lab;
mod report;

use std::time::Instant;

use anyhow::{Result, ensure};
use clap::Args;
use harness::{
    conntrack::{self, Limit},
    crowd::{Counts, Crowd, Plan},
    figures::available_memory,
    interrupt,
    progress::Progress,
};

use self::{
    lab::{Lab, Setup},
    report::{Report, Row},
};
use crate::{Common, lab::within};

/// Of `connections`.
#[derive(Args)]
pub struct Options {
    /// How many connections are held at once.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// How many the kernel may track in each namespace meanwhile; fewer if that is how it is set.
    #[arg(long, default_value_t = 65_536, value_parser = clap::value_parser!(u64).range(1..))]
    tracked: u64,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(options: &Options, progress: &mut Progress) -> Result<Report> {
    let connections = options.connections as usize;
    let (needed, available) = (Crowd::memory(connections), available_memory()?);
    ensure!(
        needed < available,
        "{connections} connections take {} MiB of memory, {} MiB are available: give fewer with \
         --connections",
        needed >> 20,
        available >> 20
    );
    let mut rows = Vec::new();
    for setup in Setup::ALL {
        progress.step(setup.name());
        progress.show("starting the hosts");
        let lab = Lab::new(setup, options.common.family)?;
        rows.push(within(lab, |lab| {
            // Its guard is a process of ours, and must have ended when the lab has.
            let limit = Limit::at_most(options.tracked)?;
            measure(lab, setup, limit.most(), connections, progress)
        })?);
    }
    Ok(Report { family: options.common.family, rows })
}

fn measure(
    lab: &Lab,
    setup: Setup,
    most: u64,
    connections: usize,
    progress: &mut Progress,
) -> Result<Row> {
    let plan = Plan {
        client: lab.left.netns.clone(),
        server: lab.right.netns.clone(),
        to: lab.to,
        connections,
    };
    let mut tell = |counts: Counts| {
        let Counts { tried, open, talked } = counts;
        progress.show(&format!("{tried} dialled, {open} open, {talked} used"));
        interrupt::go_on()
    };
    let begun = Instant::now();
    let mut crowd = Crowd::dial(&plan, &mut tell)?;
    let seconds = begun.elapsed().as_secs_f64();
    crowd.talk(&mut tell)?;
    // Before they are closed, which the kernel would see too.
    let entries = [conntrack::entries(&plan.client)?, conntrack::entries(&plan.server)?];
    let (counts, fault) = (crowd.counts(), crowd.fault());
    Ok(Row { setup: setup.name(), most, counts, entries, seconds, fault })
}
