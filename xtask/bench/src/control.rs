//! How soon a host knows a fleet when it starts, and what changes in it afterwards, and what that takes.

mod changes;
mod load;
mod report;
mod said;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use harness::{host::Host, interrupt, process::prefer, progress::Progress, traces::Traces};
use neti_simulate::{lab, registry::Kind, synthetic::Member};
use tokio::runtime;

use self::{
    changes::{Counts, Latencies},
    load::Load,
    report::{Report, Size},
};
use crate::lab::{Lab, within};

/// Of `control`.
#[derive(Args)]
pub struct Options {
    /// How many members the fleet has.
    #[arg(long, value_delimiter = ',', default_values_t = [8, 8_000, 100_000, 1_000_000], value_parser = clap::value_parser!(u32).range(8..=1_000_000))]
    members: Vec<u32>,
    /// Where the fleet is registered.
    #[arg(long, default_value = "etcd", value_parser = Kind::parse)]
    registry: Kind,
    /// One start and fewer changes, for a first look.
    #[arg(long)]
    quick: bool,
    /// Also write all figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl Lab for lab::Lab {
    fn hosts(&self) -> Vec<&Host> {
        vec![&self.host]
    }

    fn traces(&self) -> Traces {
        self.traces()
    }
}

pub fn run(options: &Options, progress: &mut Progress) -> Result<Report> {
    // Whatever else this machine does stands back: it would be part of the figures.
    prefer(10).context("go before other programs")?;
    let (loads, counts) = match options.quick {
        true => (1, Counts { one: 50, many: 3 }),
        false => (3, Counts { one: 200, many: 10 }),
    };
    let mut sizes = Vec::new();
    for &members in &options.members {
        let lab = lab::Lab::new(options.registry, false)?;
        sizes.push(within(lab, |lab| size(lab, members, loads, counts, progress))?);
    }
    Ok(Report { registry: options.registry, sizes })
}

/// Everything about a fleet of one size.
fn size(
    lab: &mut lab::Lab,
    count: u32,
    loads: u32,
    counts: Counts,
    progress: &mut Progress,
) -> Result<Size> {
    let mut members: Vec<Member> = (1..=count).map(Member::new).collect();
    progress.step(&format!("{count} members: writing them"));
    fill(lab, &members, progress)?;
    progress.step(&format!("{count} members: first load"));
    let mut done = Vec::new();
    for number in 1..=loads {
        progress.show(&format!("{number} of {loads}"));
        done.push(Load::measure(lab, &members, number > 1)?);
    }
    let Latencies { one, many } = changes::measure(lab, &mut members, counts, progress)?;
    Ok(Size { members: count, loads: done, maps: load::maps(lab, &members)?, one, many })
}

fn fill(lab: &lab::Lab, members: &[Member], progress: &mut Progress) -> Result<()> {
    lab.operator.run(|| {
        runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
            let tell = |done| {
                progress.show(&format!("{done}"));
                interrupt::go_on()
            };
            lab.server.writer().await?.fill(members, tell).await
        })
    })
}
