//! Running other programs from the top of the repository.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// The top of the repository.
pub fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Where cargo puts what it builds: two levels above this program, which it built too.
pub fn target_dir() -> Result<PathBuf> {
    let program = env::current_exe().context("find this program's own path")?;
    let target = program.parent().and_then(Path::parent);
    target
        .map(Path::to_owned)
        .with_context(|| format!("{}: not in a target directory", program.display()))
}

/// `cargo`, the one that runs this program, at the top of the repository.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root());
    command
}

/// `program` of another toolchain, at the top of the repository.
pub fn with_toolchain(toolchain: &str, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain, program]).args(arguments).current_dir(root());
    // These name the compiler of the toolchain that runs us and would win over the one asked for.
    for variable in ["CARGO", "RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOC"] {
        command.env_remove(variable);
    }
    command
}

/// Runs a command to its end, its output shown.
pub fn shown(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("run {}", line(command)))?;
    if !status.success() {
        bail!("{}: {status}", line(command));
    }
    Ok(())
}

/// Runs a command to its end and gives what it printed, or nothing if it cannot be run or fails.
pub fn answer(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs a command to its end; what it printed is shown only if it fails.
pub fn quiet(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("run {}", line(command)))?;
    if !output.status.success() {
        bail!(
            "{}: {}\n{}{}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

/// A command as one would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
