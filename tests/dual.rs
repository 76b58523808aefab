//! Promise: a fleet may have overlay addresses of one family or of both; members reach each other by the families that
//! they share and by no other, and what holds in one family holds in the other at the same time.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use harness::{
    PATIENCE, eventually,
    family::Family,
    host::{Fleet, Host, counted, start_all},
    netns::Netns,
    packets::{Wire, addresses, carries_overlay, ends},
    stage::{demo_stage, pair_stage},
    topology::{LAN, Lan, UPLINK, pair},
    traffic::{BRIEFLY, TcpEcho, UdpClient, UdpEcho, dial, exchange, ping, tcp, tcp_silent, udp},
};
use ipnet::IpNet;
use nix::sys::signal::Signal;
use serde_json::json;

type Result = anyhow::Result<()>;

const PORT: u16 = 7000;
const CLIENT: UdpClient = UdpClient { connected: false, from: None };

/// TCP and UDP echo servers for these families.
fn serve(netns: &Netns, families: &[Family]) -> anyhow::Result<Vec<(TcpEcho, UdpEcho)>> {
    let at = |family: &Family| {
        Ok((TcpEcho::on(netns, (family.any(), PORT))?, UdpEcho::on(netns, (family.any(), PORT))?))
    };
    families.iter().map(at).collect()
}

/// Says something in every way that there is.
fn talk(from: &Netns, to: SocketAddr) -> Result {
    tcp(from, None, to)?;
    for connected in [true, false] {
        let client = UdpClient { connected, from: None };
        let answer = udp(from, client, to, 3000, PATIENCE).with_context(|| format!("udp {to}"))?;
        ensure!(answer == to, "{to} answered as {answer}");
    }
    ensure!(ping(from, to.ip(), "", PATIENCE)?, "ping {to}");
    Ok(())
}

#[test]
fn members_reach_each_other_by_the_families_they_share() -> Result {
    let lan = Lan::new("ec2", Family::ALL)?;
    let fleet = Fleet::new(Family::ALL, json!({ "mode": "enforce", "identity": "overlay" }))?;
    let members: [(&str, u8, &[Family]); 4] = [
        ("v4-only", 10, &[Family::V4]),
        ("v6-only", 11, &[Family::V6]),
        ("dual-one", 12, &Family::ALL),
        ("dual-two", 13, &Family::ALL),
    ];
    let mut hosts = Vec::new();
    for (name, last, families) in members {
        hosts.push(fleet.host(name, &lan.attach_with(name, last, families)?)?);
    }
    let mut all: Vec<&mut Host> = hosts.iter_mut().collect();
    // Those that share no family do not see each other, so this waits for what each should see and for nothing else.
    for host in &mut all {
        host.launch()?;
    }
    for host in &mut all {
        host.wait_ready()?;
    }
    let mut servers = Vec::new();
    for (host, (name, _, families)) in hosts.iter().zip(members) {
        let own: Vec<Family> = host.overlays().iter().map(|overlay| Family::of(*overlay)).collect();
        ensure!(own == families, "{name} has overlay addresses {:?}", host.overlays());
        servers.push(serve(&host.site.netns, families)?);
    }
    for from in &hosts {
        for to in hosts.iter().filter(|to| to.name != from.name) {
            for overlay in to.overlays() {
                let what = format!("{} to {} at {overlay}", from.name, to.name);
                let family = Family::of(*overlay);
                let shared = family.among(from.overlays()).is_some();
                if shared {
                    eventually(&what, || from.peers().is_ok_and(|peers| peers.contains(overlay)));
                    talk(&from.site.netns, (*overlay, PORT).into()).context(what.clone())?;
                    talk(&from.site.netns, (to.real(family), PORT).into()).context(what)?;
                } else {
                    ensure!(!from.peers()?.contains(overlay), "{what}: is not reached, but known");
                }
            }
        }
    }
    Ok(())
}

