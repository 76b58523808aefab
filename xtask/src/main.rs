//! `cargo xtask`: everything one does with this repository, so that a fresh machine needs nothing but rustup.
//!
//! It depends on little, for it is the first thing a fresh machine compiles.

mod bench;
mod build;
mod ci;
mod demo;
mod run;
mod setup;
mod simulate;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use setup::Extent;

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
    ///
    /// Example: cargo xtask setup --registries
    Setup {
        /// Also the registries that the tests run against: etcd, ZooKeeper with a Java runtime, and their clients.
        #[arg(long)]
        registries: bool,
    },
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
    /// Every line that begins with a tick was verified just before; the first thing that does not hold ends the demo
    /// with exit status 1. With `--family dual` the hosts have IPv4 and IPv6 addresses, and two more hosts have one
    /// family each: they reach whom they share it with.
    ///
    /// It needs root, works in network namespaces of its own and leaves nothing behind.
    ///
    /// Example: cargo xtask demo --family dual
    Demo(demo::Options),
    /// Measure what neti costs, next to the same hosts without it, and with what others do the same by.
    ///
    /// Pairs of hosts on networks of their own talk with nothing between ("bare"), by iptables with two rules for each
    /// member (the first Neti), by iptables and an ipset (the original one), by nftables with a map and a set, and by
    /// neti: by overlay address ("neti"), by real address ("neti direct"), and by overlay address with the filter in XDP.
    /// TCP streams (iperf3), one and eight, with an MTU of 1500 and of 9000; TCP and UDP round trips of one byte; new TCP
    /// connections; small UDP packets, as many as one thread can send, counted where they arrive; HTTP requests over 32
    /// connections that stay open (wrk, nginx); and round trips, connections and UDP packets with up to 1,000 other
    /// members in turn. Then policies of one rule and of 1,000: how many SYNs of strangers a second one processor
    /// sends, takes in and drops, next to programs that only drop them, and the new connections of a stranger and of a
    /// member that the last rule lets in. They take turns in every round, and each figure is compared with the first
    /// one's of the same turn. A rival that is too slow with many members is left out, and the report says so.
    /// Then, once: how long it takes from a member's file in the registry to its first answer, the daemons' memory, what
    /// single packets cost in the programs, and what a run of them takes on traffic. Figures of a busy machine wander;
    /// look at min - max.
    ///
    /// `--html` writes all of it, with plots, into one page that needs nothing else; `--from` makes one of the figures
    /// that `--json` wrote.
    ///
    /// The subcommands, which a plain run leaves out, measure how much it stands (`connections`, `flood`), and how soon
    /// it hears.
    ///
    /// It needs root, works in network namespaces of its own and leaves nothing behind. The exit status says whether
    /// everything worked; no figure is ever judged.
    ///
    /// Examples:
    ///
    /// cargo xtask bench --quick
    ///
    /// cargo xtask bench --members 100000 --family v6 --json figures.json
    ///
    /// cargo xtask bench --from figures.json --html figures.html --svg figures.svg
    Bench(bench::Options),
    /// Put one real host into a large fleet, whose other members exist in the registry alone.
    ///
    /// Starts a registry, fills it with members, starts neti as it is deployed, and measures: how long it takes until
    /// the kernel's maps hold all members; then, while members move, leave and come back at a steady rate, how long it
    /// takes from the registry's acknowledgement of a change until the maps hold it, and what the daemon takes of the
    /// processor; the same while nothing changes; and its memory.
    ///
    /// It needs root, works in network namespaces of its own and leaves nothing behind. The exit status says whether
    /// everything arrived; no figure is ever judged.
    ///
    /// Example: cargo xtask simulate --members 100000 --churn 100/s --registry etcd
    Simulate(simulate::Options),
    /// Everything that a change must pass: format, lints, tests, demo.
    Ci,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Task::Setup { registries: false } => setup::run(Extent::Basic),
        Task::Setup { registries: true } => setup::run(Extent::Registries),
        Task::Build { release } => build::run(release),
        Task::Test { filter, arguments } => test::run(filter.as_deref(), &arguments),
        Task::Demo(options) => demo::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Simulate(options) => simulate::run(&options),
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
