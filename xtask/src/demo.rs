//! `cargo xtask demo`: builds neti and the demo (`xtask/demo`), and becomes it.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    build,
    run::{cargo, root, shown, target_dir},
    setup::{self, Extent},
};

#[derive(Args)]
pub struct Options {
    /// The family of the hosts' addresses, or both.
    #[arg(long, default_value = "v4", value_parser = ["v4", "v6", "dual"])]
    family: String,
}

/// Builds and shows.
pub fn run(options: &Options) -> Result<()> {
    let mut command = command(&options.family)?;
    // In our place, so that Ctrl-C meets one process, which cleans up before the shell's prompt is back.
    Err(command.exec()).context("run the demo")
}

/// The demo in this family, built and ready to run.
pub fn command(family: &str) -> Result<Command> {
    setup::run(Extent::Basic)?;
    let neti = build::neti(false)?;
    shown(build::progress(&mut cargo(&["build", "--package", "neti-demo"])))?;
    let mut command = Command::new(target_dir()?.join("debug").join("neti-demo"));
    command.args(["--family", family]).env("NETI_BIN", neti).current_dir(root());
    Ok(command)
}