#[test]
fn three_hosts_in_two_networks_talk_by_both_families_at_once() -> Result {
    let stage = demo_stage(Family::ALL, json!({ "mode": "enforce", "identity": "overlay" }))?;
    let hosts = [&stage.hudson, &stage.sierra, &stage.walden];
    let places = [
        (&stage.demo.ec2.router, "port-10"),
        (&stage.demo.ec2.router, "port-11"),
        (&stage.demo.vpc.router, "port-10"),
    ];
    let captures = places.map(|(router, port)| Wire::open(router, port).map(Wire::capture));
    let mut servers = Vec::new();
    for host in hosts {
        servers.push(serve(&host.site.netns, &Family::ALL)?);
    }
    for from in hosts {
        for to in hosts.into_iter().filter(|to| to.name != from.name) {
            for family in Family::ALL {
                talk(&from.site.netns, (to.overlay(family), PORT).into())
                    .with_context(|| format!("{} to {}", from.name, to.name))?;
            }
        }
    }
    for capture in captures {
        let frames = capture?.finish();
        ensure!(frames.len() > 100, "the capture works");
        for family in Family::ALL {
            let leaked = frames.iter().find(|frame| carries_overlay(frame, family.range()));
            ensure!(leaked.is_none(), "on the wire: {:?}", leaked.map(|frame| addresses(frame)));
        }
    }
    Ok(())
}

/// The fleet has one family, its hosts and everybody else have both.
fn one_family_on_dual_stack_hosts(family: Family, other: Family) -> Result {
    let pair = pair(Family::ALL)?;
    let fleet = Fleet::new(family, json!({ "mode": "enforce" }))?;
    let mut left = fleet.host("left", &pair.left)?;
    let mut right = fleet.host("right", &pair.right)?;
    start_all(&mut [&mut left, &mut right])?;
    ensure!(left.overlays().len() == 1 && right.overlays().len() == 1, "the fleet has one range");
    let _servers = serve(&right.site.netns, &Family::ALL)?;
    talk(&left.site.netns, (right.overlay(family), PORT).into()).context("by overlay address")?;

    // Members' real addresses of the other family are let in as they are, strangers' are not.
    let direct = SocketAddr::new(right.real(other), PORT);
    let capture = Wire::open(&pair.lan.router, "port-11")?.capture();
    counted(&right, "member", "pass", || talk(&left.site.netns, direct))
        .context("a member by the family without overlay addresses")?;
    let expected = (left.real(other), right.real(other));
    let frames = capture.finish();
    let seen = frames.iter().filter_map(|frame| ends(frame));
    ensure!(seen.filter(|ends| *ends == expected).count() > 10, "nothing is translated there");
    for stranger in [&pair.stranger.netns, &pair.neighbour.netns] {
        counted(&right, "stranger", "drop", || {
            ensure!(tcp_silent(stranger, direct), "a stranger's SYN is answered");
            ensure!(udp(stranger, CLIENT, direct, 10, BRIEFLY).is_err(), "a stranger is answered");
            ensure!(!ping(stranger, direct.ip(), "", BRIEFLY)?, "a stranger's ping is answered");
            Ok(())
        })?;
    }
    // What the host asks strangers for is answered.
    let _stranger = serve(&pair.stranger.netns, &[other])?;
    let stranger = SocketAddr::new(pair.stranger.real(other), PORT);
    talk(&right.site.netns, stranger).context("a stranger that was asked")
}

#[test]
fn a_v4_fleet_on_dual_stack_hosts_filters_ipv6() -> Result {
    one_family_on_dual_stack_hosts(Family::V4, Family::V6)
}

#[test]
fn a_v6_fleet_on_dual_stack_hosts_filters_ipv4() -> Result {
    one_family_on_dual_stack_hosts(Family::V6, Family::V4)
}

