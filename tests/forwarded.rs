//! Promise: what a host forwards for its containers, behind a bridge, masquerading and a published port, is told apart
//! from what the host itself sends, whatever ports and forms the two use; and no container speaks for a member.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket},
};

use anyhow::{Context, ensure};
use aya::maps::HashMap;
use harness::{
    PATIENCE,
    container::Containers,
    eventually,
    netns::Netns,
    packets::{Link, Wire, carries_overlay},
    stage::{PairStage, pair_stage},
    topology::UPLINK,
    traffic::{TcpEcho, UdpEcho, dial, exchange, ping, tcp},
};
use neti_common::{
    family::V4,
    maps::{Flow, TwinOut},
};
use serde_json::json;

type Result = anyhow::Result<()>;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const RANGE: (Ipv4Addr, u32) = (Ipv4Addr::new(100, 64, 0, 0), 16);
const SERVER: u16 = 7000;
/// The one source port that everybody uses.
const PORT: u16 = 21_000;

/// Who dials from where to where.
type Form = (Netns, SocketAddrV4, SocketAddrV4);

/// Both names of both ends, dialled from `netns` on the left host.
fn host_forms(stage: &PairStage) -> Vec<Form> {
    let mut forms = Vec::new();
    for own in [stage.left.overlay(), stage.left.real()] {
        for peer in peers(stage) {
            forms.push((stage.left.site.netns.clone(), SocketAddrV4::new(own, PORT), peer));
        }
    }
    forms
}

/// Both names of the server, dialled from two containers.
fn container_forms(stage: &PairStage, containers: &[(u8, Netns)]) -> Vec<Form> {
    let mut forms = Vec::new();
    for (last, netns) in containers {
        for peer in peers(stage) {
            let own = SocketAddrV4::new(Containers::address(*last), PORT);
            forms.push((netns.clone(), own, peer));
        }
    }
    forms
}

fn peers(stage: &PairStage) -> [SocketAddrV4; 2] {
    [stage.right.overlay(), stage.right.real()].map(|peer| SocketAddrV4::new(peer, SERVER))
}

fn two_containers(stage: &PairStage) -> anyhow::Result<[(u8, Netns); 2]> {
    let containers = Containers::on(&stage.left.site.netns)?;
    Ok([(2, containers.start(2)?), (3, containers.start(3)?)])
}

/// Says something that no other connection says, and hears the same.
fn converse(mut stream: &TcpStream, number: usize) -> Result {
    let said = format!("connection {number:05}");
    let mut heard = vec![0; said.len()];
    stream.write_all(said.as_bytes())?;
    stream.read_exact(&mut heard)?;
    ensure!(heard == said.as_bytes(), "{said} heard {:?}", String::from_utf8_lossy(&heard));
    Ok(())
}

// Where a container's flow has the same two names and the port, conntrack gives the host's another port.

#[test]
fn connections_from_one_port_are_all_answered_containers_first() -> Result {
    connections("real", |host, containers| [containers, host].concat())
}

#[test]
fn connections_from_one_port_are_all_answered_containers_first_with_identity_overlay() -> Result {
    connections("overlay", |host, containers| [containers, host].concat())
}

#[test]
fn connections_from_one_port_are_all_answered_host_first() -> Result {
    connections("overlay", |host, containers| [host, containers].concat())
}

fn connections(identity: &str, order: impl FnOnce(Vec<Form>, Vec<Form>) -> Vec<Form>) -> Result {
    let stage = pair_stage(json!({ "mode": "enforce", "identity": identity }))?;
    let containers = two_containers(&stage)?;
    let _echo = TcpEcho::on(&stage.right.site.netns, (ANY, SERVER))?;
    let mut streams = Vec::new();
    for (netns, from, to) in order(host_forms(&stage), container_forms(&stage, &containers)) {
        let what = format!("{identity}: {from} to {to}");
        let stream = dial(&netns, Some(from), to, PATIENCE).with_context(|| what.clone())?;
        streams.push((what, stream));
    }
    converse_all(&streams)?;
    for (what, stream) in &streams {
        exchange(stream, 50_000).with_context(|| what.clone())?;
    }
    // The twins of a closed connection are looked for and removed; those of a live one are not, though the host has no
    // socket of it.
    let before = twins(&stage)?;
    ensure!(before > 0, "one port in many forms needs twins");
    reset_those_of_the_host(&stage, &mut streams)?;
    eventually("the entries of a closed twin are removed", || {
        twins(&stage).is_ok_and(|n| n < before)
    });
    converse_all(&streams)
}

