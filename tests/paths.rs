//! Promise: a peer is reached the right way: on the same link by its own hardware address, else by the gateway, and also
//! where there is no gateway at all.

use std::{
    collections::BTreeSet,
    iter,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU8, Ordering},
    thread,
    time::Duration,
};

use anyhow::ensure;
use harness::{
    PATIENCE,
    family::Family,
    host::{Fleet, Host, HostOptions, start_all},
    in_both_families, in_each_family,
    netns::Netns,
    packets::{Wire, destination_mac, ends},
    stage::{DemoStage, PairStage, enforcing_demo, enforcing_pair},
    topology::{LAN, Lan, PUBLISHED, UPLINK, pair},
    traffic::{TcpEcho, UdpEcho, exchange, ping, tcp},
};
use nix::sys::signal::Signal;
use serde_json::json;

type Result = anyhow::Result<()>;

in_each_family!(
    an_uplink_without_a_gateway_works,
    a_peer_behind_another_router_is_sent_to_that_one,
    a_peer_is_followed_to_another_hardware_address,
    a_host_is_renumbered_under_a_live_connection,
);

in_both_families!(
    a_peer_on_the_link_is_sent_to_directly on enforcing_pair(),
    a_peer_that_was_just_reached_is_sent_to_without_a_redirect on enforcing_pair(),
    a_peer_elsewhere_is_sent_to_by_the_gateway on enforcing_demo(),
);

const PORT: u16 = 7000;

/// Talks over the overlay and gives every destination hardware address of the packets to `real` on this port of the
/// router.
fn next_hops(
    client: &Host,
    server: &Host,
    (router, port): (&Netns, &str),
    real: IpAddr,
) -> anyhow::Result<Vec<[u8; 6]>> {
    let family = Family::of(real);
    let _echo = TcpEcho::on(&server.site.netns, (family.any(), PORT))?;
    let capture = Wire::open(router, port)?.capture();
    // With no neighbour entry yet the first packet must wait, not vanish.
    client.site.netns.ip(&format!("neigh flush dev {UPLINK}"))?;
    assert!(
        ping(&client.site.netns, server.overlay(family), "", PATIENCE)?,
        "the first packet arrives"
    );
    tcp(&client.site.netns, None, SocketAddr::new(server.overlay(family), PORT))?;
    let frames = capture.finish();
    let sent = frames.iter().filter(|frame| ends(frame).is_some_and(|(_, to)| to == real));
    let sent = sent.filter(|frame| !is_discovery(frame));
    let mut macs: Vec<[u8; 6]> = sent.filter_map(|frame| destination_mac(frame)).collect();
    assert!(macs.len() > 10, "{} packets to {real} are on the wire", macs.len());
    macs.sort();
    macs.dedup();
    Ok(macs)
}

/// Whether a frame is neighbour discovery, which knows the link whatever the routes are: all of it has the hop limit 255 (RFC
/// 4861 3.1).
fn is_discovery(frame: &[u8]) -> bool {
    frame[12..14] == [0x86, 0xdd] && frame[20..22] == [58, 255]
}

fn a_peer_on_the_link_is_sent_to_directly(stage: &PairStage, family: Family) -> Result {
    let router = (&stage.pair.lan.router, "port-10");
    let macs = next_hops(&stage.left, &stage.right, router, stage.right.real(family))?;
    assert_eq!(macs, [stage.right.site.netns.mac(UPLINK)?]);
    Ok(())
}

fn a_peer_that_was_just_reached_is_sent_to_without_a_redirect(
    stage: &PairStage,
    family: Family,
) -> Result {
    let (left, to) = (&stage.left.site.netns, stage.right.overlay(family));
    let _echo = UdpEcho::on(&stage.right.site.netns, (family.any(), PORT))?;
    let socket = left.run(|| UdpSocket::bind((family.any(), 0)))?;
    socket.connect((to, PORT))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    // Whoever looks for the route of a packet that is redirected, which is marked, finds none.
    let rule = "fwmark 0x6e740000/0xffff0000 prohibit";
    let (number, over) = (AtomicU8::new(0), AtomicBool::new(false));
    let answered = |wanted: u8| -> bool {
        let mut heard = [0];
        iter::from_fn(|| socket.recv(&mut heard).ok().map(|_| heard[0]))
            .any(|heard| heard == wanted)
    };
    thread::scope(|scope| -> Result {
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                let _ = socket.send(&[number.load(Ordering::Acquire)]);
                thread::sleep(Duration::from_millis(1));
            }
        });
        // The next hop may be forgotten in the instant in which the rule comes into force.
        let reached = (1..=20).try_fold(false, |reached, attempt| -> anyhow::Result<bool> {
            if reached {
                return Ok(true);
            }
            number.store(2 * attempt, Ordering::Release);
            ensure!(answered(2 * attempt), "{to} does not answer");
            left.ip(&format!("{} rule add {rule}", family.flag()))?;
            number.store(2 * attempt + 1, Ordering::Release);
            let reached = answered(2 * attempt + 1);
            left.ip(&format!("{} rule del {rule}", family.flag()))?;
            Ok(reached)
        });
        over.store(true, Ordering::Release);
        ensure!(reached?, "{to} is reached by redirects alone");
        Ok(())
    })
}

