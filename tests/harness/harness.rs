//! Namespaces, hosts and packets for the tests, the demo, the benchmark and the simulation.
//!
//! Everything here is owned: a namespace, a program or a running neti ends with the value that stands for it, also when
//! a test panics, and nothing is looked for or killed by name. Tests are therefore independent and run in parallel.

pub mod binary;
pub mod bpf;
pub mod conntrack;
pub mod container;
pub mod crowd;
pub mod dns;
pub mod family;
pub mod figures;
pub mod fleet;
pub mod flood;
pub mod footprint;
pub mod host;
pub mod instance;
pub mod interrupt;
pub mod netns;
pub mod offload;
pub mod packets;
pub mod process;
pub mod progress;
pub mod rivals;
pub mod servers;
pub mod socket;
pub mod stage;
pub mod statistics;
pub mod topology;
pub mod traces;
pub mod traffic;
pub mod tunnel;
pub mod web;

use std::{
    io::{self, ErrorKind},
    time::{Duration, Instant},
};

use anyhow::{Error, Result};

/// How long anything may take before a test calls it hung. Far above what a loaded machine needs: nothing here measures
/// time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until the answer is yes.
///
/// # Panics
/// After [`PATIENCE`], naming what did not come.
pub fn eventually(what: &str, mut ask: impl FnMut() -> bool) {
    assert!(within(PATIENCE, &mut ask), "did not come to pass in {PATIENCE:?}: {what}");
}

/// Whether the answer becomes yes before `limit` is over.
pub fn within(limit: Duration, mut ask: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if ask() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A reader that has seen enough is no failure.
pub fn unless_closed(error: Error) -> Result<()> {
    let closed = error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe);
    if closed { Ok(()) } else { Err(error.context("print the report")) }
}
