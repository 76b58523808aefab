//! What one packet costs in the programs that are attached: hot, when the same one comes again and again, and cold, when each
//! is of another peer.

mod cases;
mod report;

use std::borrow::Cow;

use anyhow::{Context, Result};
use clap::Args;
use harness::{bpf::Kind, progress::Progress};
use serde::{Deserialize, Serialize};

pub use self::report::print;
use self::{
    cases::{Case, Cases},
    report::{Report, Size},
};
use crate::{
    Common,
    cost::{
        lab::{Neti, options},
        members::Fleetmates,
    },
    lab::within,
    packet::Attached,
};

/// Of `programs`.
#[derive(Args)]
pub struct Options {
    /// How many other members the host knows; several sizes are measured one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [8, 8000], value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub members: Vec<u32>,
    #[command(flatten)]
    pub common: Common,
}

pub fn run(options: &Options, progress: &mut Progress) -> Result<Report> {
    let family = options.common.family;
    let mut sizes = Vec::new();
    for &count in &options.members {
        progress.step(&format!("{count} members"));
        let members = Fleetmates { family, count };
        let neti = Neti::new("tcx", members.fleet()?, &members)?;
        let costs = within(neti, |neti| measure(neti, &members))?;
        sizes.push(Size { members: count, costs });
    }
    Ok(Report { family, sizes })
}

/// A program's figures for one kind of packet, in nanoseconds above an empty program.
#[derive(Serialize, Deserialize)]
pub struct Cost {
    pub program: Cow<'static, str>,
    pub packet: Cow<'static, str>,
    /// The same packet again and again.
    #[serde(rename = "hot_ns")]
    pub hot: f64,
    /// Each packet of another peer, where there are packets of many.
    #[serde(rename = "cold_ns")]
    pub cold: Option<f64>,
    /// What an empty program takes.
    #[serde(rename = "empty_ns")]
    pub empty: f64,
}

impl Cost {
    /// Hot, in times of what an empty program takes.
    pub fn times(&self) -> f64 {
        (self.hot + self.empty) / self.empty
    }
}

/// How often the same packets are measured, one after the other: the least is what they cost.
const PASSES: usize = 7;

/// Measures them all on the first host of a pair.
pub fn measure(neti: &Neti, members: &Fleetmates) -> Result<Vec<Cost>> {
    // The other hosts have no XDP program: on a veth pair it would cost them segmentation offload.
    let site = neti.pair.lan.attach("xdp", 13)?;
    let mut xdp = neti.fleet.host_with("xdp", &site, &options("xdp"))?;
    xdp.start()?;
    let at = |link, name| Attached::to(&neti.left, link, name, Kind::SchedClassifier);
    let filter = Attached::to(&xdp, "filter", "neti_filter", Kind::Xdp)?;
    let (ingress, egress) = (at("ingress", "neti_ingress")?, at("egress", "neti_egress")?);
    let cases = Cases::new(neti, members, xdp.real(members.family))?;
    let (mut all, mut costs) = (Vec::new(), Vec::new());
    let what = |program: &Attached, case: &Case| format!("{}: {}", program.name, case.packet);
    // Sockets are looked for in the namespace that the call comes from.
    neti.left.site.netns.run(|| -> Result<()> {
        for (program, cases) in
            [(&filter, cases.filter()?), (&ingress, cases.ingress()?), (&egress, cases.egress()?)]
        {
            all.extend(cases.into_iter().map(|case| (program, case)));
        }
        for (program, case) in &all {
            costs.push(case.cost(program).with_context(|| what(program, case))?);
        }
        // The machine has times in which all takes longer.
        for _ in 1..PASSES {
            for (cost, (program, case)) in costs.iter_mut().zip(&all) {
                let (hot, empty) = case.hot(program).with_context(|| what(program, case))?;
                (cost.hot, cost.empty) = (cost.hot.min(hot), cost.empty.min(empty));
            }
        }
        Ok(())
    })?;
    Ok(costs)
}
