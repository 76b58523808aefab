//! What a case's packet costs in the loaded programs, next to an empty program in the same run. The bounds are far from
//! what it is: they are for a loop that went wrong, not for nanoseconds, which `cargo xtask bench programs` measures.

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use harness::bpf::{self, Again, Kind, Ran};
use neti_common::verdict::Hook;
use neti_userspace::loader::program;

use crate::{
    Case,
    scene::Scene,
    stage::{Sockets, Stage, UPLINK},
};

/// Runs in a row, and how often: the quickest counts, which nothing has come in between of.
const RUNS: u32 = 200;
const ROUNDS: usize = 3;

pub struct Costs<F: Scene> {
    stage: Stage<F>,
    programs: Vec<(Hook, OwnedFd)>,
    /// What an empty one takes in the same way, in XDP and in tc, nanoseconds.
    empty: [u32; 2],
}

impl<F: Scene> Costs<F> {
    pub fn new() -> Result<Self> {
        let stage = Stage::new()?;
        let named = [
            (Hook::Filter, program::FILTER),
            (Hook::Ingress, program::INGRESS),
            (Hook::Egress, program::EGRESS),
            (Hook::Guard, program::GUARD),
        ];
        let mut programs = Vec::new();
        for (hook, name) in named {
            let program = stage.ebpf.program(name).context(name)?;
            programs.push((hook, program.fd()?.as_fd().try_clone_to_owned()?));
        }
        let mut costs = Self { stage, programs, empty: [0; 2] };
        for (number, kind) in [Kind::Xdp, Kind::SchedClassifier].into_iter().enumerate() {
            let empty = Again::new(kind, &bpf::empty_program(kind)?, &[0; 64])?;
            costs.empty[number] = costs.quickest(&empty, None)?.max(1);
        }
        Ok(costs)
    }

    pub fn check(&mut self, case: &Case<F>) -> Result<()> {
        self.stage.apply(&case.world, Sockets::OwnFamily)?;
        let index = self.stage.host.index(UPLINK)?;
        let (kind, most) = match case.hook {
            Hook::Filter => (Kind::Xdp, 30),
            Hook::Guard => (Kind::SchedClassifier, 20),
            Hook::Ingress | Hook::Egress => (Kind::SchedClassifier, 60),
        };
        let program = self.programs.iter().find(|(hook, _)| *hook == case.hook);
        let (_, program) = program.context("each hook has a program")?;
        let again = Again::new(kind, program, &case.input)?;
        let (interface, empty) = match kind {
            Kind::Xdp => (None, self.empty[0]),
            Kind::SchedClassifier => (Some(index), self.empty[1]),
        };
        let mut frame = case.input.clone();
        let once = || bpf::run(program, &mut frame, interface);
        let returned = self.stage.host.run(once)?.returned;
        self.stage.apply(&case.world, Sockets::OwnFamily)?;
        let first = self.stage.host.run(|| again.run(interface, 1))?.returned;
        ensure!(first == returned, "returned {first}, not {returned}");
        let own = self.quickest(&again, interface)?;
        ensure!(own <= most * empty, "{own} ns, more than {most} times {empty}");
        Ok(())
    }

    /// Nanoseconds of one run.
    fn quickest(&self, again: &Again, interface: Option<u32>) -> Result<u32> {
        let mut quickest = u32::MAX;
        for _ in 0..ROUNDS {
            let Ran { nanoseconds, .. } = self.stage.host.run(|| again.run(interface, RUNS))?;
            quickest = quickest.min(nanoseconds);
        }
        Ok(quickest)
    }
}
