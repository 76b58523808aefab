//! `cargo xtask setup`: makes a machine able to build, test and show neti.
//!
//! What is there is looked at ([`machine`]), what to do about it is decided without touching anything ([`plan`]), then
//! done. A machine that lacks nothing is told nothing.

mod machine;
mod plan;

use std::{fs, io::Write as _, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use machine::Machine;
use plan::Plan;

use crate::run::{quiet, root};

pub use machine::{Compiler, compiler};
pub use plan::Extent;

/// The rustup toolchain that stands for Debian's compiler.
pub const BPF_TOOLCHAIN: &str = "neti-bpf";

/// Installs what is missing of this extent, or says what to install.
pub fn run(extent: Extent) -> Result<()> {
    let machine = Machine::look(extent);
    let plan = plan::plan(&machine);
    if let Some(text) = plan.for_the_reader(&machine) {
        bail!("{text}");
    }
    carry_out(&plan)?;
    // A second look: that a package was installed does not prove that what was missing is there.
    match plan::plan(&Machine::look(extent)) {
        left if left.is_empty() => Ok(()),
        left => bail!("set up, and yet this machine lacks {}", left.what().join(", ")),
    }
}

fn carry_out(plan: &Plan) -> Result<()> {
    if !plan.packages.is_empty() {
        say(&format!("installing Debian packages: {}", plan.packages.join(" ")));
        install(&plan.packages).context("install Debian packages")?;
    }
    if plan.link {
        say(&format!("linking Debian's Rust compiler as rustup toolchain {BPF_TOOLCHAIN}"));
        quiet(Command::new("rustup").args(["toolchain", "link", BPF_TOOLCHAIN, "/usr"]))?;
    }
    if plan.linker {
        say("building bpf-linker (about a minute)");
        quiet(
            Command::new("cargo")
                .args(plan::LINKER_INSTALL)
                .env("LLVM_PREFIX", plan::LLVM_PREFIX)
                .current_dir(root()),
        )?;
    }
    Ok(())
}

fn install(packages: &[&str]) -> Result<()> {
    let _no_services = NoServices::declare()?;
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(["--quiet", "--option", "DPkg::Lock::Timeout=120"]).args(arguments);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    quiet(&mut apt(&["update"]))?;
    // Without --no-remove a conflict (Debian's old rustc, its rustup) would be solved by removing what the user has.
    quiet(apt(&["install", "--yes", "--no-install-recommends", "--no-remove"]).args(packages))
}

/// Keeps packages that carry a server (nginx, etcd) from starting it, by Debian's policy-rc.d.
struct NoServices;

impl NoServices {
    const POLICY: &str = "/usr/sbin/policy-rc.d";

    /// `None` where the machine has a policy of its own.
    fn declare() -> Result<Option<Self>> {
        use std::os::unix::fs::OpenOptionsExt as _;
        if Path::new(Self::POLICY).exists() {
            return Ok(None);
        }
        let open =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(Self::POLICY);
        let mut file = open.with_context(|| format!("write {}", Self::POLICY))?;
        // 101: action not allowed.
        file.write_all(b"#!/bin/sh\nexit 101\n")?;
        Ok(Some(Self))
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        let _ = fs::remove_file(Self::POLICY);
    }
}

fn say(text: &str) {
    eprintln!("setup: {text}");
}
