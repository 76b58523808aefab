//! `cargo xtask`: everything one does with this repository, so that a fresh machine needs nothing but rustup.
//!
//! It depends on little, for it is the first thing a fresh machine compiles.

mod build;
mod ci;
mod demo;
mod run;
mod setup;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set up, build, test and show neti.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what this machine lacks to build, test and show neti.
    ///
    /// On Debian 12 as root it installs exactly what is missing; elsewhere it says what to install. Every other command
    /// runs it first.
    Setup,
    /// Build the `neti` binary, with the kernel programs inside.
    ///
    /// Example: cargo xtask build --release
    Build {
        /// With optimisations, as it is deployed.
        #[arg(long)]
        release: bool,
    },
    /// Run all tests; quiet as long as they pass.
    ///
    /// Example: cargo xtask test fragments
    Test {
        /// Only tests whose name contains this.
        filter: Option<String>,
        /// Arguments for the test programs, after `--`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Show three hosts of two networks talking over overlay addresses, on this machine.
    ///
    /// It needs root, works in network namespaces of its own and leaves nothing behind.
    Demo,
    /// Everything that a change must pass: format, lints, tests, demo.
    Ci,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Task::Setup => setup::run(),
        Task::Build { release } => build::run(release),
        Task::Test { filter, arguments } => test::run(filter.as_deref(), &arguments),
        Task::Demo => demo::run(),
        Task::Ci => ci::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
