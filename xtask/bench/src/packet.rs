//! Single packets through a program that is attached, without the stack around it (`BPF_PROG_TEST_RUN`).
//!
//! Each packet runs once per call, for a program rewrites it; what is measured besides (the clock, the call) is what an
//! empty program takes in the same way, and is subtracted.

use std::{net::SocketAddr, os::fd::OwnedFd};

use anyhow::{Context, Result, ensure};
use harness::{
    bpf::{self, Facts, Kind},
    host::Host,
    interrupt,
    packets::Link,
    statistics::Spread,
    topology::UPLINK,
};

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    Dropped,
    Passed,
    Translated,
}

/// A program where it is attached.
pub struct Attached {
    pub name: &'static str,
    kind: Kind,
    program: OwnedFd,
    interface: u32,
}

impl Attached {
    /// That of a host's link with this name.
    pub fn to(host: &Host, link: &str, name: &'static str, kind: Kind) -> Result<Self> {
        let path = host.pin(&format!("links/{link}"))?;
        let program = bpf::program_of_link(&path)
            .with_context(|| format!("{}: get its program", path.display()))?;
        Ok(Self { name, kind, program, interface: host.site.netns.index(UPLINK)? })
    }

    /// What the kernel knows of the program.
    pub fn facts(&self) -> Result<Facts> {
        bpf::facts(&self.program).with_context(|| format!("ask for {}", self.name))
    }

    /// Nanoseconds that the program takes for one of these packets, above an empty program: of the medians. Call it in
    /// the host's namespace, where sockets are looked for.
    pub fn cost<'a>(
        &self,
        packets: impl Iterator<Item = &'a [u8]>,
        expected: Outcome,
    ) -> Result<f64> {
        let empty = bpf::empty_program(self.kind).context("load an empty program")?;
        let interface = matches!(self.kind, Kind::SchedClassifier).then_some(self.interface);
        let (mut own, mut nothing) = (Vec::new(), Vec::new());
        for packet in packets {
            let mut frame = packet.to_vec();
            let ran = bpf::run(&self.program, &mut frame, interface)
                .with_context(|| format!("run {}", self.name))?;
            let dropped = ran.returned == self.kind.drop();
            let outcome = match (dropped, frame == packet) {
                (true, _) => Outcome::Dropped,
                (false, true) => Outcome::Passed,
                (false, false) => Outcome::Translated,
            };
            ensure!(outcome == expected, "{}: {outcome:?} instead of {expected:?}", self.name);
            own.push(f64::from(ran.nanoseconds));
            let ran = bpf::run(&empty, &mut frame, interface).context("run an empty program")?;
            nothing.push(f64::from(ran.nanoseconds));
            interrupt::go_on()?;
        }
        Ok(Spread::of(&own).median - Spread::of(&nothing).median)
    }
}

pub enum Flag {
    Syn,
    Ack,
}

/// A TCP segment with one byte, or a SYN without.
pub fn segment(from: SocketAddr, to: SocketAddr, flag: Flag) -> Result<Vec<u8>> {
    let link = Link { from: [2, 0, 0, 0, 0, 1], to: [2, 0, 0, 0, 0, 2] };
    let builder = link.ip(from.ip(), to.ip()).tcp(from.port(), to.port(), 1, 64_000);
    let (builder, payload): (_, &[u8]) = match flag {
        Flag::Syn => (builder.syn(), &[]),
        Flag::Ack => (builder.ack(1), &[0]),
    };
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).context("build a frame")?;
    Ok(frame)
}
