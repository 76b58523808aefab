//! Hosts that are measured and then taken down, whatever happened.

use anyhow::{Result, ensure};
use harness::{
    host::{Host, HostOptions},
    interrupt::interrupted,
    traces::Traces,
};

/// Hosts on networks of their own.
pub trait Lab {
    /// Those that run neti.
    fn hosts(&self) -> Vec<&Host>;
    /// What this lab leaves on the machine until it is dropped.
    fn traces(&self) -> Traces;
}

/// Measures, and takes the lab down: also after a failure or Ctrl-C the next run must find a clean machine.
pub fn within<L: Lab, R>(mut lab: L, measure: impl FnOnce(&mut L) -> Result<R>) -> Result<R> {
    let traces = lab.traces();
    let measured = measure(&mut lab);
    if measured.is_err() && !interrupted() {
        for host in lab.hosts() {
            eprintln!("--- neti on {} said:\n{}", host.name, host.log().trim_end());
        }
    }
    drop(lab);
    let left = traces.left();
    for trace in &left {
        eprintln!("bench: left behind: {trace}");
    }
    let measured = measured?;
    ensure!(left.is_empty(), "not everything could be removed");
    Ok(measured)
}

/// How neti is configured on hosts whose programs are attached in this way.
pub fn host_options(attach: &str) -> HostOptions {
    HostOptions { extra: format!("attach = \"{attach}\""), ..HostOptions::default() }
}
