//! Promise: the packet logic says the same of a packet wherever it runs. Each case is data (a host's tables, a frame, what
//! becomes of it) and is run three ways: as plain Rust, through the loaded kernel programs (`BPF_PROG_TEST_RUN`), and as
//! a real frame on a real wire.

mod arriving;
mod kernel;
mod leaving;
mod naming;
mod packet;
mod plain;
mod scene;
mod stage;
mod wire;

use neti_common::{
    family::V4,
    model::World,
    verdict::{Action, Hook, Reason, Verdict},
};

/// A packet at a hook and what becomes of it.
pub struct Case {
    pub name: &'static str,
    pub hook: Hook,
    pub world: World<V4>,
    pub input: Vec<u8>,
    pub verdict: Verdict,
    /// The frame afterwards. Of a dropped one nothing is asked.
    pub output: Vec<u8>,
}

impl Case {
    /// A case whose packet passes unchanged, with [`Reason::NotOurs`] until [`Case::ends`] says otherwise.
    pub fn new(name: &'static str, hook: Hook, world: World<V4>, input: Vec<u8>) -> Self {
        let output = input.clone();
        Self { name, hook, world, input, verdict: Verdict::pass(Reason::NotOurs), output }
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
        let (world, input, output) = (self.world.clone(), self.input.clone(), self.output.clone());
        Self { name: self.name, hook, world, input, verdict: self.verdict, output }
    }

    /// Whether the frame goes on at all.
    pub fn goes_on(&self) -> bool {
        self.verdict.action != Action::Drop
    }
}

fn all() -> Vec<Case> {
    let cases: Vec<Case> =
        [leaving::cases(), arriving::cases(), naming::cases()].into_iter().flatten().collect();
    let mut names = std::collections::BTreeSet::new();
    for case in &cases {
        assert!(names.insert((case.hook, case.name)), "two cases are called {:?}", case.name);
    }
    cases
}

/// Runs a check on all cases and names all that fail.
fn every(mut check: impl FnMut(&Case) -> anyhow::Result<()>) {
    let failed: Vec<String> = all()
        .iter()
        .filter_map(|case| {
            let error = check(case).err()?;
            Some(format!("{}: {}: {error:#}", case.hook.as_str(), case.name))
        })
        .collect();
    assert!(failed.is_empty(), "{} cases fail:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn as_plain_rust() {
    every(plain::check);
}

#[test]
fn through_the_kernel_programs() -> anyhow::Result<()> {
    let mut kernel = kernel::Kernel::new()?;
    every(|case| kernel.check(case));
    Ok(())
}

#[test]
fn as_real_frames() -> anyhow::Result<()> {
    let mut wire = wire::LiveWire::new()?;
    every(|case| wire.check(case));
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
