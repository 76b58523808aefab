//! A case through the loaded programs (`BPF_PROG_TEST_RUN`): the same verdict, the same counter, the same bytes.

use anyhow::{Context, Result, bail, ensure};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions, TestRunResult, Xdp};
use neti_common::verdict::{Action, Hook};
use neti_userspace::loader::program;

use crate::{
    Case, same_bytes,
    scene::Scene,
    stage::{Sockets, Stage, UPLINK, counted_one},
};

/// Return values, from linux/bpf.h and linux/pkt_cls.h.
const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const TC_ACT_UNSPEC: u32 = u32::MAX;
const TC_ACT_SHOT: u32 = 2;
const TC_ACT_REDIRECT: u32 = 7;
/// `ifindex` in `struct __sk_buff`; everything up to it may be given.
const IFINDEX: usize = 40;

pub struct Kernel<F: Scene> {
    stage: Stage<F>,
}

impl<F: Scene> Kernel<F> {
    pub fn new() -> Result<Self> {
        Ok(Self { stage: Stage::new()? })
    }

    pub fn check(&mut self, case: &Case<F>) -> Result<()> {
        self.check_with(case, Sockets::OwnFamily)?;
        if case.world.sockets.is_empty() {
            return Ok(());
        }
        self.check_with(case, Sockets::DualStack).context("with dual-stack sockets")
    }

    fn check_with(&mut self, case: &Case<F>, sockets: Sockets) -> Result<()> {
        self.stage.apply(&case.world, sockets)?;
        let before = self.stage.counted(case.hook)?;
        let (returned, bytes) = self.run(case)?;
        let after = self.stage.counted(case.hook)?;
        counted_one(&before, &after, (case.verdict.reason, case.verdict.would))?;
        let wanted = match (case.hook, case.verdict.action) {
            (Hook::Filter, Action::Drop) => XDP_DROP,
            (Hook::Filter, _) => XDP_PASS,
            (_, Action::Next) => TC_ACT_UNSPEC,
            (_, Action::Drop) => TC_ACT_SHOT,
            (_, Action::Redirect | Action::Reset) => TC_ACT_REDIRECT,
        };
        ensure!(returned == wanted, "returned {returned}, not {wanted}");
        if case.goes_on() { same_bytes(&bytes, &case.output) } else { Ok(()) }
    }

    fn run(&mut self, case: &Case<F>) -> Result<(u32, Vec<u8>)> {
        let index = self.stage.host.index(UPLINK)?;
        let mut context = [0; IFINDEX + 4];
        context[IFINDEX..].copy_from_slice(&index.to_ne_bytes());
        let ebpf = &self.stage.ebpf;
        let (hook, input) = (case.hook, &case.input);
        let mut bytes = vec![0; case.input.len() + 256];
        let run = |bytes: &mut [u8]| -> Result<TestRunResult> {
            let mut options = TestRunOptions::new();
            options.data_in = Some(input);
            options.data_out = Some(bytes);
            let name = match hook {
                Hook::Filter => program::FILTER,
                Hook::Ingress => program::INGRESS,
                Hook::Egress => program::EGRESS,
                Hook::Guard => program::GUARD,
            };
            let program =
                ebpf.program(name).with_context(|| format!("the object has no {name}"))?;
            if hook == Hook::Filter {
                let program: &Xdp = program.try_into()?;
                return Ok(program.test_run(options)?);
            }
            options.ctx_in = Some(&context);
            let program: &SchedClassifier = program.try_into()?;
            Ok(program.test_run(options)?)
        };
        // Socket lookups are those of the namespace the program runs in.
        let result = self.stage.host.run(|| run(&mut bytes))?;
        let Some(length) = Some(result.data_size_out as usize).filter(|n| *n <= bytes.len()) else {
            bail!("{} bytes came out of {}", result.data_size_out, case.input.len());
        };
        bytes.truncate(length);
        Ok((result.return_value, bytes))
    }
}
