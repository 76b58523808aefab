//! What one packet costs in the programs that are attached, without the stack around them (`BPF_PROG_TEST_RUN`).
//!
//! Each packet runs once per call, for a program rewrites it; what is measured besides (the clock, the call) is what an
//! empty program takes in the same way, and is subtracted.

use std::{io::Write as _, net::SocketAddr, os::fd::OwnedFd};

use anyhow::{Context, Result, ensure};
use harness::{
    PATIENCE,
    bpf::{self, Kind},
    interrupt,
    packets::Link,
    statistics::Spread,
    topology::{INTERNET, UPLINK},
    traffic::dial,
};

use super::{lab::Lab, server::PORT};
use crate::lab::host_options;

/// How often each packet runs.
const RUNS: usize = 5000;

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Dropped,
    Passed,
    Translated,
}

/// A program's figure for one packet.
pub struct Cost {
    pub program: &'static str,
    pub packet: &'static str,
    /// Of a run, above an empty program.
    pub nanoseconds: f64,
}

/// A program where it is attached.
struct Attached {
    name: &'static str,
    kind: Kind,
    program: OwnedFd,
    interface: u32,
}

struct Case<'a> {
    at: &'a Attached,
    packet: &'static str,
    frame: Vec<u8>,
    outcome: Outcome,
}

/// Measures them all.
pub fn measure(lab: &mut Lab) -> Result<Vec<Cost>> {
    // The other hosts have no XDP program: on a veth pair it would cost them segmentation offload.
    let site = lab.lan.attach("xdp", 12)?;
    let mut xdp = lab.fleet.host_with("xdp", &site, &host_options("xdp"))?;
    xdp.start()?;
    let index = |host: &harness::host::Host| host.site.netns.index(UPLINK);
    let attached = |name, link: &str, kind, host: &harness::host::Host| -> Result<Attached> {
        let path = host.pin(&format!("links/{link}"))?;
        let program = bpf::program_of_link(&path)
            .with_context(|| format!("{}: get its program", path.display()))?;
        Ok(Attached { name, kind, program, interface: index(host)? })
    };
    let filter = attached("neti_filter", "filter", Kind::Xdp, &xdp)?;
    let ingress = attached("neti_ingress", "ingress", Kind::SchedClassifier, &lab.left)?;
    let egress = attached("neti_egress", "egress", Kind::SchedClassifier, &lab.left)?;

    let (family, left) = (lab.family, &lab.left);
    // A live connection, whose socket the programs find.
    let peer = SocketAddr::new(lab.right.overlay(family), PORT);
    let mut stream = dial(&left.site.netns, None, peer, PATIENCE).context("dial")?;
    stream.write_all(&[0])?;
    let own = stream.local_addr()?;
    let stranger = SocketAddr::new(INTERNET.host(family, 99), 40_000);
    let real = |port| SocketAddr::new(left.real(family), port);
    let case = |at, packet, from, to, flag, outcome| {
        Ok::<_, anyhow::Error>(Case { at, packet, frame: segment(from, to, flag)?, outcome })
    };
    let to_xdp = SocketAddr::new(xdp.real(family), 80);
    let from_peer = SocketAddr::new(lab.right.real(family), PORT);
    let from_stranger = "stranger's SYN, dropped";
    let cases = [
        case(&filter, from_stranger, stranger, to_xdp, Flag::Syn, Outcome::Dropped)?,
        case(&filter, "member's SYN, passed", from_peer, to_xdp, Flag::Syn, Outcome::Passed)?,
        case(&ingress, from_stranger, stranger, real(80), Flag::Syn, Outcome::Dropped)?,
        case(
            &ingress,
            "segment of a connection, translated",
            from_peer,
            real(own.port()),
            Flag::Ack,
            Outcome::Translated,
        )?,
        case(
            &egress,
            "segment of a connection, translated",
            own,
            peer,
            Flag::Ack,
            Outcome::Translated,
        )?,
        case(
            &egress,
            "segment to a stranger, passed",
            real(40_000),
            stranger,
            Flag::Ack,
            Outcome::Passed,
        )?,
    ];
    // Sockets are looked for in the namespace that the call comes from.
    left.site.netns.run(|| cases.iter().map(cost).collect())
}

fn cost(case: &Case<'_>) -> Result<Cost> {
    let what = || format!("{}, {}", case.at.name, case.packet);
    let at = case.at;
    let empty = bpf::empty_program(at.kind).context("load an empty program")?;
    let interface = matches!(at.kind, Kind::SchedClassifier).then_some(at.interface);
    let (mut own, mut nothing) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let mut frame = case.frame.clone();
        let ran = bpf::run(&at.program, &mut frame, interface).with_context(what)?;
        let dropped = ran.returned == at.kind.drop();
        let outcome = match (dropped, frame == case.frame) {
            (true, _) => Outcome::Dropped,
            (false, true) => Outcome::Passed,
            (false, false) => Outcome::Translated,
        };
        ensure!(outcome == case.outcome, "{}: but it is {outcome:?}", what());
        own.push(f64::from(ran.nanoseconds));
        let ran = bpf::run(&empty, &mut frame, interface).context("run an empty program")?;
        nothing.push(f64::from(ran.nanoseconds));
        interrupt::go_on()?;
    }
    let nanoseconds = Spread::of(&own).median - Spread::of(&nothing).median;
    Ok(Cost { program: at.name, packet: case.packet, nanoseconds })
}

enum Flag {
    Syn,
    Ack,
}

/// A TCP segment with one byte, or a SYN without.
fn segment(from: SocketAddr, to: SocketAddr, flag: Flag) -> Result<Vec<u8>> {
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
