//! Single packets through a program that is attached, without the stack around it (`BPF_PROG_TEST_RUN`).
//!
//! A packet runs once per call, or in a row by a program that puts it back each time, for the programs rewrite it. What is
//! measured besides (the clock, the call) is what an empty program takes in the same way, and is subtracted.

use std::{io, net::SocketAddr, os::fd::OwnedFd};

use anyhow::{Context, Result, ensure};
use harness::{
    bpf::{self, Again, Facts, Kind},
    host::Host,
    interrupt,
    packets::Link,
    statistics::Spread,
    topology::UPLINK,
};

/// Runs in a row, and how often, where the same packet comes again and again.
const BATCH: u32 = 20_000;
const BATCHES: usize = 5;

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

    /// Nanoseconds that an empty program of this kind takes, again and again.
    pub fn empty(&self) -> Result<f64> {
        let empty = bpf::empty_program(self.kind).context("load an empty program")?;
        let run = || bpf::run_repeatedly(&empty, &mut [0; 64], None, BATCH);
        let ran = (0..BATCHES).map(|_| run().map(|ran| f64::from(ran.nanoseconds)));
        let figures = ran.collect::<io::Result<Vec<_>>>().context("run an empty program")?;
        Ok(Spread::of(&figures).min)
    }

    /// Nanoseconds that the program takes for a packet which it has just seen, above an empty program: of the quickest
    /// batches, in which nothing else came between. Call it in the host's namespace, where sockets are looked for.
    pub fn hot(&self, packet: &[u8]) -> Result<f64> {
        let empty = bpf::empty_program(self.kind).context("load an empty program")?;
        let interface = matches!(self.kind, Kind::SchedClassifier).then_some(self.interface);
        let again = |program| Again::new(self.kind, program, packet);
        let programs =
            [again(&self.program).context(self.name)?, again(&empty).context("an empty program")?];
        let expected = bpf::run(&self.program, &mut packet.to_vec(), interface)?.returned;
        let mut figures = [Vec::new(), Vec::new()];
        for _ in 0..BATCHES {
            for (program, figures) in programs.iter().zip(&mut figures) {
                let ran = program.run(interface, BATCH);
                let ran = ran.with_context(|| format!("run {} again and again", self.name))?;
                figures.push(f64::from(ran.nanoseconds));
            }
            let ran = programs[0].run(interface, 1)?;
            ensure!(ran.returned == expected, "{} is not what ran again", self.name);
            interrupt::go_on()?;
        }
        let [own, nothing] = figures.map(|figures| Spread::of(&figures).min);
        Ok(own - nothing)
    }

    /// Nanoseconds that the program takes for one of these packets, each of which it runs on once: as [`Attached::hot`], of the
    /// medians.
    pub fn cold<'a>(
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

/// What a packet is.
#[derive(Clone, Copy)]
pub enum Content {
    /// A TCP segment that begins a connection.
    Syn,
    /// One in the middle of it, with a byte.
    Ack,
    /// A datagram with a byte.
    Udp,
}

/// A frame with such a packet.
pub fn frame(from: SocketAddr, to: SocketAddr, content: Content) -> Result<Vec<u8>> {
    let link = Link { from: [2, 0, 0, 0, 0, 1], to: [2, 0, 0, 0, 0, 2] };
    let mut frame = Vec::new();
    let ip = || link.ip(from.ip(), to.ip());
    let tcp = || ip().tcp(from.port(), to.port(), 1, 64_000);
    match content {
        Content::Syn => tcp().syn().write(&mut frame, &[]),
        Content::Ack => tcp().ack(1).write(&mut frame, &[0]),
        Content::Udp => ip().udp(from.port(), to.port()).write(&mut frame, &[0]),
    }
    .context("build a frame")?;
    Ok(frame)
}
