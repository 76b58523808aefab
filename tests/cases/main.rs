//! Promise: the packet logic says the same of a packet wherever it runs. Each case is data (a host's tables, a frame, what
//! becomes of it) and is run three ways: as plain Rust, through the loaded kernel programs (`BPF_PROG_TEST_RUN`), and as
//! a real frame on a real wire.

mod arriving;
mod beside;
mod cost;
mod ipv4;
mod ipv6;
mod kernel;
mod leaving;
mod naming;
mod packet;
mod plain;
mod scene;
mod stage;
mod wire;

use neti_common::{
    family::{V4, V6},
    model::World,
    verdict::{Action, Hook, Reason, Verdict},
};
use scene::Scene;

/// A packet at a hook and what becomes of it.
#[derive(Debug, Clone)]
pub struct Case<F: Scene> {
    pub name: String,
    pub hook: Hook,
    pub world: World<F>,
    pub input: Vec<u8>,
    pub verdict: Verdict,
    /// The frame afterwards. Of a dropped one nothing is asked.
    pub output: Vec<u8>,
}

impl<F: Scene> Case<F> {
    /// A case whose packet passes unchanged, with [`Reason::NotOurs`] until [`Case::ends`] says otherwise.
    pub fn new(name: impl Into<String>, hook: Hook, world: World<F>, input: Vec<u8>) -> Self {
        let output = input.clone();
        let verdict = Verdict::pass(Reason::NotOurs);
        Self { name: name.into(), hook, world, input, verdict, output }
    }

    /// It ends so, in the mode of its world.
    pub fn ends(mut self, reason: Reason) -> Self {
        self.verdict = match reason {
            Reason::Redirected => Verdict::redirect(),
            reason => Verdict::of(reason, self.world.settings.mode),
        };
        self
    }

    /// It ends as a reset that goes back to its sender.
    pub fn is_reset(mut self, reason: Reason) -> Self {
        self.verdict = Verdict::reset(reason);
        self
    }

    /// It goes on as this frame.
    pub fn becomes(mut self, output: Vec<u8>) -> Self {
        self.output = output;
        self
    }

    /// The same at another hook.
    pub fn at(&self, hook: Hook) -> Self {
        Self { hook, ..self.clone() }
    }

    /// Whether the frame goes on at all.
    pub fn goes_on(&self) -> bool {
        self.verdict.action != Action::Drop
    }
}

fn all<F: Scene>() -> Vec<Case<F>> {
    let mut cases: Vec<Case<F>> =
        [leaving::cases(), arriving::cases(), naming::cases(), beside::cases(), F::own_cases()]
            .concat();
    // What leaves first: what arrives may be answered, on the wire that is looked at.
    cases.sort_by_key(|case| case.hook != Hook::Egress);
    let mut names = std::collections::BTreeSet::new();
    for case in &cases {
        assert!(names.insert((case.hook, &case.name)), "two cases are called {:?}", case.name);
    }
    cases
}

/// Runs a check on all cases of a family and names all that fail.
fn every<F: Scene>(mut check: impl FnMut(&Case<F>) -> anyhow::Result<()>) {
    let cases = all::<F>();
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let error = check(case).err()?;
            Some(format!("{}: {}: {error:#}", case.hook.as_str(), case.name))
        })
        .collect();
    println!("{}: {} cases", F::NAME, cases.len());
    assert!(failed.is_empty(), "{} cases fail:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn ipv4_as_plain_rust() {
    every::<V4>(plain::check);
}

#[test]
fn ipv6_as_plain_rust() {
    every::<V6>(plain::check);
}

#[test]
fn ipv4_through_the_kernel_programs() -> anyhow::Result<()> {
    through_the_kernel_programs::<V4>()
}

#[test]
fn ipv6_through_the_kernel_programs() -> anyhow::Result<()> {
    through_the_kernel_programs::<V6>()
}

#[test]
fn ipv4_as_real_frames() -> anyhow::Result<()> {
    as_real_frames::<V4>()
}

#[test]
fn ipv6_as_real_frames() -> anyhow::Result<()> {
    as_real_frames::<V6>()
}

#[test]
fn no_packet_costs_much() -> anyhow::Result<()> {
    let mut costs = cost::Costs::<V4>::new()?;
    every::<V4>(|case| costs.check(case));
    Ok(())
}

fn through_the_kernel_programs<F: Scene>() -> anyhow::Result<()> {
    let mut kernel = kernel::Kernel::new()?;
    every::<F>(|case| kernel.check(case));
    Ok(())
}

fn as_real_frames<F: Scene>() -> anyhow::Result<()> {
    let mut wire = wire::LiveWire::new()?;
    every::<F>(|case| wire.check(case));
    Ok(())
}

/// Two frames, said so that one sees where they differ.
pub fn same_bytes(got: &[u8], wanted: &[u8]) -> anyhow::Result<()> {
    if got == wanted {
        return Ok(());
    }
    let at =
        got.iter().zip(wanted).position(|(a, b)| a != b).unwrap_or(got.len().min(wanted.len()));
    anyhow::bail!("differs at byte {at}:\n     got {got:02x?}\n  wanted {wanted:02x?}")
}
