//! What all reports have in common.

use std::{fs, io::Write};

use anyhow::{Result, bail};
use harness::statistics::Spread;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Everything that one measurement gives.
pub trait Report {
    /// A table of 80 columns.
    fn print(&self, out: &mut dyn Write) -> Result<()>;
    fn json(&self) -> Value;

    /// A page with plots, complete in itself.
    fn html(&self) -> Result<String> {
        bail!("these figures have no page")
    }

    /// The plot that says most, as a file of its own.
    fn svg(&self) -> Result<String> {
        bail!("these figures have no plot")
    }
}

/// Where it was measured.
#[derive(Serialize, Deserialize)]
pub struct Machine {
    pub kernel: String,
    pub processors: usize,
    /// What the kernel says that the processor is, if it does.
    pub processor: Option<String>,
}

impl Machine {
    pub fn look() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let model = |line: &str| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then(|| value.trim().to_owned())
        };
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processors: std::thread::available_parallelism().map_or(0, usize::from),
            processor: read("/proc/cpuinfo").lines().find_map(model),
        }
    }
}

/// The same as JSON.
pub fn machine() -> Value {
    let Machine { kernel, processors, processor } = Machine::look();
    json!({ "kernel": kernel, "processors": processors, "processor": processor })
}

/// A spread, and what it is of.
pub fn with_values(spread: Spread, values: &[f64]) -> Value {
    let mut value = spread.json();
    value["values"] = json!(values);
    value
}
