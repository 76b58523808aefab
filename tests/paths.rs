//! Promise: a peer is reached the right way: on the same link by its own hardware address, else by the gateway, and also
//! where there is no gateway at all.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddrV4},
};

use harness::{
    PATIENCE,
    host::{Fleet, Host, HostOptions, start_all},
    netns::Netns,
    packets::{Wire, destination_mac, ends},
    stage::{demo_stage, pair_stage},
    topology::{Lan, UPLINK, pair},
    traffic::{TcpEcho, exchange, ping, tcp},
};
use nix::sys::signal::Signal;
use serde_json::json;

type Result = anyhow::Result<()>;

const PORT: u16 = 7000;

/// Talks over the overlay and gives every destination hardware address of the packets to `real` on this port of the
/// router.
fn next_hops(
    client: &Host,
    server: &Host,
    (router, port): (&Netns, &str),
    real: Ipv4Addr,
) -> anyhow::Result<Vec<[u8; 6]>> {
    let _echo = TcpEcho::on(&server.site.netns, (Ipv4Addr::UNSPECIFIED, PORT))?;
    let capture = Wire::open(router, port)?.capture();
    // With no neighbour entry yet the first packet must wait, not vanish.
    client.site.netns.ip(&format!("neigh flush dev {UPLINK}"))?;
    assert!(ping(&client.site.netns, server.overlay(), "", PATIENCE)?, "the first packet arrives");
    tcp(&client.site.netns, None, SocketAddrV4::new(server.overlay(), PORT))?;
    let frames = capture.finish();
    let sent = frames.iter().filter(|frame| ends(frame).is_some_and(|(_, to)| to == real));
    let mut macs: Vec<[u8; 6]> = sent.filter_map(|frame| destination_mac(frame)).collect();
    assert!(macs.len() > 10, "{} packets to {real} are on the wire", macs.len());
    macs.sort();
    macs.dedup();
    Ok(macs)
}

#[test]
fn a_peer_on_the_link_is_sent_to_directly() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce" }))?;
    let router = (&stage.pair.lan.router, "port-10");
    let macs = next_hops(&stage.left, &stage.right, router, stage.right.real())?;
    assert_eq!(macs, [stage.right.site.netns.mac(UPLINK)?]);
    Ok(())
}

#[test]
fn a_peer_elsewhere_is_sent_to_by_the_gateway() -> Result {
    let stage = demo_stage(json!({ "mode": "enforce" }))?;
    let router = &stage.demo.ec2.router;
    let public = [203, 0, 113, 110].into();
    let macs = next_hops(&stage.hudson, &stage.walden, (router, "port-10"), public)?;
    assert_eq!(macs, [router.mac("lan")?]);
    // Between the two in one network the private path is taken, although both have public addresses.
    let sierra = stage.sierra.real();
    let macs = next_hops(&stage.hudson, &stage.sierra, (router, "port-10"), sierra)?;
    assert_eq!(macs, [stage.sierra.site.netns.mac(UPLINK)?]);
    Ok(())
}

#[test]
fn an_uplink_without_a_gateway_works() -> Result {
    let lan = Lan::new("island")?;
    let (left, right) = (lan.attach("left", 10)?, lan.attach("right", 11)?);
    for site in [&left, &right] {
        site.netns.ip("route del default")?;
    }
    let fleet = Fleet::new(json!({ "mode": "enforce" }))?;
    let (mut left, mut right) = (fleet.host("left", &left)?, fleet.host("right", &right)?);
    start_all(&mut [&mut left, &mut right])?;
    let macs = next_hops(&left, &right, (&lan.router, "port-10"), right.real())?;
    assert_eq!(macs, [right.site.netns.mac(UPLINK)?]);
    Ok(())
}

#[test]
fn a_host_is_renumbered_under_a_live_connection() -> Result {
    let pair = pair()?;
    let fleet = Fleet::new(json!({ "mode": "enforce", "identity": "overlay" }))?;
    let before =
        HostOptions { extra: "private = \"10.0.0.11\"\n".to_owned(), ..HostOptions::default() };
    let mut left = fleet.host("left", &pair.left)?;
    let mut right = fleet.host_with("right", &pair.right, &before)?;
    start_all(&mut [&mut left, &mut right])?;
    let overlay = right.overlay();
    let _echo = TcpEcho::on(&pair.right.netns, (Ipv4Addr::UNSPECIFIED, PORT))?;
    let stream = tcp(&pair.left.netns, None, SocketAddrV4::new(overlay, PORT))?;

    // No socket holds a real address on either side, so only the wire sees the change.
    pair.right.netns.ip(&format!("addr add 10.0.0.12/24 dev {UPLINK}"))?;
    right.stop(Signal::SIGTERM)?;
    let config = std::fs::read_to_string(&right.config)?;
    std::fs::write(&right.config, config.replace("10.0.0.11", "10.0.0.12"))?;
    right.start()?;
    assert_eq!(right.overlay(), overlay);
    left.await_members(&["right"]);
    let capture = Wire::open(&pair.lan.router, "port-10")?.capture();
    exchange(&stream, 200_000)?;
    let sources: BTreeSet<_> =
        capture.finish().iter().filter_map(|frame| ends(frame)).map(|(from, _)| from).collect();
    assert_eq!(sources, [pair.left.private, [10, 0, 0, 12].into()].into());
    Ok(())
}
