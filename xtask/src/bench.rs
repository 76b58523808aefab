//! `cargo xtask bench`: builds neti as it is deployed and the benchmark (`xtask/bench`), and becomes it.

use std::{
    os::unix::process::CommandExt as _,
    path::{self, Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use clap::{Args, Subcommand, value_parser};

use crate::{
    build,
    run::{cargo, root, shown, target_dir},
    setup::{self, Extent},
};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Options {
    #[command(subcommand)]
    workload: Option<Workload>,
    /// How often everything is measured [default: 5].
    #[arg(long, value_parser = value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Two short rounds with two sizes, for a first look: three minutes instead of thirty. The streams are then one with
    /// an MTU of 1500 and eight with one of 9000, and with the second size there is only what meets many members.
    #[arg(long)]
    quick: bool,
    /// How many other members each host knows; several sizes are measured one after the other, the first and the last
    /// one with everything, those between with what meets many members. A million take 16 GiB of memory. [default:
    /// 8,8000,100000,1000000; with --quick 8,8000]
    #[arg(long, value_delimiter = ',', value_parser = value_parser!(u32).range(1..=1_000_000))]
    members: Vec<u32>,
    /// Measure nothing: show the figures in this file, which an earlier run wrote with --json.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rounds", "quick", "members", "family"])]
    from: Option<PathBuf>,
    /// Also write a page with plots of all figures to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Also write the plot that says most to this file, as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

/// What every measurement takes.
#[derive(Args)]
struct Common {
    /// The family of the hosts' addresses.
    #[arg(long, default_value = "v4", value_parser = ["v4", "v6"])]
    family: String,
    /// Also write all figures, of each round, to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Workload {
    /// Open more connections between two members than connection tracking has room for.
    ///
    /// Without neti, with it, with it where a nat table makes the kernel track (`notrack = true`), and with the original
    /// Neti's rules (ipset and DNAT). All connections are open at the same time, and then carry a byte there and back.
    /// It takes 2 GiB of memory and half a minute. `net.netfilter.nf_conntrack_max` holds for the whole machine; it is
    /// lowered meanwhile if it is higher, and put back in any case.
    ///
    /// Example: cargo xtask bench connections --connections 100000
    Connections {
        /// How many connections are held at once.
        #[arg(long, default_value_t = 200_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
        connections: u32,
        /// How many the kernel may track in each namespace meanwhile; fewer if that is how it is set.
        #[arg(long, default_value_t = 65_536, value_parser = value_parser!(u64).range(1..))]
        tracked: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Measure how soon a host knows a fleet, and what changes in it.
    ///
    /// One real host and a real registry, with members that exist there alone. The first load: how long it takes to read
    /// the registry, and from there until all members are in the kernel's maps; the processor time of the whole start;
    /// the daemon's memory, and the kernel's for each member. Then members move, one after the other and a thousand at
    /// once: how long it takes until the kernel's maps know, from the daemon's hearing of it, by its own word, and from
    /// the registry's acknowledgement, as seen from outside. A fleet of a million takes 6 GiB of memory and three minutes.
    ///
    /// Example: cargo xtask bench control --members 8000,100000 --quick
    Control {
        /// How many members the fleet has; several sizes are measured one after the other.
        #[arg(long, value_delimiter = ',', default_values_t = [8, 8_000, 100_000, 1_000_000], value_parser = value_parser!(u32).range(8..=1_000_000))]
        members: Vec<u32>,
        /// Where the fleet is registered.
        #[arg(long, default_value = "etcd", value_parser = ["etcd", "zookeeper", "directory"])]
        registry: String,
        /// One start and fewer changes, for a first look.
        #[arg(long)]
        quick: bool,
        /// Also write all figures to this file, as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Measure a TCP stream between members while strangers flood its receiver.
    ///
    /// A million sources that do not exist send SYNs, then questions over UDP, then these and segments of no connection
    /// in turn, at a steady rate. In neti's place, in the same rounds, a program that drops the flood's prefix and does
    /// nothing else shows what the flood costs in any case: the generator, the wire, and the way into the filter. Both
    /// in XDP, and in tcx, where neti is on interfaces like these. Streams can be compared if as many packets per second
    /// were offered, which the report has. Last comes what the flooded host's neti takes of memory.
    ///
    /// Example: cargo xtask bench flood --rate 100000 --quick
    Flood {
        /// Packets of the flood per second.
        #[arg(long, default_value_t = 200_000, value_parser = value_parser!(u32).range(1000..=10_000_000))]
        rate: u32,
        /// How often everything is measured [default: 5].
        #[arg(long, value_parser = value_parser!(u32).range(1..))]
        rounds: Option<u32>,
        /// Three short rounds, for a first look: two minutes instead of eight, and fewer sources.
        #[arg(long)]
        quick: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Measure what one packet costs in each program, without the stack around it.
    ///
    /// Hot: the same packet again and again, by one call of BPF_PROG_TEST_RUN. Cold: each packet of another peer, by a call of
    /// its own. Both above what an empty program takes in the same way.
    ///
    /// Example: cargo xtask bench programs --members 8,100000
    Programs {
        /// How many other members the host knows; several sizes are measured one after the other.
        #[arg(long, value_delimiter = ',', default_values_t = [8, 8000], value_parser = value_parser!(u32).range(1..=1_000_000))]
        members: Vec<u32>,
        #[command(flatten)]
        common: Common,
    },
    /// Measure what a policy of very many ranges of addresses costs, next to one of ten.
    ///
    /// How long it takes from the moment when the settings are in the registry, a directory, until the programs are told to
    /// go by them; and what one packet of a stranger takes, refused and let in, from one address and from all over.
    ///
    /// Example: cargo xtask bench ranges --family v6
    Ranges {
        /// How many ranges the larger policy has.
        #[arg(long, default_value_t = 100_000, value_parser = value_parser!(u32).range(11..=100_000))]
        ranges: u32,
        /// How often everything is measured.
        #[arg(long, default_value_t = 7, value_parser = value_parser!(u32).range(1..))]
        rounds: u32,
        #[command(flatten)]
        common: Common,
    },
    /// Measure how soon a host judges by a policy that was changed.
    ///
    /// From the moment when the settings are in the registry, a directory, until the programs are told to go by them: when
    /// one allow rule of many changes, and when every one does.
    ///
    /// Example: cargo xtask bench reload --members 100 --rules 10
    Reload {
        /// How many members the fleet has.
        #[arg(long, default_value_t = 8_000, value_parser = value_parser!(u32).range(1..=60_000))]
        members: u32,
        /// How many allow rules the policy has.
        #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=1_000))]
        rules: u32,
        /// How often the policy is changed, in each way.
        #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..))]
        reloads: u32,
        #[command(flatten)]
        common: Common,
    },
}

/// Builds and measures.
pub fn run(options: &Options) -> Result<()> {
    let mut command = Command::new(target_dir()?.join("debug").join("neti-bench"));
    command.args(arguments(options)?).current_dir(root());
    if matches!(options.workload, None | Some(Workload::Programs { .. })) {
        // A registry of a million files, which some disks take a quarter of an hour to forget.
        command.env("TMPDIR", "/dev/shm");
    }
    if options.from.is_none() {
        let extent = match options.workload {
            Some(Workload::Control { .. }) => Extent::Registries,
            _ => Extent::Basic,
        };
        setup::run(extent)?;
        command.env("NETI_BIN", build::neti(true)?);
    }
    shown(build::progress(&mut cargo(&["build", "--package", "neti-bench"])))?;
    // In our place, so that Ctrl-C meets one process, which cleans up before the shell's prompt is back.
    Err(command.exec()).context("run the benchmark")
}

/// The same for the program that measures.
fn arguments(options: &Options) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut with = |name: &str, value: &dyn ToString| {
        words.extend([format!("--{name}"), value.to_string()]);
    };
    let (name, quick, common, json) = match &options.workload {
        None => {
            if let Some(file) = &options.from {
                with("from", &absolute(file)?.display());
            } else {
                options.rounds.iter().for_each(|rounds| with("rounds", rounds));
                options.members.iter().for_each(|members| with("members", members));
            }
            for (name, file) in [("html", &options.html), ("svg", &options.svg)] {
                let file = file.as_deref().map(absolute).transpose()?;
                file.iter().for_each(|file| with(name, &file.display()));
            }
            (None, options.quick, Some(&options.common), &options.common.json)
        }
        Some(Workload::Connections { connections, tracked, common }) => {
            with("connections", connections);
            with("tracked", tracked);
            (Some("connections"), false, Some(common), &common.json)
        }
        Some(Workload::Control { members, registry, quick, json }) => {
            members.iter().for_each(|members| with("members", members));
            with("registry", registry);
            (Some("control"), *quick, None, json)
        }
        Some(Workload::Flood { rate, rounds, quick, common }) => {
            with("rate", rate);
            rounds.iter().for_each(|rounds| with("rounds", rounds));
            (Some("flood"), *quick, Some(common), &common.json)
        }
        Some(Workload::Programs { members, common }) => {
            members.iter().for_each(|members| with("members", members));
            (Some("programs"), false, Some(common), &common.json)
        }
        Some(Workload::Ranges { ranges, rounds, common }) => {
            with("ranges", ranges);
            with("rounds", rounds);
            (Some("ranges"), false, Some(common), &common.json)
        }
        Some(Workload::Reload { members, rules, reloads, common }) => {
            with("members", members);
            with("rules", rules);
            with("reloads", reloads);
            (Some("reload"), false, Some(common), &common.json)
        }
    };
    common.iter().for_each(|common| with("family", &common.family));
    if let Some(file) = json {
        with("json", &absolute(file)?.display());
    }
    if quick {
        words.push("--quick".to_owned());
    }
    words.splice(0..0, name.map(str::to_owned));
    Ok(words)
}

/// Relative to where we were called.
fn absolute(file: &Path) -> Result<PathBuf> {
    path::absolute(file).with_context(|| format!("find where {} is", file.display()))
}