#[test]
fn rules_and_settings_of_both_families_change_together() -> Result {
    let stage = pair_stage(Family::ALL, json!({ "mode": "observe" }))?;
    let right = &stage.right;
    let stranger = &stage.pair.stranger;
    let _servers = serve(&right.site.netns, &Family::ALL)?;
    let open = |family| {
        let to = SocketAddr::new(right.real(family), PORT);
        udp(&stranger.netns, CLIENT, to, 10, BRIEFLY).is_ok()
    };
    let both = |what: &str, wanted: bool| {
        for family in Family::ALL {
            eventually(&format!("{what}: {family:?}"), || {
                let before = right.arrived("stranger", "drop").ok();
                // Silence alone may be a slow machine's.
                open(family) == wanted
                    && (wanted || right.arrived("stranger", "drop").ok() > before)
            });
        }
    };
    both("observe lets strangers in", true);
    stage.fleet.set(json!({ "mode": "enforce" }))?;
    both("enforce refuses them", false);
    let rules = Family::ALL.map(|family| json!({ "from": IpNet::from(stranger.real(family)) }));
    stage.fleet.set(json!({ "mode": "enforce", "allow": rules }))?;
    both("rules of both families admit them", true);
    stage.fleet.set(json!({ "mode": "enforce", "open": [format!("udp/{PORT}")] }))?;
    both("an open port is open in both", true);
    stage.fleet.set(json!({ "mode": "enforce" }))?;
    both("and closed in both", false);
    // Who they are, too: both families' servers see the same form at any time.
    let seen = |family: Family| -> anyhow::Result<bool> {
        let echo = TcpEcho::on(&right.site.netns, (family.any(), PORT + 1))?;
        let to = SocketAddr::new(right.overlay(family), PORT + 1);
        drop(dial(&stage.left.site.netns, None, to, PATIENCE)?);
        Ok(echo.seen().peer.ip() == stage.left.overlay(family))
    };
    for (identity, overlay) in [("overlay", true), ("real", false)] {
        stage.fleet.set(json!({ "mode": "enforce", "identity": identity }))?;
        for family in Family::ALL {
            eventually(&format!("{family:?} servers see the {identity} form"), || {
                seen(family).is_ok_and(|seen| seen == overlay)
            });
        }
    }
    Ok(())
}

#[test]
fn one_port_in_both_families_and_both_forms() -> Result {
    let stage = pair_stage(Family::ALL, json!({ "mode": "enforce" }))?;
    let (left, right) = (&stage.left, &stage.right);
    let _servers = serve(&right.site.netns, &Family::ALL)?;
    let mut streams = Vec::new();
    for family in Family::ALL {
        for own in [left.overlay(family), left.real(family)] {
            for peer in [right.overlay(family), right.real(family)] {
                let (from, to) = (SocketAddr::new(own, 21_000), SocketAddr::new(peer, PORT));
                let stream = dial(&left.site.netns, Some(from), to, PATIENCE)
                    .with_context(|| format!("{from} to {to}"))?;
                streams.push(stream);
            }
        }
    }
    for stream in &streams {
        exchange(stream, 100_000)?;
    }
    Ok(())
}

#[test]
fn a_family_that_a_host_loses_is_taken_from_its_record() -> Result {
    let lan = Lan::new("ec2", Family::ALL)?;
    let fleet = Fleet::new(Family::ALL, json!({ "mode": "enforce" }))?;
    let mut left = fleet.host("left", &lan.attach("left", 10)?)?;
    let mut right = fleet.host("right", &lan.attach("right", 11)?)?;
    start_all(&mut [&mut left, &mut right])?;
    let overlays = right.overlays().to_vec();
    let netns = right.site.netns.clone();
    // Without an address of IPv6 it goes on by IPv4; with one again it has its old overlay address again.
    right.stop(Signal::SIGTERM)?;
    let address = right.real(Family::V6);
    netns.ip(&format!("addr del {address}/64 dev {UPLINK}"))?;
    right.start()?;
    ensure!(right.overlays() == [overlays[0]], "{:?}", right.overlays());
    eventually("left sees right by IPv4 alone", || {
        left.peers().is_ok_and(|peers| peers == [overlays[0]])
    });
    ensure!(ping(&left.site.netns, overlays[0], "", PATIENCE)?);
    right.stop(Signal::SIGTERM)?;
    netns.ip_batch(&LAN.addr_add(Family::V6, 11, UPLINK))?;
    right.start()?;
    ensure!(right.overlays() == overlays, "{:?} is not {overlays:?}", right.overlays());
    for overlay in &overlays {
        eventually("left sees right by both", || {
            left.peers().is_ok_and(|peers| peers.contains(overlay))
        });
        ensure!(ping(&left.site.netns, *overlay, "", PATIENCE)?, "{overlay}");
    }
    Ok(())
}
