//! Hosts of two networks that talk over overlay addresses: real daemons, the kernel's real hooks, real programs, on one
//! machine, each host in a network namespace of its own.
//!
//! Every claim on the screen was verified just before it is printed; the first that does not hold ends the demo with
//! exit status 1. Whatever ends it, nothing stays behind: namespaces and programs end with this process, pins and files
//! are removed.

mod claims;
mod lab;
mod picture;
mod screen;
mod server;
mod wire;

use std::{process::ExitCode, time::Instant};

use anyhow::{Result, ensure};
use claims::{death, meeting, restraint, stranger, talk};
use clap::{Parser, ValueEnum};
use harness::{
    family::Family,
    interrupt::{self, interrupted},
};
use lab::Lab;
use screen::Screen;

/// Show hosts that talk over overlay addresses. `cargo xtask demo --help` says more.
#[derive(Parser)]
#[command(name = "neti-demo", bin_name = "cargo xtask demo")]
struct Arguments {
    /// The family of the hosts' addresses, or both.
    #[arg(long, default_value = "v4")]
    family: Families,
}

#[derive(Clone, Copy, ValueEnum)]
enum Families {
    V4,
    V6,
    Dual,
}

impl Families {
    fn list(self) -> &'static [Family] {
        match self {
            Self::V4 => &[Family::V4],
            Self::V6 => &[Family::V6],
            Self::Dual => &Family::ALL,
        }
    }
}

fn main() -> ExitCode {
    let families = Arguments::parse().family.list();
    let mut screen = Screen::new();
    match interrupt::watch().and_then(|()| show(&mut screen, families)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupted() => {
            eprintln!("\ndemo: interrupted; nothing is left behind");
            ExitCode::from(130)
        }
        Err(_) if screen.closed() => ExitCode::SUCCESS,
        Err(error) => {
            screen.failed(&error);
            ExitCode::FAILURE
        }
    }
}

fn show(screen: &mut Screen, families: &'static [Family]) -> Result<()> {
    let started = Instant::now();
    screen.line(&picture::picture(families))?;
    let lab = Lab::new(families)?;
    let traces = lab.traces();
    let played = play(screen, lab);
    // Also after a failure: the next demo must find a clean machine.
    let left = traces.left();
    played?;
    screen.step("Nothing is left behind")?;
    ensure!(left.is_empty(), "left behind: {}", left.join(", "));
    screen.ok("no program, pinned map, run file or namespace of the demo exists")?;
    screen.line(&format!("\nAll verified, in {:.0} s.", started.elapsed().as_secs_f64()))
}

/// Consumes the lab: it is gone at the end, whatever happened.
fn play(screen: &mut Screen, mut lab: Lab) -> Result<()> {
    let played = steps(screen, &mut lab);
    if played.is_err() && !interrupted() && !screen.closed() {
        for member in &lab.members {
            eprintln!("--- neti on {} said:\n{}", member.host.name, member.host.log().trim_end());
        }
    }
    played
}

fn steps(screen: &mut Screen, lab: &mut Lab) -> Result<()> {
    screen.step("The hosts join the fleet")?;
    meeting::show(screen, lab)?;
    screen.step("Every host talks to every other by overlay address")?;
    let captures = lab.capture()?;
    talk::show(screen, lab)?;
    screen.step("On the wire there are only real addresses")?;
    wire::show(screen, lab, captures)?;
    screen.step("A stranger is refused")?;
    stranger::show(screen, lab)?;
    screen.step("No connection is tracked, even with a nat table on the hosts")?;
    restraint::show(screen, lab)?;
    screen.step("A daemon is killed: its traffic goes on, then the host is forgotten")?;
    death::show(screen, lab)?;
    screen.step("What neti says about itself, on hudson")?;
    meeting::neti_show(screen, lab)
}
