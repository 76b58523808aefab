//! Promise: an overlay connection and a direct one may share a source port towards one server, and both work; where no
//! port is left to tell them apart, the second is refused at once.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket},
};

use anyhow::{Context, ensure};
use aya::maps::HashMap;
use harness::{
    PATIENCE, eventually,
    stage::{PairStage, pair_stage},
    traffic::{TcpEcho, UdpClient, UdpEcho, dial, exchange, udp},
};
use neti_common::{
    family::V4,
    maps::{Flow, TwinOut},
};
use serde_json::json;

type Result = anyhow::Result<()>;

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

fn crowd(identity: &str) -> Result {
    let stage = pair_stage(json!({ "mode": "enforce", "identity": identity }))?;
    let netns = &stage.left.site.netns;
    netns.sysctl("net.ipv4.ip_local_port_range", "20000 22999")?;
    let _echo = TcpEcho::on(&stage.right.site.netns, (Ipv4Addr::UNSPECIFIED, PORT))?;
    let forms = [stage.right.overlay(), stage.right.real()];
    let mut streams = Vec::new();
    for number in 0..600 {
        let to = SocketAddrV4::new(forms[number % 2], PORT);
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

#[test]
fn three_hundred_of_each_form_over_3000_ports_with_identity_real() -> Result {
    crowd("real")
}

#[test]
fn three_hundred_of_each_form_over_3000_ports_with_identity_overlay() -> Result {
    crowd("overlay")
}

/// The same source port in every form: own overlay or own real, dialling the peer's overlay or real address.
fn four_forms(stage: &PairStage, port: u16) -> Vec<(SocketAddrV4, SocketAddrV4)> {
    let mut forms = Vec::new();
    for own in [stage.left.overlay(), stage.left.real()] {
        for peer in [stage.right.overlay(), stage.right.real()] {
            forms.push((SocketAddrV4::new(own, port), SocketAddrV4::new(peer, PORT)));
        }
    }
    forms
}

#[test]
fn one_source_port_in_all_four_forms() -> Result {
    for identity in ["real", "overlay"] {
        let stage = pair_stage(json!({ "mode": "enforce", "identity": identity }))?;
        let netns = &stage.left.site.netns;
        let echo = TcpEcho::on(&stage.right.site.netns, (Ipv4Addr::UNSPECIFIED, PORT))?;
        let mut streams = Vec::new();
        let mut seen = Vec::new();
        for (from, to) in four_forms(&stage, 21_000) {
            let what = format!("{identity}: {from} to {to}");
            let stream = dial(netns, Some(from), to, PATIENCE).with_context(|| what.clone())?;
            assert_eq!(stream.local_addr()?, SocketAddr::from(from), "{what}");
            assert_eq!(stream.peer_addr()?, SocketAddr::from(to), "{what}");
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

#[test]
fn unconnected_udp_sockets_that_share_a_port_are_both_answered() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce" }))?;
    let netns = &stage.left.site.netns;
    let _echo = UdpEcho::on(&stage.right.site.netns, (Ipv4Addr::UNSPECIFIED, PORT))?;
    let open = |from: Ipv4Addr, to: Ipv4Addr| -> anyhow::Result<(UdpSocket, SocketAddr)> {
        let socket = netns.run(|| UdpSocket::bind((from, 21_000)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok((socket, (to, PORT).into()))
    };
    let overlay = open(stage.left.overlay(), stage.right.overlay())?;
    let real = open(stage.left.real(), stage.right.real())?;
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

#[test]
fn twins_end_with_their_sockets() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce" }))?;
    let netns = &stage.left.site.netns;
    let _echo = TcpEcho::on(&stage.right.site.netns, (Ipv4Addr::UNSPECIFIED, PORT))?;
    let streams: Vec<TcpStream> = four_forms(&stage, 21_000)
        .into_iter()
        .map(|(from, to)| dial(netns, Some(from), to, PATIENCE))
        .collect::<std::io::Result<_>>()?;
    let twins = || twin_entries(&stage);
    ensure!(twins()? == 3, "one form has its own port, three are twins; entries: {}", twins()?);
    for stream in &streams {
        // Reset instead of TIME_WAIT, which holds the port for a minute, as it should.
        socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO))?;
    }
    drop(streams);
    eventually("the twins' entries are removed", || twins().is_ok_and(|twins| twins == 0));
    Ok(())
}

fn twin_entries(stage: &PairStage) -> anyhow::Result<usize> {
    let map = aya::maps::MapData::from_pin(stage.left.pin("maps/twins_out4")?)?;
    let map: HashMap<_, Flow<V4>, TwinOut> = aya::maps::Map::HashMap(map).try_into()?;
    Ok(map.keys().filter(|key| key.is_ok()).count())
}

#[test]
fn without_a_free_port_the_twin_is_refused_at_once() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce", "twin_ports": "61000-61001" }))?;
    let netns = &stage.left.site.netns;
    let _echo = TcpEcho::on(&stage.right.site.netns, (Ipv4Addr::UNSPECIFIED, PORT))?;
    let mut open = Vec::new();
    let mut refused = 0;
    for (from, to) in four_forms(&stage, 21_000) {
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
    assert!(stage.left.count("egress", "port-twin")? >= 1);
    for (number, stream) in open.iter().enumerate() {
        converse(stream, number)?;
    }
    // The refusal is for this tuple only.
    let to = SocketAddrV4::new(stage.right.overlay(), PORT);
    exchange(&dial(netns, None, to, PATIENCE)?, 10_000)?;
    let client = UdpClient { connected: true, from: None };
    let _udp = UdpEcho::on(&stage.right.site.netns, (Ipv4Addr::UNSPECIFIED, PORT))?;
    assert_eq!(udp(netns, client, to, 10, PATIENCE)?, SocketAddr::from(to));
    Ok(())
}
