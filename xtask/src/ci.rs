//! `cargo xtask ci`: everything that a change must pass.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::{
    demo,
    run::{cargo, root, shown, target_dir, with_toolchain},
    setup::{self, BPF_TOOLCHAIN, Compiler, Extent},
    test,
};

/// Runs it all; the first thing that fails ends it.
pub fn run() -> Result<()> {
    setup::run(Extent::Registries)?;
    step("format");
    shown(&mut cargo(&["fmt", "--all", "--check"]))?;
    step("lints of the host's crates");
    shown(&mut cargo(&["clippy", "--quiet", "--all-targets", "--", "--deny=warnings"]))?;
    step("lints of the kernel programs");
    shown(&mut kernel_lints()?)?;
    step("licences and dependencies");
    dependencies()?;
    for family in ["v4", "dual"] {
        step(&format!("demo, {family}"));
        shown(&mut demo::command(family)?)?;
    }
    // Last, so that its closing lines close the whole.
    step("tests");
    test::run(None, &[])
}

/// clippy on neti-ebpf, for the target it is built for and by the compiler that builds it.
fn kernel_lints() -> Result<Command> {
    let clippy =
        ["clippy", "--quiet", "--release", "--package=neti-ebpf", "--target=bpfel-unknown-none"];
    let mut command = match setup::compiler() {
        Some(Compiler::Debian) => {
            let mut command = with_toolchain(BPF_TOOLCHAIN, "cargo", &clippy);
            // As in neti-userspace/build.rs.
            command.env("RUSTC_BOOTSTRAP", "aya_ebpf,aya_ebpf_bindings,aya_ebpf_cty,dataplane");
            command
        }
        Some(Compiler::Nightly) => {
            let mut command = with_toolchain("nightly", "cargo", &clippy);
            command.arg("-Zbuild-std=core");
            command
        }
        None => bail!("no compiler for the BPF target: run `cargo xtask setup`"),
    };
    command.arg("--").arg("--deny=warnings");
    // A directory of its own: another compiler's output would be thrown away at every turn.
    command.env("CARGO_TARGET_DIR", target_dir()?.join("bpf-lints"));
    command
        .env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH));
    Ok(command)
}

/// deny.toml, where cargo-deny is installed. It takes minutes to build, so setup does not bring it.
fn dependencies() -> Result<()> {
    let found = env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .map(|directory| directory.join("cargo-deny"))
        .find(|path: &PathBuf| path.is_file());
    let Some(program) = found else {
        println!("skipped: cargo-deny is not installed (cargo install cargo-deny --locked)");
        return Ok(());
    };
    let mut command = Command::new(program);
    command.args(["--offline", "--log-level=warn", "check", "bans", "licenses", "sources"]);
    shown(command.current_dir(root())).context("deny.toml")
}

fn step(what: &str) {
    println!("== {what}");
}
