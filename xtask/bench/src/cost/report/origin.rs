//! Where figures come from: what one must know to judge them, and to measure them again.

use std::process::Command;

use serde::{Deserialize, Serialize};
use time::UtcDateTime;

use crate::report::Machine;

#[derive(Serialize, Deserialize)]
pub struct Origin {
    pub machine: Machine,
    /// neti's version, and its commit where there is a repository.
    pub version: String,
    /// The day, in UTC.
    pub date: String,
    /// What measures the same again.
    pub command: String,
}

impl Origin {
    /// This machine, this version, and today.
    pub fn look(command: String) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let version = match commit() {
            Some(commit) => format!("{version} ({commit})"),
            None => version.to_owned(),
        };
        let date = UtcDateTime::now().date().to_string();
        Self { machine: Machine::look(), version, date, command }
    }
}

/// The commit that is checked out, and whether files differ from it.
fn commit() -> Option<String> {
    let mut command = Command::new("git");
    command.args(["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]);
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
