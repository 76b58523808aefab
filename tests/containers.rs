//! Promise: behind a host that enforces, with Docker's bridge, masquerading and published ports, containers reach overlay
//! addresses, members and strangers; members and the host itself reach what is published, and strangers only where the
//! port is open. The host's masquerading has the sockets' names; neti has hints.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE,
    container::Containers,
    dns::{self, Dns},
    eventually,
    family::Family,
    netns::Netns,
    stage::{PairStage, pair_stage},
    traffic::{
        BRIEFLY, TcpEcho, UdpClient, UdpEcho, dial, exchange, listen, ping, tcp, tcp_silent, udp,
    },
};
use serde_json::json;
use socket2::SockRef;

type Result = anyhow::Result<()>;

/// Everybody's echo servers.
const PORT: u16 = 7000;
/// Published by a proxy alone.
const PROXIED: u16 = 8081;

/// A process on the host that passes connections on to a container, as Docker has one for each published port.
struct Proxy {
    listener: TcpListener,
}

impl Proxy {
    fn on(host: &Netns, port: u16, server: SocketAddr) -> anyhow::Result<Self> {
        let listener = listen(host, (Family::of(server.ip()).any(), port).into())?;
        let acceptor = listener.try_clone()?;
        host.go(move || {
            // Ends when the owner shuts the listener down.
            while let Ok((client, _)) = acceptor.accept() {
                let Ok(server) = TcpStream::connect(server) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
                    thread::spawn(move || pass_on(from, to));
                }
            }
        });
        Ok(Self { listener })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// Everything that goes between two by TCP and UDP.
fn talks(from: &Netns, to: SocketAddr) -> Result {
    let stream = tcp(from, None, to).context("tcp")?;
    for connected in [true, false] {
        let client = UdpClient { connected, from: None };
        let answer = udp(from, client, to, 3000, PATIENCE).context("udp")?;
        ensure!(answer == to, "answered by {answer}");
    }
    // The connection is still there after other flows between the two.
    exchange(&stream, 10_000).context("tcp, again")
}

/// What a container dials.
fn a_container_reaches_everybody(stage: &PairStage, family: Family, container: &Netns) -> Result {
    let stranger = &stage.pair.stranger;
    let mut servers = Vec::new();
    for netns in [&stage.right.site.netns, &stranger.netns] {
        servers.push((
            TcpEcho::on(netns, (family.any(), PORT))?,
            UdpEcho::on(netns, (family.any(), PORT))?,
        ));
    }
    for to in [stage.right.overlay(family), stage.right.real(family), stranger.real(family)] {
        talks(container, SocketAddr::new(to, PORT)).with_context(|| format!("to {to}"))?;
        ensure!(ping(container, to, "", PATIENCE)?, "ping {to}");
    }
    let _dns = Dns::on(&stranger.netns, stranger.real(family))?;
    for connected in [true, false] {
        dns::ask(container, stranger.real(family), connected).context("DNS")?;
    }
    Ok(())
}

/// Who dials what the left host publishes, by either of its addresses.
fn published_ports_are_reached(
    stage: &PairStage,
    family: Family,
    identity: &str,
    containers: &[Netns; 2],
) -> Result {
    let (left, right) = (&stage.left, &stage.right);
    let [server, other] = containers;
    let echo = TcpEcho::on(server, (family.any(), Containers::PORT))?;
    let _udp = UdpEcho::on(server, (family.any(), Containers::PORT))?;
    let own = [left.overlay(family), left.real(family)];
    for address in own {
        let published = SocketAddr::new(address, Containers::PUBLISHED);
        let proxied = SocketAddr::new(address, PROXIED);
        let what = |who: &str| format!("{who} to the port published at {address}");

        talks(&right.site.netns, published).with_context(|| what("a member"))?;
        let name = if identity == "overlay" { right.overlay(family) } else { right.real(family) };
        ensure!(echo.seen().peer.ip() == name, "the container sees another client than {name}");

        talks(&left.site.netns, published).with_context(|| what("the host itself"))?;
        ensure!(own.contains(&echo.seen().peer.ip()), "the container sees its host");

        // By the proxy, which has an address of the containers' network.
        for (who, from, to) in [
            ("a member, by proxy", &right.site.netns, proxied),
            ("another container", other, published),
            ("the container itself", server, published),
        ] {
            tcp(from, None, to).with_context(|| what(who))?;
            ensure!(echo.seen().peer.ip() == Containers::address(family, 1), "{}", what(who));
        }
    }
    Ok(())
}

/// Strangers dial what the left host publishes.
fn strangers_reach_open_ports_alone(
    stage: &PairStage,
    family: Family,
    identity: &str,
    container: &Netns,
) -> Result {
    let (left, stranger) = (&stage.left, &stage.pair.stranger);
    let echo = TcpEcho::on(container, (family.any(), Containers::PORT))?;
    let udp_echo = UdpEcho::on(container, (family.any(), Containers::PORT))?;
    let [published, proxied] =
        [Containers::PUBLISHED, PROXIED].map(|port| SocketAddr::new(left.real(family), port));
    let client = UdpClient { connected: false, from: None };
    let refused = left.arrived("stranger", "drop")?;
    for to in [published, proxied] {
        ensure!(tcp_silent(&stranger.netns, to), "a stranger's SYN to {to} is answered");
    }
    let asked = udp(&stranger.netns, client, published, 10, BRIEFLY);
    ensure!(asked.is_err(), "a stranger's datagram is answered");
    ensure!(echo.try_seen().is_none() && udp_echo.try_seen().is_none(), "the container hears");
    eventually("neti refuses all three", || {
        left.arrived("stranger", "drop").is_ok_and(|after| after >= refused + 3)
    });

    let open = ["tcp/8080", "udp/8080", "tcp/8081"];
    stage.fleet.set(json!({ "mode": "enforce", "identity": identity, "open": open }))?;
    eventually("the ports are open", || dial(&stranger.netns, None, proxied, BRIEFLY).is_ok());
    talks(&stranger.netns, published).context("an open port that is published")?;
    tcp(&stranger.netns, None, proxied).context("an open port that is proxied")?;
    let other = SocketAddr::new(left.real(family), PORT);
    ensure!(tcp_silent(&stranger.netns, other), "no other port is open");
    Ok(())
}

#[test]
fn containers_talk_and_are_talked_to_under_enforce() -> Result {
    let stage = pair_stage(Family::ALL, json!({ "mode": "enforce" }))?;
    let host = &stage.left.site.netns;
    let docker = Containers::on(host, Family::ALL)?;
    let containers = [docker.start(2)?, docker.start(3)?];
    let mut proxies = Vec::new();
    for family in Family::ALL {
        for port in [Containers::PUBLISHED, PROXIED] {
            proxies.push(Proxy::on(host, port, Containers::server(family))?);
        }
    }
    for identity in ["real", "overlay"] {
        for family in Family::ALL {
            stage.identify(family, identity)?;
            let checks = || -> Result {
                a_container_reaches_everybody(&stage, family, &containers[1])?;
                published_ports_are_reached(&stage, family, identity, &containers)?;
                strangers_reach_open_ports_alone(&stage, family, identity, &containers[0])
            };
            checks().with_context(|| format!("{family}, identity {identity}"))?;
        }
    }
    Ok(())
}
