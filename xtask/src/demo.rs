//! `cargo xtask demo`: builds neti and the demo (`xtask/demo`), and becomes it.

use std::{os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context, Result};

use crate::{
    build,
    run::{cargo, root, shown, target_dir},
    setup,
};

/// Builds and shows.
pub fn run() -> Result<()> {
    let mut command = command()?;
    // In our place, so that Ctrl-C meets one process, which cleans up before the shell's prompt is back.
    Err(command.exec()).context("run the demo")
}

/// The demo, built and ready to run.
pub fn command() -> Result<Command> {
    setup::run()?;
    let neti = build::neti(false)?;
    shown(build::progress(&mut cargo(&["build", "--package", "neti-demo"])))?;
    let mut command = Command::new(target_dir()?.join("debug").join("neti-demo"));
    command.env("NETI_BIN", neti).current_dir(root());
    Ok(command)
}
