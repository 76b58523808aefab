//! Promise: an overlay connection and a direct one may share a source port towards one server, and both work; where no
//! port is left to tell them apart, the second is refused at once.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE, eventually,
    family::Family,
    in_both_families, in_each_family,
    stage::{PairStage, enforcing_pair, pair_stage},
    traffic::{TcpEcho, UdpClient, UdpEcho, dial, exchange, udp},
};
use maps::flows;
use neti_common::maps::TwinOut;
use serde_json::json;

mod maps;

type Result = anyhow::Result<()>;

in_each_family!(
    three_hundred_of_each_form_over_3000_ports_with_identity_real,
    three_hundred_of_each_form_over_3000_ports_with_identity_overlay,
);

in_both_families!(
    one_source_port_in_all_four_forms on enforcing_pair(),
    unconnected_udp_sockets_that_share_a_port_are_both_answered on enforcing_pair(),
    twins_end_with_their_sockets on enforcing_pair(),
    without_a_free_port_the_twin_is_refused_at_once
        on pair_stage(Family::ALL, json!({ "mode": "enforce", "twin_ports": "61000-61001" })),
);

const PORT: u16 = 7000;

/// Says something that no other connection says, and hears the same.
fn converse(mut stream: &TcpStream, number: usize) -> Result {
    let said = format!("connection {number:05}");
    let mut heard = vec![0; said.len()];
    stream.write_all(said.as_bytes())?;
    stream.read_exact(&mut heard)?;
    ensure!(heard == said.as_bytes(), "{said} heard {:?}", String::from_utf8_lossy(&heard));
    Ok(())
}

fn crowd(family: Family, identity: &str) -> Result {
    let stage = pair_stage(family, json!({ "mode": "enforce", "identity": identity }))?;
    let netns = &stage.left.site.netns;
    netns.sysctl("net.ipv4.ip_local_port_range", "20000 22999")?;
    let _echo = TcpEcho::on(&stage.right.site.netns, (family.any(), PORT))?;
    let forms = [stage.right.overlay(family), stage.right.real(family)];
    let mut streams = Vec::new();
    for number in 0..600 {
        let to = SocketAddr::new(forms[number % 2], PORT);
        let stream = dial(netns, None, to, PATIENCE)
            .with_context(|| format!("{identity}: connection {number} to {to}"))?;
        streams.push(stream);
    }
    // All of them are open, so none can have taken another's place on the wire.
    for (number, stream) in streams.iter().enumerate() {
        converse(stream, number).with_context(|| format!("{identity}: connection {number}"))?;
    }
    Ok(())
}

fn three_hundred_of_each_form_over_3000_ports_with_identity_real(family: Family) -> Result {
    crowd(family, "real")
}

fn three_hundred_of_each_form_over_3000_ports_with_identity_overlay(family: Family) -> Result {
    crowd(family, "overlay")
}

/// The same source port in every form: own overlay or own real, dialling the peer's overlay or real address.
fn four_forms(stage: &PairStage, family: Family, port: u16) -> Vec<(SocketAddr, SocketAddr)> {
    let mut forms = Vec::new();
    for own in [stage.left.overlay(family), stage.left.real(family)] {
        for peer in [stage.right.overlay(family), stage.right.real(family)] {
            forms.push((SocketAddr::new(own, port), SocketAddr::new(peer, PORT)));
        }
    }
    forms
}

fn one_source_port_in_all_four_forms(stage: &PairStage, family: Family) -> Result {
    for (port, identity) in [(21_000, "real"), (21_001, "overlay")] {
        stage.identify(family, identity)?;
        let netns = &stage.left.site.netns;
        let echo = TcpEcho::on(&stage.right.site.netns, (family.any(), PORT))?;
        let mut streams = Vec::new();
        let mut seen = Vec::new();
        for (from, to) in four_forms(stage, family, port) {
            let what = format!("{identity}: {from} to {to}");
            let stream = dial(netns, Some(from), to, PATIENCE).with_context(|| what.clone())?;
            assert_eq!(stream.local_addr()?, from, "{what}");
            assert_eq!(stream.peer_addr()?, to, "{what}");
            seen.push(echo.seen().peer);
            streams.push(stream);
        }
        for (number, stream) in streams.iter().enumerate() {
            converse(stream, number)?;
            exchange(stream, 100_000)?;
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 4, "{identity}: the server tells all four apart: {seen:?}");
    }
    Ok(())
}