/// Resets every connection that the host itself made.
fn reset_those_of_the_host(stage: &PairStage, streams: &mut Vec<(String, TcpStream)>) -> Result {
    let own = [stage.left.overlay(), stage.left.real()];
    let mut kept = Vec::new();
    for (what, stream) in streams.drain(..) {
        match stream.local_addr()? {
            SocketAddr::V4(local) if own.contains(local.ip()) => {
                socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))?;
            }
            _ => kept.push((what, stream)),
        }
    }
    *streams = kept;
    Ok(())
}

fn converse_all(streams: &[(String, TcpStream)]) -> Result {
    for (number, (what, stream)) in streams.iter().enumerate() {
        converse(stream, number).with_context(|| what.clone())?;
    }
    Ok(())
}

fn twins(stage: &PairStage) -> anyhow::Result<usize> {
    let map = aya::maps::MapData::from_pin(stage.left.pin("maps/twins_out4")?)?;
    let map: HashMap<_, Flow<V4>, TwinOut> = aya::maps::Map::HashMap(map).try_into()?;
    Ok(map.keys().filter(|key| key.is_ok()).count())
}

#[test]
fn datagrams_from_one_port_are_all_answered() -> Result {
    for identity in ["real", "overlay"] {
        let stage = pair_stage(json!({ "mode": "enforce", "identity": identity }))?;
        let containers = two_containers(&stage)?;
        let _echo = UdpEcho::on(&stage.right.site.netns, (ANY, SERVER))?;
        let mut sockets: Vec<(Ipv4Addr, UdpSocket)> = Vec::new();
        let forms = [container_forms(&stage, &containers), host_forms(&stage)].concat();
        for round in 0..3 {
            for (netns, from, to) in &forms {
                let said = format!("{identity}: round {round}: {from} to {to}");
                // A container's one socket asks both names of the server.
                let known = sockets.iter().position(|(own, _)| own == from.ip());
                let index = match known {
                    Some(index) => index,
                    None => {
                        let socket = netns.run(|| UdpSocket::bind(from))?;
                        socket.set_read_timeout(Some(PATIENCE))?;
                        sockets.push((*from.ip(), socket));
                        sockets.len() - 1
                    }
                };
                let (_, socket) = &sockets[index];
                socket.send_to(said.as_bytes(), to)?;
                let mut heard = [0; 200];
                let (length, peer) = socket.recv_from(&mut heard).with_context(|| said.clone())?;
                assert_eq!(peer, SocketAddr::from(*to), "{said}");
                assert_eq!(String::from_utf8_lossy(&heard[..length]), said);
            }
        }
    }
    Ok(())
}

