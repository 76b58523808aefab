//! `cargo xtask bench`: builds neti as it is deployed and the benchmark (`xtask/bench`), and becomes it.

use std::{
    os::unix::process::CommandExt as _,
    path::{self, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    build,
    run::{cargo, root, shown, target_dir},
    setup::{self, Extent},
};

#[derive(Args)]
pub struct Options {
    /// The family of the hosts' addresses.
    #[arg(long, default_value = "v4", value_parser = ["v4", "v6"])]
    family: String,
    /// How often everything is measured [default: 7].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Three short rounds, for a first look: half a minute instead of three.
    #[arg(long)]
    quick: bool,
    /// Also write all figures, of each round, to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Builds and measures.
pub fn run(options: &Options) -> Result<()> {
    setup::run(Extent::Basic)?;
    let neti = build::neti(true)?;
    shown(build::progress(&mut cargo(&["build", "--package", "neti-bench"])))?;
    let mut command = Command::new(target_dir()?.join("debug").join("neti-bench"));
    command.args(["--family", &options.family]).env("NETI_BIN", neti).current_dir(root());
    if let Some(rounds) = options.rounds {
        command.args(["--rounds", &rounds.to_string()]);
    }
    if options.quick {
        command.arg("--quick");
    }
    if let Some(file) = &options.json {
        // Relative to where we were called.
        let file =
            path::absolute(file).with_context(|| format!("find where {} is", file.display()))?;
        command.arg("--json").arg(file);
    }
    // In our place, so that Ctrl-C meets one process, which cleans up before the shell's prompt is back.
    Err(command.exec()).context("run the benchmark")
}
