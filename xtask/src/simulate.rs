//! `cargo xtask simulate`: builds neti as it is deployed and the simulation (`xtask/simulate`), and becomes it.

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
    /// How many members the fleet has.
    #[arg(long, default_value_t = 10_000)]
    members: u32,
    /// How many changes there are per second.
    #[arg(long, default_value = "100/s", value_name = "NUMBER/s")]
    churn: String,
    /// Where the fleet is registered.
    #[arg(long, default_value = "etcd", value_parser = ["etcd", "zookeeper", "directory"])]
    registry: String,
    /// The host reaches etcd through its grpc-proxy.
    #[arg(long)]
    proxy: bool,
    /// For how long members change.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Also write all figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Builds and measures.
pub fn run(options: &Options) -> Result<()> {
    setup::run(Extent::Registries)?;
    let neti = build::neti(true)?;
    shown(build::progress(&mut cargo(&["build", "--package", "neti-simulate"])))?;
    let mut command = Command::new(target_dir()?.join("debug").join("neti-simulate"));
    command
        .args(["--members", &options.members.to_string(), "--churn", &options.churn])
        .args(["--registry", &options.registry, "--seconds", &options.seconds.to_string()])
        .env("NETI_BIN", neti)
        .current_dir(root());
    if options.proxy {
        command.arg("--proxy");
    }
    if let Some(file) = &options.json {
        // Relative to where we were called.
        let file =
            path::absolute(file).with_context(|| format!("find where {} is", file.display()))?;
        command.arg("--json").arg(file);
    }
    // In our place, so that Ctrl-C meets one process, which cleans up before the shell's prompt is back.
    Err(command.exec()).context("run the simulation")
}
