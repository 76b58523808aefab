//! Promise: what a host forwards for its containers, behind a bridge, masquerading and a published port, is told apart
//! from what the host itself sends, whatever ports and forms the two use; and no container speaks for a member.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE,
    container::Containers,
    eventually,
    family::Family,
    in_each_family,
    netns::Netns,
    packets::{Link, Wire, carries_overlay},
    stage::{PairStage, pair_stage},
    topology::UPLINK,
    traffic::{TcpEcho, UdpEcho, dial, exchange, ping, tcp},
};
use maps::flows;
use neti_common::maps::TwinOut;
use serde_json::json;

mod maps;

type Result = anyhow::Result<()>;

in_each_family!(
    connections_from_one_port_are_all_answered_containers_first,
    connections_from_one_port_are_all_answered_containers_first_with_identity_overlay,
    connections_from_one_port_are_all_answered_host_first,
    datagrams_from_one_port_are_all_answered,
    containers_ping_at_once_and_ports_are_published_beside_their_own_traffic,
    no_container_sends_in_the_name_of_an_overlay_address,
);

const SERVER: u16 = 7000;
/// The one source port that everybody uses.
const PORT: u16 = 21_000;

/// Who dials from where to where.
type Form = (Netns, SocketAddr, SocketAddr);

/// Both names of both ends, dialled from `netns` on the left host.
fn host_forms(stage: &PairStage, family: Family) -> Vec<Form> {
    let mut forms = Vec::new();
    for own in [stage.left.overlay(family), stage.left.real(family)] {
        for peer in peers(stage, family) {
            forms.push((stage.left.site.netns.clone(), SocketAddr::new(own, PORT), peer));
        }
    }
    forms
}

/// Both names of the server, dialled from two containers.
fn container_forms(stage: &PairStage, family: Family, containers: &[(u8, Netns)]) -> Vec<Form> {
    let mut forms = Vec::new();
    for (last, netns) in containers {
        for peer in peers(stage, family) {
            let own = SocketAddr::new(Containers::address(family, *last), PORT);
            forms.push((netns.clone(), own, peer));
        }
    }
    forms
}

fn peers(stage: &PairStage, family: Family) -> [SocketAddr; 2] {
    [stage.right.overlay(family), stage.right.real(family)]
        .map(|peer| SocketAddr::new(peer, SERVER))
}

