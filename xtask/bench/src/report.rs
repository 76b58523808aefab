//! What all reports have in common.

use std::{fs, io::Write};

use anyhow::Result;
use harness::statistics::Spread;
use serde_json::{Value, json};

/// Everything that one measurement gives.
pub trait Report {
    /// A table of 80 columns.
    fn print(&self, out: &mut dyn Write) -> Result<()>;
    fn json(&self) -> Value;
}

/// Where it was measured.
pub fn machine() -> Value {
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({ "kernel": kernel.trim(), "processors": processors })
}

/// A spread, and what it is of.
pub fn with_values(spread: Spread, values: &[f64]) -> Value {
    let mut value = spread.json();
    value["values"] = json!(values);
    value
}