fn a_peer_elsewhere_is_sent_to_by_the_gateway(stage: &DemoStage, family: Family) -> Result {
    let router = &stage.demo.ec2.router;
    let public = PUBLISHED.host(family, 110);
    let macs = next_hops(&stage.hudson, &stage.walden, (router, "port-10"), public)?;
    assert_eq!(macs, [router.mac("lan")?]);
    // Between the two in one network the private path is taken, although both have public addresses.
    let sierra = stage.sierra.real(family);
    let macs = next_hops(&stage.hudson, &stage.sierra, (router, "port-10"), sierra)?;
    assert_eq!(macs, [stage.sierra.site.netns.mac(UPLINK)?]);
    Ok(())
}

fn an_uplink_without_a_gateway_works(family: Family) -> Result {
    let lan = Lan::new("island", family)?;
    let (left, right) = (lan.attach("left", 10)?, lan.attach("right", 11)?);
    for site in [&left, &right] {
        site.netns.ip(&format!("{} route del default", family.flag()))?;
    }
    let fleet = Fleet::new(family, json!({ "mode": "enforce" }))?;
    let (mut left, mut right) = (fleet.host("left", &left)?, fleet.host("right", &right)?);
    start_all(&mut [&mut left, &mut right])?;
    let macs = next_hops(&left, &right, (&lan.router, "port-10"), right.real(family))?;
    assert_eq!(macs, [right.site.netns.mac(UPLINK)?]);
    Ok(())
}

fn a_peer_behind_another_router_is_sent_to_that_one(family: Family) -> Result {
    let lan = Lan::new("detour", family)?;
    let (left, right) = (lan.attach("left", 10)?, lan.attach("right", 11)?);
    let relay = lan.attach("relay", 12)?;
    relay.netns.forward(family)?;
    // It would tell of the shorter way.
    relay.netns.sysctl("net.ipv4.conf.all.send_redirects", "0")?;
    relay.netns.sysctl("net.ipv4.conf.eth0.send_redirects", "0")?;
    // A longer prefix than that of the link, on which the peer is.
    let (to, hop) = (right.real(family), relay.real(family));
    left.netns.ip(&format!("route add {to}/{} via {hop}", family.bits()))?;
    let fleet = Fleet::new(family, json!({ "mode": "enforce" }))?;
    let (mut left, mut right) = (fleet.host("left", &left)?, fleet.host("right", &right)?);
    start_all(&mut [&mut left, &mut right])?;
    let macs = next_hops(&left, &right, (&lan.router, "port-10"), to)?;
    assert_eq!(macs, [relay.netns.mac(UPLINK)?]);
    Ok(())
}

fn a_peer_is_followed_to_another_hardware_address(family: Family) -> Result {
    let pair = pair(family)?;
    let fleet = Fleet::new(family, json!({ "mode": "enforce" }))?;
    let (mut left, mut right) =
        (fleet.host("left", &pair.left)?, fleet.host("right", &pair.right)?);
    start_all(&mut [&mut left, &mut right])?;
    let _echo = TcpEcho::on(&pair.right.netns, (family.any(), PORT))?;
    let stream = tcp(&pair.left.netns, None, SocketAddr::new(right.overlay(family), PORT))?;
    exchange(&stream, 200_000)?;
    let other = "02:00:00:00:00:99";
    pair.right.netns.ip(&format!("link set {UPLINK} address {other}"))?;
    // As an announcement would have it.
    let (to, neighbours) = (right.real(family), &pair.left.netns);
    neighbours.ip(&format!("neigh replace {to} lladdr {other} dev {UPLINK}"))?;
    exchange(&stream, 200_000)
}

fn a_host_is_renumbered_under_a_live_connection(family: Family) -> Result {
    let pair = pair(family)?;
    let fleet = Fleet::new(family, json!({ "mode": "enforce", "identity": "overlay" }))?;
    let (old, new) = (LAN.host(family, 11), LAN.host(family, 12));
    let before = HostOptions { extra: format!("private = \"{old}\"\n"), ..HostOptions::default() };
    let mut left = fleet.host("left", &pair.left)?;
    let mut right = fleet.host_with("right", &pair.right, &before)?;
    start_all(&mut [&mut left, &mut right])?;
    let overlay = right.overlay(family);
    let _echo = TcpEcho::on(&pair.right.netns, (family.any(), PORT))?;
    let stream = tcp(&pair.left.netns, None, SocketAddr::new(overlay, PORT))?;

    // No socket holds a real address on either side, so only the wire sees the change.
    pair.right.netns.ip_batch(&LAN.addr_add(family, 12, UPLINK))?;
    right.stop(Signal::SIGTERM)?;
    let config = std::fs::read_to_string(&right.config)?;
    std::fs::write(&right.config, config.replace(&old.to_string(), &new.to_string()))?;
    right.start()?;
    assert_eq!(right.overlay(family), overlay);
    left.await_members(&["right"]);
    let capture = Wire::open(&pair.lan.router, "port-10")?.capture();
    exchange(&stream, 200_000)?;
    let sources: BTreeSet<_> =
        capture.finish().iter().filter_map(|frame| ends(frame)).map(|(from, _)| from).collect();
    assert_eq!(sources, [pair.left.real(family), new].into());
    Ok(())
}