fn two_containers(stage: &PairStage, family: Family) -> anyhow::Result<[(u8, Netns); 2]> {
    let containers = Containers::on(&stage.left.site.netns, family)?;
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

fn connections_from_one_port_are_all_answered_containers_first(family: Family) -> Result {
    connections(family, "real", |host, containers| [containers, host].concat())
}

fn connections_from_one_port_are_all_answered_containers_first_with_identity_overlay(
    family: Family,
) -> Result {
    connections(family, "overlay", |host, containers| [containers, host].concat())
}

fn connections_from_one_port_are_all_answered_host_first(family: Family) -> Result {
    connections(family, "overlay", |host, containers| [host, containers].concat())
}

fn connections(
    family: Family,
    identity: &str,
    order: impl FnOnce(Vec<Form>, Vec<Form>) -> Vec<Form>,
) -> Result {
    let stage = pair_stage(family, json!({ "mode": "enforce", "identity": identity }))?;
    let containers = two_containers(&stage, family)?;
    let _echo = TcpEcho::on(&stage.right.site.netns, (family.any(), SERVER))?;
    let mut streams = Vec::new();
    for (netns, from, to) in
        order(host_forms(&stage, family), container_forms(&stage, family, &containers))
    {
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
    let twins = || flows::<TwinOut, TwinOut>(&stage.left, family, |maps| maps.twins_out);
    let before = twins()?.len();
    ensure!(before > 0, "one port in many forms needs twins");
    reset_those_of_the_host(&stage, family, &mut streams)?;
    eventually("the entries of a closed twin are removed", || {
        twins().is_ok_and(|twins| twins.len() < before)
    });
    converse_all(&streams)
}

/// Resets every connection that the host itself made.
fn reset_those_of_the_host(
    stage: &PairStage,
    family: Family,
    streams: &mut Vec<(String, TcpStream)>,
) -> Result {
    let own = [stage.left.overlay(family), stage.left.real(family)];
    let mut kept = Vec::new();
    for (what, stream) in streams.drain(..) {
        if own.contains(&stream.local_addr()?.ip()) {
            socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO))?;
        } else {
            kept.push((what, stream));
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

fn datagrams_from_one_port_are_all_answered(family: Family) -> Result {
    for identity in ["real", "overlay"] {
        let stage = pair_stage(family, json!({ "mode": "enforce", "identity": identity }))?;
        let containers = two_containers(&stage, family)?;
        let _echo = UdpEcho::on(&stage.right.site.netns, (family.any(), SERVER))?;
        let mut sockets: Vec<(IpAddr, UdpSocket)> = Vec::new();
        let forms =
            [container_forms(&stage, family, &containers), host_forms(&stage, family)].concat();
        for round in 0..3 {
            for (netns, from, to) in &forms {
                let said = format!("{identity}: round {round}: {from} to {to}");
                // A container's one socket asks both names of the server.
                let known = sockets.iter().position(|(own, _)| *own == from.ip());
                let index = match known {
                    Some(index) => index,
                    None => {
                        let socket = netns.run(|| UdpSocket::bind(from))?;
                        socket.set_read_timeout(Some(PATIENCE))?;
                        sockets.push((from.ip(), socket));
                        sockets.len() - 1
                    }
                };
                let (_, socket) = &sockets[index];
                socket.send_to(said.as_bytes(), to)?;
                let mut heard = [0; 200];
                let (length, peer) = socket.recv_from(&mut heard).with_context(|| said.clone())?;
                assert_eq!(peer, *to, "{said}");
                assert_eq!(String::from_utf8_lossy(&heard[..length]), said);
            }
        }
    }
    Ok(())
}

fn containers_ping_at_once_and_ports_are_published_beside_their_own_traffic(
    family: Family,
) -> Result {
    for identity in ["real", "overlay"] {
        let stage = pair_stage(family, json!({ "mode": "enforce", "identity": identity }))?;
        let [(_, container), (_, other)] = &two_containers(&stage, family)?;
        let (left, right) = (&stage.left, &stage.right);
        let _servers = [
            TcpEcho::on(container, (family.any(), Containers::PORT))?,
            TcpEcho::on(&right.site.netns, (family.any(), SERVER))?,
        ];
        let _udp = UdpEcho::on(container, (family.any(), Containers::PORT))?;
        for peer in [right.overlay(family), right.real(family), stage.pair.stranger.real(family)] {
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
        for peer in [right.overlay(family), right.real(family)] {
            for from in [&left.site.netns, container, other] {
                ensure!(ping(from, peer, "-e 7", PATIENCE)?, "{identity}: ping {peer} again");
            }
        }
        // In all four forms from one port, to what is a published port in the two names of the host.
        let mut streams = Vec::new();
        for own in [right.overlay(family), right.real(family)] {
            for peer in [left.overlay(family), left.real(family)] {
                let to = SocketAddr::new(peer, Containers::PUBLISHED);
                let from = SocketAddr::new(own, PORT);
                let what = format!("{identity}: {from} to the published {to}");
                let stream = dial(&right.site.netns, Some(from), to, PATIENCE);
                streams.push((what.clone(), stream.context(what)?));
            }
        }
        for to in peers(&stage, family) {
            streams.push((format!("{identity}: out to {to}"), tcp(container, None, to)?));
        }
        converse_all(&streams)?;
        // Nobody else reaches the published port.
        let refused = left.count("ingress", "stranger")?;
        let to = SocketAddr::new(left.real(family), Containers::PUBLISHED);
        let stranger = &stage.pair.stranger.netns;
        assert!(harness::traffic::tcp_silent(stranger, to), "{identity}: a stranger");
        assert!(left.count("ingress", "stranger")? > refused);
    }
    Ok(())
}

fn no_container_sends_in_the_name_of_an_overlay_address(family: Family) -> Result {
    let stage = pair_stage(family, json!({ "mode": "enforce", "identity": "overlay" }))?;
    let (left, right) = (&stage.left, &stage.right);
    let containers = Containers::on(&left.site.netns, family)?;
    let container = containers.start(2)?;
    // As careless as a host can be: sources are not checked, not even against its own addresses.
    for key in ["rp_filter", "accept_local", "route_localnet"] {
        // IPv6 checks no sources.
        for interface in ["all", "cont", UPLINK] {
            let value = if key == "rp_filter" { "0" } else { "1" };
            left.site.netns.sysctl(&format!("net.ipv4.conf.{interface}.{key}"), value)?;
        }
    }
    let link = Link { from: container.mac(UPLINK)?, to: left.site.netns.mac("cont")? };
    let wire = Wire::open(&container, UPLINK)?;
    let capture = Wire::open(&stage.pair.lan.router, "port-10")?.capture();
    let dropped = || left.count("guard", "spoofed-overlay");
    for source in [right.overlay(family), family.ghost(1), left.overlay(family)] {
        for to in [right.real(family), right.overlay(family), stage.pair.stranger.real(family)] {
            let (from, before) = (SocketAddr::from((source, PORT)), dropped()?);
            let to = SocketAddr::from((to, SERVER));
            wire.send(&link.udp(from, to, b"forged"))?;
            wire.send(&link.syn(from, to))?;
            eventually(&format!("{from} to {to} is dropped"), || {
                dropped().is_ok_and(|count| count >= before + 2)
            });
        }
    }
    // Everything sent before this is over when it is answered.
    ensure!(
        ping(&container, right.overlay(family), "", PATIENCE)?,
        "the container still has its path"
    );
    let frames = capture.finish();
    assert!(frames.len() > 1, "the ping is on the wire");
    let leaked = frames.iter().filter(|frame| carries_overlay(frame, family.range())).count();
    assert_eq!(leaked, 0, "packets with an overlay address on the wire");
    Ok(())
}
