//! Promise: what is older than neti goes on when it starts under `enforce`, and when its daemon ends: connections and
//! connected sockets of the host and of its containers, with strangers and with hosts that become members.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    panic::resume_unwind,
    thread,
};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE,
    container::Containers,
    family::Family,
    host::{Fleet, counted},
    netns::Netns,
    topology::{Pair, Site, pair},
    traffic::{TcpEcho, dial, exchange, listen, tcp, tcp_silent},
};
use nix::sys::signal::Signal;
use serde_json::json;

type Result = anyhow::Result<()>;

const PORT: u16 = 7000;

/// The two ends of a flow, the one that is not on the left host first.
enum Flow {
    Tcp([TcpStream; 2]),
    /// Each connected to the other.
    Udp([UdpSocket; 2]),
}

impl Flow {
    /// From outside to the left host, or its container, at `to`.
    fn inward(from: &Netns, to: SocketAddr, server: (&Netns, SocketAddr)) -> anyhow::Result<Self> {
        let listener = listen(server.0, server.1)?;
        Ok(Self::Tcp([dial(from, None, to, PATIENCE)?, accepted(&listener)?]))
    }

    /// From the left host, or its container, to a server outside.
    fn outward(from: &Netns, server: (&Netns, SocketAddr)) -> anyhow::Result<Self> {
        let listener = listen(server.0, server.1)?;
        let inside = dial(from, None, server.1, PATIENCE)?;
        Ok(Self::Tcp([accepted(&listener)?, inside]))
    }

    fn udp(ends: [(&Netns, SocketAddr); 2]) -> anyhow::Result<Self> {
        let socket = |(netns, own): (&Netns, SocketAddr), peer| -> anyhow::Result<UdpSocket> {
            let socket = netns.run(|| UdpSocket::bind(own))?;
            socket.connect(peer)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let [outside, inside] = ends;
        Ok(Self::Udp([socket(outside, inside.1)?, socket(inside, outside.1)?]))
    }

    /// Says something both ways. The end outside begins: the programs on the left host have not seen a packet leave.
    fn goes_on(&self) -> Result {
        match self {
            Self::Tcp([outside, inside]) => {
                sends(outside, inside).context("in")?;
                sends(inside, outside).context("out")
            }
            Self::Udp([outside, inside]) => {
                for (from, to, way) in [(outside, inside, "in"), (inside, outside, "out")] {
                    let mut heard = [0; 100];
                    from.send(b"still there?")?;
                    let length = to.recv(&mut heard).context(way)?;
                    ensure!(&heard[..length] == b"still there?", "{:?}", &heard[..length]);
                }
                Ok(())
            }
        }
    }
}

fn accepted(listener: &TcpListener) -> anyhow::Result<TcpStream> {
    let (stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Far more than both ends have room for.
fn sends(mut from: &TcpStream, mut to: &TcpStream) -> Result {
    let said: Vec<u8> = (0..2_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut heard = vec![0; said.len()];
    thread::scope(|scope| -> Result {
        let writer = scope.spawn(|| from.write_all(&said));
        to.read_exact(&mut heard)?;
        Ok(writer.join().unwrap_or_else(|panic| resume_unwind(panic))?)
    })?;
    ensure!(heard == said, "other bytes came than were sent");
    Ok(())
}

/// Flows between everyone, before there is neti on the left and the right host.
fn flows(pair: &Pair, container: &Netns, family: Family) -> anyhow::Result<Vec<(String, Flow)>> {
    let at = |site: &Site, port| SocketAddr::new(site.real(family), port);
    let left = &pair.left;
    let any = |port| SocketAddr::new(family.any(), port);
    let mut flows = Vec::new();
    for (who, peer, port) in
        [("right", &pair.right, 21_000), ("a stranger", &pair.stranger, 22_000)]
    {
        let mut keep = |what: &str, flow: anyhow::Result<Flow>| -> Result {
            let what = format!("{family}: {what} {who}");
            flows.push((what.clone(), flow.context(what)?));
            Ok(())
        };
        let netns = &peer.netns;
        keep("to", Flow::outward(&left.netns, (netns, at(peer, PORT))))?;
        keep("from", Flow::inward(netns, at(left, PORT), (&left.netns, any(PORT))))?;
        keep("a container to", Flow::outward(container, (netns, at(peer, PORT))))?;
        let (published, server) = (at(left, Containers::PUBLISHED), any(Containers::PORT));
        keep("a container from", Flow::inward(netns, published, (container, server)))?;
        keep("udp, with", Flow::udp([(netns, at(peer, port)), (&left.netns, at(left, port))]))?;
    }
    Ok(flows)
}

/// A connection from the right host, where nothing is tracked, through a tunnel to a stranger: its datagrams come from a socket of the kernel's that is not connected,
/// but have that of the connection inside. `None` where the kernel has no such tunnels.
fn tunnelled(pair: &Pair, family: Family) -> anyhow::Result<Option<TcpStream>> {
    let (right, stranger) = (&pair.right, &pair.stranger);
    let (name, id) = (format!("tunnel-{}", family.nft()), family.bits());
    let hardware = |last| format!("02:00:00:00:00:{last:02}");
    for (own, peer, last, other) in [(right, stranger, 1, 2), (stranger, right, 2, 1)] {
        let (local, remote) = (own.real(family), peer.real(family));
        let made = own.netns.ip(&format!(
            "link add {name} address {} type vxlan id {id} local {local} remote {remote} \
             dstport 4789 srcport 4789 4790",
            hardware(last)
        ));
        if made.as_ref().is_err_and(|error| error.to_string().contains("Unknown device type")) {
            println!("skipped: a tunnel, for this kernel has no VXLAN");
            return Ok(None);
        }
        made?;
        // Nothing goes through it but the connection: neither neighbour discovery nor ARP.
        own.netns.sysctl(&format!("net.ipv6.conf.{name}.disable_ipv6"), "1")?;
        own.netns.ip_batch(&format!(
            "addr add 192.168.{id}.{last}/24 dev {name}\nlink set {name} up\n\
             neigh add 192.168.{id}.{other} lladdr {} dev {name}\n",
            hardware(other)
        ))?;
    }
    tcp(&right.netns, None, (Ipv4Addr::new(192, 168, id, 2), PORT).into()).map(Some)
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
    let mut all = Vec::new();
    for family in Family::ALL {
        all.extend(flows(&pair, &container, family)?);
    }
    let _echo = TcpEcho::on(&pair.stranger.netns, (Ipv4Addr::UNSPECIFIED, PORT))?;
    let mut tunnels = Vec::new();
    for family in Family::ALL {
        let stream = tunnelled(&pair, family).with_context(|| format!("{family}: a tunnel"))?;
        tunnels.extend(stream.map(|stream| (family, stream)));
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
    for (family, stream) in &tunnels {
        exchange(stream, 200_000).with_context(|| format!("{family}: through a tunnel"))?;
    }
    // Only what is old goes on.
    for family in Family::ALL {
        let _echoes = [
            TcpEcho::on(&pair.left.netns, (family.any(), PORT))?,
            TcpEcho::on(&container, (family.any(), Containers::PORT))?,
        ];
        for port in [PORT, Containers::PUBLISHED] {
            let to = SocketAddr::new(left.real(family), port);
            counted(&left, "stranger", "drop", || {
                ensure!(
                    tcp_silent(&pair.stranger.netns, to),
                    "a stranger's new connection to {to}"
                );
                Ok(())
            })?;
            tcp(&pair.right.netns, None, SocketAddr::new(left.overlay(family), port))?;
        }
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
