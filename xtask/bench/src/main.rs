//! What neti costs and how much it stands: real daemons, the kernel's real hooks, on one machine, each host in a network
//! namespace of its own.
//!
//! The exit status tells whether everything worked, never how fast it was.

mod alone;
mod connections;
mod cost;
mod flood;
mod in_force;
mod iperf;
mod lab;
mod packet;
mod programs;
mod ranges;
mod reload;
mod report;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};
use harness::{
    family::Family,
    interrupt::{self, interrupted},
    progress::Progress,
    unless_closed,
};
use report::Report;

/// Measure neti. `cargo xtask bench --help` says more.
#[derive(Parser)]
#[command(
    name = "neti-bench",
    bin_name = "cargo xtask bench",
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    workload: Option<Workload>,
    #[command(flatten)]
    cost: cost::Options,
}

#[derive(Subcommand)]
enum Workload {
    /// More connections at once than connection tracking has room for.
    Connections(connections::Options),
    /// A TCP stream between members while strangers flood one of them.
    Flood(flood::Options),
    /// What one packet costs in each program.
    Programs(programs::Options),
    /// What a policy of very many ranges of addresses costs.
    Ranges(ranges::Options),
    /// How soon a host judges by a policy that was changed.
    Reload(reload::Options),
}

/// What every measurement takes.
#[derive(Args)]
pub struct Common {
    /// The family of the hosts' addresses.
    #[arg(long, default_value = "v4", value_parser = family)]
    family: Family,
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
    let common = match &arguments.workload {
        None => &arguments.cost.common,
        Some(Workload::Connections(options)) => &options.common,
        Some(Workload::Flood(options)) => &options.common,
        Some(Workload::Programs(options)) => &options.common,
        Some(Workload::Ranges(options)) => &options.common,
        Some(Workload::Reload(options)) => &options.common,
    };
    let cost::Options { html, svg, .. } = &arguments.cost;
    for (option, file) in [("json", &common.json), ("html", html), ("svg", svg)] {
        let Some(file) = file else { continue };
        // Rather than after minutes.
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let exists = directory.is_none_or(|directory| directory.is_dir());
        ensure!(exists, "--{option} {}: no such directory", file.display());
    }
    let mut progress = Progress::start();
    let measured = measure(arguments, &mut progress);
    progress.done();
    let report = measured?;
    report.print(&mut std::io::stdout().lock()).or_else(unless_closed)?;
    write(common.json.as_deref(), || Ok(format!("{:#}\n", report.json())))?;
    write(html.as_deref(), || report.html())?;
    write(svg.as_deref(), || report.svg())
}

/// Writes a file that was asked for.
fn write(file: Option<&Path>, text: impl FnOnce() -> Result<String>) -> Result<()> {
    let Some(file) = file else { return Ok(()) };
    text()
        .and_then(|text| Ok(fs::write(file, text)?))
        .with_context(|| format!("write {}", file.display()))
}

fn measure(arguments: &Arguments, progress: &mut Progress) -> Result<Box<dyn Report>> {
    Ok(match &arguments.workload {
        None => Box::new(cost::run(&arguments.cost, progress)?),
        Some(Workload::Connections(options)) => Box::new(connections::run(options, progress)?),
        Some(Workload::Flood(options)) => Box::new(flood::run(options, progress)?),
        Some(Workload::Programs(options)) => Box::new(programs::run(options, progress)?),
        Some(Workload::Ranges(options)) => Box::new(ranges::run(options, progress)?),
        Some(Workload::Reload(options)) => Box::new(reload::run(options, progress)?),
    })
}