#[test]
fn containers_ping_at_once_and_ports_are_published_beside_their_own_traffic() -> Result {
    for identity in ["real", "overlay"] {
        let stage = pair_stage(json!({ "mode": "enforce", "identity": identity }))?;
        let [(_, container), (_, other)] = &two_containers(&stage)?;
        let (left, right) = (&stage.left, &stage.right);
        let _servers = [
            TcpEcho::on(container, (ANY, Containers::PORT))?,
            TcpEcho::on(&right.site.netns, (ANY, SERVER))?,
        ];
        let _udp = UdpEcho::on(container, (ANY, Containers::PORT))?;
        for peer in [right.overlay(), right.real(), stage.pair.stranger.private] {
            std::thread::scope(|scope| -> Result {
                let pings: Vec<_> = [container, other, &left.site.netns]
                    .map(|from| scope.spawn(move || ping(from, peer, "-i 0.01 -c 5", PATIENCE)))
                    .into();
                for ping in pings {
                    let answered = ping.join().unwrap_or_else(|p| std::panic::resume_unwind(p))?;
                    ensure!(answered, "{identity}: ping {peer}");
                }
                Ok(())
            })?;
        }
        // One after the other with one identifier: the answer is for the last to ask.
        for peer in [right.overlay(), right.real()] {
            for from in [&left.site.netns, container, other] {
                ensure!(ping(from, peer, "-e 7", PATIENCE)?, "{identity}: ping {peer} again");
            }
        }
        // In all four forms from one port, to what is a published port in the two names of the host.
        let mut streams = Vec::new();
        for own in [right.overlay(), right.real()] {
            for peer in [left.overlay(), left.real()] {
                let to = SocketAddrV4::new(peer, Containers::PUBLISHED);
                let from = SocketAddrV4::new(own, PORT);
                let what = format!("{identity}: {from} to the published {to}");
                let stream = dial(&right.site.netns, Some(from), to, PATIENCE);
                streams.push((what.clone(), stream.context(what)?));
            }
        }
        for to in peers(&stage) {
            streams.push((format!("{identity}: out to {to}"), tcp(container, None, to)?));
        }
        converse_all(&streams)?;
        // Nobody else reaches the published port.
        let refused = left.count("ingress", "stranger")?;
        let to = SocketAddrV4::new(left.real(), Containers::PUBLISHED);
        let stranger = &stage.pair.stranger.netns;
        assert!(harness::traffic::tcp_silent(stranger, to), "{identity}: a stranger");
        assert!(left.count("ingress", "stranger")? > refused);
    }
    Ok(())
}

#[test]
fn no_container_sends_in_the_name_of_an_overlay_address() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce", "identity": "overlay" }))?;
    let (left, right) = (&stage.left, &stage.right);
    let containers = Containers::on(&left.site.netns)?;
    let container = containers.start(2)?;
    // As careless as a host can be: sources are not checked, not even against its own addresses.
    for key in ["rp_filter", "accept_local", "route_localnet"] {
        for interface in ["all", "cont", UPLINK] {
            let value = if key == "rp_filter" { "0" } else { "1" };
            left.site.netns.sysctl(&format!("net.ipv4.conf.{interface}.{key}"), value)?;
        }
    }
    let nobody = (1..=254)
        .map(|last| Ipv4Addr::new(100, 64, 200, last))
        .find(|address| ![left.overlay(), right.overlay()].contains(address))
        .context("two hosts have 254 addresses")?;
    let link = Link { from: container.mac(UPLINK)?, to: left.site.netns.mac("cont")? };
    let wire = Wire::open(&container, UPLINK)?;
    let capture = Wire::open(&stage.pair.lan.router, "port-10")?.capture();
    let dropped = || left.count("egress", "overlay-source");
    for source in [right.overlay(), nobody] {
        for to in [right.real(), right.overlay(), stage.pair.stranger.private] {
            let (from, before) = (SocketAddr::from((source, PORT)), dropped()?);
            let to = SocketAddr::from((to, SERVER));
            wire.send(&link.udp(from, to, b"forged"))?;
            wire.send(&link.syn(from, to))?;
            eventually(&format!("{from} to {to} is dropped"), || {
                dropped().is_ok_and(|count| count >= before + 2)
            });
        }
    }
    // Our own address may be forged inside the host, but what leaves has a real one, and only to members.
    for to in [right.overlay(), stage.pair.stranger.private] {
        let from = SocketAddr::from((left.overlay(), PORT));
        wire.send(&link.udp(from, SocketAddr::from((to, SERVER)), b"forged"))?;
    }
    // Everything sent before this is over when it is answered.
    ensure!(ping(&container, right.overlay(), "", PATIENCE)?, "the container still has its path");
    let frames = capture.finish();
    assert!(frames.len() > 1, "the ping is on the wire");
    let leaked = frames.iter().filter(|frame| carries_overlay(frame, RANGE)).count();
    assert_eq!(leaked, 0, "packets with an overlay address on the wire");
    Ok(())
}
