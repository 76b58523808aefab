//! What neti costs, next to the same hosts without it: real daemons, the kernel's real hooks, on one machine, each host
//! in a network namespace of its own.
//!
//! Times on one machine wander, so nothing here is ever judged by one: the ways are measured in turn, round after
//! round, and compared within a round. The exit status tells whether everything worked, never how fast it was.

mod join;
mod lab;
mod programs;
mod report;
mod rounds;
mod server;
mod workload;

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use harness::{
    family::Family,
    interrupt::{self, interrupted},
    progress::Progress,
    unless_closed,
};
use lab::Lab;
use report::Report;

/// Measure what neti costs. `cargo xtask bench --help` says more.
#[derive(Parser)]
#[command(name = "neti-bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// The family of the hosts' addresses.
    #[arg(long, default_value = "v4", value_parser = family)]
    family: Family,
    /// How often everything is measured.
    #[arg(long)]
    rounds: Option<u32>,
    /// Three short rounds, for a first look.
    #[arg(long)]
    quick: bool,
    /// Also write all figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn family(name: &str) -> Result<Family, &'static str> {
    match name {
        "v4" => Ok(Family::V4),
        "v6" => Ok(Family::V6),
        _ => Err("give v4 or v6"),
    }
}

impl Arguments {
    fn plan(&self) -> Plan {
        let milliseconds = Duration::from_millis;
        let (rounds, stream, other) = if self.quick { (3, 1, 300) } else { (7, 3, 1000) };
        Plan { rounds: self.rounds.unwrap_or(rounds), stream, other: milliseconds(other) }
    }
}

/// How long it is measured.
pub struct Plan {
    pub rounds: u32,
    /// Seconds of each TCP stream.
    pub stream: u32,
    /// Time for each of the other workloads.
    pub other: Duration,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match interrupt::watch().and_then(|()| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupted() => {
            eprintln!("bench: interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let plan = arguments.plan();
    ensure!(plan.rounds > 0, "--rounds 0: give at least 1");
    if let Some(file) = &arguments.json {
        // Rather than after minutes.
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let exists = directory.is_none_or(|directory| directory.is_dir());
        ensure!(exists, "--json {}: no such directory", file.display());
    }
    let mut progress = Progress::start();
    progress.show("starting the hosts");
    let lab = Lab::new(arguments.family)?;
    let traces = lab.traces();
    let measured = measure(&plan, &mut progress, lab);
    progress.done();
    // Also after a failure or Ctrl-C: the next run must find a clean machine.
    let left = traces.left();
    for trace in &left {
        eprintln!("bench: left behind: {trace}");
    }
    let report = measured?;
    ensure!(left.is_empty(), "not everything could be removed");
    report.print(&mut std::io::stdout().lock()).or_else(unless_closed)?;
    match &arguments.json {
        Some(file) => fs::write(file, format!("{:#}\n", report.json()))
            .with_context(|| format!("write {}", file.display())),
        None => Ok(()),
    }
}

/// Consumes the lab: it is gone at the end, whatever happened.
fn measure(plan: &Plan, progress: &mut Progress, mut lab: Lab) -> Result<Report> {
    let measured = all(plan, progress, &mut lab);
    if measured.is_err() && !interrupted() {
        for host in lab.hosts() {
            eprintln!("--- neti on {} said:\n{}", host.name, host.log().trim_end());
        }
    }
    measured
}

fn all(plan: &Plan, progress: &mut Progress, lab: &mut Lab) -> Result<Report> {
    let series = rounds::measure(plan, progress, &lab.ways()?)?;
    progress.show("members that join");
    let joins = join::measure(lab)?;
    let memory = lab.memory()?;
    progress.show("single packets");
    let programs = programs::measure(lab)?;
    let (family, quick) = (lab.family, plan.stream == 1);
    Ok(Report { family, rounds: plan.rounds, quick, series, joins, memory, programs })
}
