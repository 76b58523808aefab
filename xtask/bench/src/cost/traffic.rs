//! What a run of a program takes on traffic, by the kernel's own count, which covers what BPF_PROG_TEST_RUN does not: caches
//! as the stack leaves them, and packets of all kinds and sizes.

use anyhow::{Context, Result};
use harness::{
    bpf::{self, Facts, Kind},
    host::Host,
};

use super::{Plan, lab::Lab};
use crate::packet::Attached;

/// How often an empty program runs, to know what the counting takes.
const RUNS: u32 = 20_000;

/// A program's figure for one kind of traffic.
pub struct Run {
    pub program: &'static str,
    pub traffic: &'static str,
    /// Above an empty program.
    pub nanoseconds: f64,
    pub runs: u64,
}

/// Measures the programs of the client's host.
pub fn measure(plan: &Plan, lab: &Lab) -> Result<Vec<Run>> {
    let host = &lab.neti.left;
    let at = |link, name| Attached::to(host, link, name, Kind::SchedClassifier);
    let programs = [at("egress", "neti_egress")?, at("ingress", "neti_ingress")?];
    let ways = lab.ways();
    let way = ways.iter().find(|way| way.name == "neti").context("neti is among the ways")?;
    let _counted = bpf::count_runs().context("count the runs of programs")?;
    let counting = counting(host)?;
    let mut all = Vec::new();
    for workload in &plan.workloads {
        let before = facts(&programs)?;
        workload.run(way, plan)?;
        let after = facts(&programs)?;
        for ((program, before), after) in programs.iter().zip(before).zip(after) {
            let runs = after.runs - before.runs;
            if runs == 0 {
                continue;
            }
            let each = (after.running - before.running) as f64 / runs as f64;
            let nanoseconds = each - counting;
            all.push(Run { program: program.name, traffic: workload.name(), nanoseconds, runs });
        }
    }
    Ok(all)
}

fn facts(programs: &[Attached]) -> Result<Vec<Facts>> {
    programs.iter().map(Attached::facts).collect()
}

/// What is counted of an empty program's run, in nanoseconds.
fn counting(host: &Host) -> Result<f64> {
    let empty = bpf::empty_program(Kind::SchedClassifier).context("load an empty program")?;
    host.site.netns.run(|| -> Result<()> {
        // In a row, as packets come.
        bpf::run_repeatedly(&empty, &mut [0; 64], None, RUNS).context("run an empty program")?;
        Ok(())
    })?;
    let Facts { runs, running, .. } = bpf::facts(&empty)?;
    Ok(running as f64 / runs as f64)
}