fn unconnected_udp_sockets_that_share_a_port_are_both_answered(
    stage: &PairStage,
    family: Family,
) -> Result {
    let netns = &stage.left.site.netns;
    let _echo = UdpEcho::on(&stage.right.site.netns, (family.any(), PORT))?;
    let open = |from: IpAddr, to: IpAddr| -> anyhow::Result<(UdpSocket, SocketAddr)> {
        let socket = netns.run(|| UdpSocket::bind((from, 21_000)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok((socket, (to, PORT).into()))
    };
    let overlay = open(stage.left.overlay(family), stage.right.overlay(family))?;
    let real = open(stage.left.real(family), stage.right.real(family))?;
    for round in 0..3 {
        for (name, (socket, to)) in [("overlay", &overlay), ("real", &real)] {
            let said = format!("round {round}: {name}");
            socket.send_to(said.as_bytes(), to)?;
            let mut heard = [0; 100];
            let (length, from) = socket.recv_from(&mut heard).with_context(|| said.clone())?;
            assert_eq!(from, *to, "{said}");
            assert_eq!(String::from_utf8_lossy(&heard[..length]), said);
        }
    }
    Ok(())
}

fn twins_end_with_their_sockets(stage: &PairStage, family: Family) -> Result {
    let netns = &stage.left.site.netns;
    let _echo = TcpEcho::on(&stage.right.site.netns, (family.any(), PORT))?;
    let streams: Vec<TcpStream> = four_forms(stage, family, 21_000)
        .into_iter()
        .map(|(from, to)| dial(netns, Some(from), to, PATIENCE))
        .collect::<std::io::Result<_>>()?;
    let twins = || flows::<TwinOut, TwinOut>(&stage.left, family, |maps| maps.twins_out);
    ensure!(twins()?.len() == 3, "one form has its own port, three are twins: {:?}", twins()?);
    for stream in &streams {
        // Reset instead of TIME_WAIT, which holds the port for a minute, as it should.
        socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO))?;
    }
    drop(streams);
    eventually("the twins' entries are removed", || twins().is_ok_and(|twins| twins.is_empty()));
    Ok(())
}

fn without_a_free_port_the_twin_is_refused_at_once(stage: &PairStage, family: Family) -> Result {
    let netns = &stage.left.site.netns;
    let _echo = TcpEcho::on(&stage.right.site.netns, (family.any(), PORT))?;
    let before = stage.left.count("egress", "port-twin")?;
    let mut open = Vec::new();
    let mut refused = 0;
    for (from, to) in four_forms(stage, family, 21_000) {
        match dial(netns, Some(from), to, PATIENCE) {
            Ok(stream) => open.push(stream),
            Err(error) => {
                let kind = error.kind();
                let at_once =
                    matches!(kind, ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset);
                assert!(at_once, "{from} to {to}: {error}");
                refused += 1;
            }
        }
    }
    assert_eq!((open.len(), refused), (3, 1), "one with its own port, two twins, and no more");
    assert!(stage.left.count("egress", "port-twin")? > before);
    for (number, stream) in open.iter().enumerate() {
        converse(stream, number)?;
    }
    // The refusal is for this tuple only.
    let to = SocketAddr::new(stage.right.overlay(family), PORT);
    exchange(&dial(netns, None, to, PATIENCE)?, 10_000)?;
    let client = UdpClient { connected: true, from: None };
    let _udp = UdpEcho::on(&stage.right.site.netns, (family.any(), PORT))?;
    assert_eq!(udp(netns, client, to, 10, PATIENCE)?, to);
    Ok(())
}
