//! One real host in a fleet of members that exist in the registry alone: how long it takes to know all of them, how soon
//! it knows of a change, and what that costs.
//!
//! No figure is ever judged. The exit status tells whether everything worked: that every member and every change arrived
//! in the kernel's maps.

mod churn;
mod report;
mod stages;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use harness::{
    interrupt::{self, interrupted},
    progress::Progress,
    unless_closed,
};
use neti_simulate::{lab::Lab, registry::Kind};

/// Simulate a large fleet. `cargo xtask simulate --help` says more.
#[derive(Parser)]
#[command(name = "neti-simulate", bin_name = "cargo xtask simulate")]
struct Arguments {
    #[arg(long, value_parser = clap::value_parser!(u32).range(20..=1_000_000))]
    members: u32,
    #[arg(long, value_parser = rate)]
    churn: u32,
    #[arg(long, value_parser = Kind::parse)]
    registry: Kind,
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// The host reaches etcd through its grpc-proxy.
    #[arg(long)]
    proxy: bool,
    /// Also write all figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// `100/s`, or `100`.
fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).parse().ok();
    let right = number.filter(|rate| (1..=10_000).contains(rate));
    right.ok_or_else(|| "give 1/s to 10000/s".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match interrupt::watch().and_then(|()| run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupted() => {
            eprintln!("simulate: interrupted");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("simulate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if let Some(file) = &arguments.json {
        // Rather than after minutes.
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let exists = directory.is_none_or(|directory| directory.is_dir());
        ensure!(exists, "--json {}: no such directory", file.display());
    }
    ensure!(!arguments.proxy || arguments.registry == Kind::Etcd, "--proxy: only etcd has one");
    let mut progress = Progress::start();
    progress.step("starting the registry");
    let lab = Lab::new(arguments.registry, arguments.proxy)?;
    let traces = lab.traces();
    let measured = stages::all(arguments, &mut progress, lab);
    progress.done();
    // Also after a failure or Ctrl-C: the next run must find a clean machine.
    let left = traces.left();
    for trace in &left {
        eprintln!("simulate: left behind: {trace}");
    }
    let report = measured?;
    ensure!(left.is_empty(), "not everything could be removed");
    report.print(&mut std::io::stdout().lock()).or_else(unless_closed)?;
    if let Some(file) = &arguments.json {
        fs::write(file, format!("{:#}\n", report.json()))
            .with_context(|| format!("write {}", file.display()))?;
    }
    ensure!(report.lost == 0, "{} changes did not arrive", report.lost);
    Ok(())
}
