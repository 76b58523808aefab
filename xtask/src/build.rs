//! `cargo xtask build`: the `neti` binary.

use std::{io::IsTerminal as _, path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    run::{cargo, shown, target_dir},
    setup::{self, Extent},
};

/// Builds `neti` and says where it is.
pub fn run(release: bool) -> Result<()> {
    setup::run(Extent::Basic)?;
    println!("{}", neti(release)?.display());
    Ok(())
}

/// Builds `neti`, which `cargo` reports on, and gives its path.
pub fn neti(release: bool) -> Result<PathBuf> {
    let mut command = cargo(&["build", "--package", "neti-userspace", "--bin", "neti"]);
    if release {
        command.arg("--release");
    }
    shown(progress(&mut command))?;
    Ok(target_dir()?.join(if release { "release" } else { "debug" }).join("neti"))
}

/// Lets cargo show its progress to a person, and only what is wrong to a log.
pub fn progress(command: &mut Command) -> &mut Command {
    let quiet = !std::io::stderr().is_terminal();
    command.env("CARGO_TERM_QUIET", quiet.to_string())
}
