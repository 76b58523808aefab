//! The `neti` binary that is tested.

use std::{
    env,
    io::BufReader,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The `neti` binary: `$NETI_BIN`, or built here.
pub fn neti() -> Result<&'static Path> {
    static NETI: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = NETI.get() {
        return Ok(path);
    }
    let path = match env::var_os("NETI_BIN") {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    if !path.is_file() {
        bail!("NETI_BIN: {}: not a file; give the path of the neti binary", path.display());
    }
    Ok(NETI.get_or_init(|| path))
}

fn build() -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut child = Command::new(cargo)
        .args(["build", "--quiet", "--package", "neti-userspace", "--bin", "neti"])
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdout(Stdio::piped())
        .spawn()
        .context("run cargo build for neti")?;
    let output = BufReader::new(child.stdout.take().context("cargo's output is piped")?);
    let mut path = None;
    for message in serde_json::Deserializer::from_reader(output).into_iter::<Value>() {
        let message = message.context("read cargo's messages")?;
        if message["target"]["name"] == "neti"
            && let Some(executable) = message["executable"].as_str()
        {
            path = Some(PathBuf::from(executable));
        }
    }
    if !child.wait()?.success() {
        bail!("cargo build --package neti-userspace failed");
    }
    path.context("cargo built no neti binary")
}
