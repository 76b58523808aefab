//! Promise: what is older than neti goes on when it starts under `enforce`, and when its daemon ends: connections and
//! connected sockets of the host and of its containers, with strangers and with hosts that become members.

use std::net::{SocketAddr, TcpStream, UdpSocket};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE,
    container::Containers,
    family::Family,
    host::Fleet,
    netns::Netns,
    topology::{Pair, Site, pair},
    traffic::{TcpEcho, exchange, tcp, tcp_silent},
};
use nix::sys::signal::Signal;
use serde_json::json;

type Result = anyhow::Result<()>;

const PORT: u16 = 7000;

/// Two ends that talk.
enum Flow {
    /// To an echo server.
    Tcp(TcpStream),
    /// Each connected to the other.
    Udp([UdpSocket; 2]),
}

impl Flow {
    fn udp(a: (&Netns, SocketAddr), b: (&Netns, SocketAddr)) -> anyhow::Result<Self> {
        let socket = |(netns, own): (&Netns, SocketAddr), peer| -> anyhow::Result<UdpSocket> {
            let socket = netns.run(|| UdpSocket::bind(own))?;
            socket.connect(peer)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        Ok(Self::Udp([socket(a, b.1)?, socket(b, a.1)?]))
    }

    fn goes_on(&self) -> Result {
        match self {
            Self::Tcp(stream) => exchange(stream, 200_000),
            Self::Udp([a, b]) => {
                let mut heard = [0; 100];
                for (from, to) in [(a, b), (b, a)] {
                    from.send(b"still there?")?;
                    let length = to.recv(&mut heard)?;
                    ensure!(&heard[..length] == b"still there?", "{:?}", &heard[..length]);
                }
                Ok(())
            }
        }
    }
}

/// Flows between everyone, before there is neti on the left and the right host.
fn flows(pair: &Pair, container: &Netns, family: Family) -> anyhow::Result<Vec<(String, Flow)>> {
    let (left, right, stranger) = (&pair.left, &pair.right, &pair.stranger);
    let mut flows = Vec::new();
    let at = |site: &Site, port| SocketAddr::new(site.real(family), port);
    for (who, from, to) in [
        ("left to right", &left.netns, at(right, PORT)),
        ("right to left", &right.netns, at(left, PORT)),
        ("left to a stranger", &left.netns, at(stranger, PORT)),
        ("a stranger to left", &stranger.netns, at(left, PORT)),
        ("a container to right", container, at(right, PORT)),
        ("a container to a stranger", container, at(stranger, PORT)),
        ("right to a container", &right.netns, at(left, Containers::PUBLISHED)),
        ("a stranger to a container", &stranger.netns, at(left, Containers::PUBLISHED)),
    ] {
        let stream = tcp(from, None, to).context(who)?;
        flows.push((format!("{family}: tcp, {who}"), Flow::Tcp(stream)));
    }
    for (who, peer, port) in [("right", right, 21_000), ("a stranger", stranger, 21_001)] {
        let flow = Flow::udp((&left.netns, at(left, port)), (&peer.netns, at(peer, port)))?;
        flows.push((format!("{family}: udp, left and {who}"), flow));
    }
    Ok(flows)
}

fn all_go_on(flows: &[(String, Flow)], when: &str) -> Result {
    for (what, flow) in flows {
        flow.goes_on().with_context(|| format!("{what}: {when}"))?;
    }
    Ok(())
}

fn older_flows_go_on(identity: &str) -> Result {
    let pair = pair(Family::ALL)?;
    let docker = Containers::on(&pair.left.netns, Family::ALL)?;
    let container = docker.start(2)?;
    let mut echoes = Vec::new();
    let mut all = Vec::new();
    for family in Family::ALL {
        for netns in [&pair.left.netns, &pair.right.netns, &pair.stranger.netns] {
            echoes.push(TcpEcho::on(netns, (family.any(), PORT))?);
        }
        echoes.push(TcpEcho::on(&container, (family.any(), Containers::PORT))?);
        all.extend(flows(&pair, &container, family)?);
    }

    let fleet = Fleet::new(Family::ALL, json!({ "mode": "enforce", "identity": identity }))?;
    let mut left = fleet.host("left", &pair.left)?;
    let mut right = fleet.host("right", &pair.right)?;
    // The first one judges by itself for a while: its peer is no member yet.
    left.start()?;
    all_go_on(&all, "neti on one host")?;
    right.start()?;
    right.await_members(&["left"]);
    left.await_members(&["right"]);
    all_go_on(&all, "neti on both hosts")?;
    // Only what is old goes on.
    for family in Family::ALL {
        for port in [PORT, Containers::PUBLISHED] {
            let to = SocketAddr::new(left.real(family), port);
            ensure!(tcp_silent(&pair.stranger.netns, to), "a new connection to {to}");
        }
        tcp(&pair.right.netns, None, SocketAddr::new(left.overlay(family), PORT))?;
    }
    for host in [&mut left, &mut right] {
        ensure!(host.stop(Signal::SIGTERM)?.success(), "neti on {} ends well", host.name);
    }
    all_go_on(&all, "no daemon")
}

#[test]
fn with_identity_real() -> Result {
    older_flows_go_on("real")
}

#[test]
fn with_identity_overlay() -> Result {
    older_flows_go_on("overlay")
}
