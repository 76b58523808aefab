//! What one packet costs in the programs that are attached.

use std::{io::Write as _, iter::repeat_n, net::SocketAddr};

use anyhow::{Context, Result};
use harness::{PATIENCE, bpf::Kind, topology::INTERNET, traffic::dial};

use super::{
    lab::{Lab, options},
    server::PORT,
};
use crate::packet::{Attached, Flag, Outcome, segment};

/// How often each packet runs.
const RUNS: usize = 5000;

/// A program's figure for one packet.
pub struct Cost {
    pub program: &'static str,
    pub packet: &'static str,
    /// Above an empty program.
    pub nanoseconds: f64,
}

struct Case<'a> {
    at: &'a Attached,
    packet: &'static str,
    frame: Vec<u8>,
    outcome: Outcome,
}

/// Measures them all.
pub fn measure(lab: &Lab) -> Result<Vec<Cost>> {
    // The other hosts have no XDP program: on a veth pair it would cost them segmentation offload.
    let neti = &lab.neti;
    let site = neti.pair.lan.attach("xdp", 13)?;
    let mut xdp = neti.fleet.host_with("xdp", &site, &options("xdp"))?;
    xdp.start()?;
    let filter = Attached::to(&xdp, "filter", "neti_filter", Kind::Xdp)?;
    let classifier = |link, name| Attached::to(&neti.left, link, name, Kind::SchedClassifier);
    let ingress = classifier("ingress", "neti_ingress")?;
    let egress = classifier("egress", "neti_egress")?;

    let (family, left) = (lab.family, &neti.left);
    // A live connection, whose socket the programs find.
    let peer = SocketAddr::new(neti.right.overlay(family), PORT);
    let mut stream = dial(&left.site.netns, None, peer, PATIENCE).context("dial")?;
    stream.write_all(&[0])?;
    let own = stream.local_addr()?;
    let stranger = SocketAddr::new(INTERNET.host(family, 99), 40_000);
    let real = |port| SocketAddr::new(left.real(family), port);
    let case = |at, packet, from, to, flag, outcome| {
        Ok::<_, anyhow::Error>(Case { at, packet, frame: segment(from, to, flag)?, outcome })
    };
    let to_xdp = SocketAddr::new(xdp.real(family), 80);
    let from_peer = SocketAddr::new(neti.right.real(family), PORT);
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
    let nanoseconds = case
        .at
        .cost(repeat_n(&case.frame[..], RUNS), case.outcome)
        .with_context(|| case.packet.to_owned())?;
    Ok(Cost { program: case.at.name, packet: case.packet, nanoseconds })
}
