//! Promise: no packet of any kind, ARP and errors included, carries an overlay address onto the wire.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    panic::resume_unwind,
};

use harness::{
    PATIENCE,
    host::Host,
    packets::{Capture, Wire, addresses, carries_overlay, ends},
    stage::{DemoStage, demo_stage},
    traffic::{BRIEFLY, TcpEcho, UdpClient, UdpEcho, dial, ping, tcp, udp},
};
use serde_json::json;

type Result = anyhow::Result<()>;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const PORT: u16 = 7000;
const RANGE: (Ipv4Addr, u32) = (Ipv4Addr::new(100, 64, 0, 0), 16);

/// Everything hosts do with each other, and everything they should not.
fn mixed_workload(stage: &DemoStage) -> Result {
    let hosts = [&stage.hudson, &stage.sierra, &stage.walden];
    let mut servers = Vec::new();
    for host in hosts {
        servers.push((
            TcpEcho::on(&host.site.netns, (ANY, PORT))?,
            UdpEcho::on(&host.site.netns, (ANY, PORT))?,
        ));
    }
    let work = |from: &Host| -> Result {
        // Neighbours are asked for with a packet of the overlay waiting, whose source is what Linux would ask with.
        from.site.netns.ip("neigh flush dev eth0")?;
        for to in hosts.into_iter().filter(|to| to.name != from.name) {
            talk(from, to)?;
        }
        unreachable(stage, from)
    };
    // Most of it is waiting for what must not come.
    std::thread::scope(|scope| {
        let all = hosts.map(|host| scope.spawn(move || work(host)));
        all.into_iter().try_for_each(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn talk(from: &Host, to: &Host) -> Result {
    let netns = &from.site.netns;
    let address = SocketAddrV4::new(to.overlay(), PORT);
    assert!(ping(netns, to.overlay(), "", PATIENCE)?, "{} pings {}", from.name, to.name);
    assert!(ping(netns, to.overlay(), "-s 4000", PATIENCE)?, "in fragments");
    ping(netns, to.overlay(), "-R", BRIEFLY)?;
    ping(netns, to.overlay(), "-T tsandaddr", BRIEFLY)?;
    ping(netns, to.overlay(), "-t 1", BRIEFLY)?;
    tcp(netns, None, address)?;
    for connected in [true, false] {
        let client = UdpClient { connected, from: None };
        assert_eq!(udp(netns, client, address, 3000, PATIENCE)?, SocketAddr::from(address));
    }
    // Refusals: a RST, and an error with our packet inside.
    let closed = SocketAddrV4::new(to.overlay(), 9);
    assert!(dial(netns, None, closed, PATIENCE).is_err());
    assert!(udp(netns, UdpClient { connected: true, from: None }, closed, 10, PATIENCE).is_err());
    Ok(())
}

fn unreachable(stage: &DemoStage, from: &Host) -> Result {
    let netns = &from.site.netns;
    let nobody = (1..=254).map(|last| Ipv4Addr::new(100, 64, 200, last)).find(|address| {
        [&stage.hudson, &stage.sierra, &stage.walden].iter().all(|h| h.overlay() != *address)
    });
    let nobody = nobody.unwrap_or_else(|| panic!("three hosts have 254 addresses"));
    let overlay = UdpClient { connected: false, from: Some(from.overlay()) };
    ping(netns, nobody, "", BRIEFLY)?;
    let _ = dial(netns, None, SocketAddrV4::new(nobody, PORT), BRIEFLY);
    let _ = udp(netns, overlay, SocketAddrV4::new(nobody, PORT), 3000, BRIEFLY);
    // From the overlay address to somebody who is not a member.
    let stranger = stage.demo.stranger.private;
    ping(netns, stranger, &format!("-I {}", from.overlay()), BRIEFLY)?;
    let _ = udp(netns, overlay, SocketAddrV4::new(stranger, PORT), 3000, BRIEFLY);
    let bound = SocketAddrV4::new(from.overlay(), 0);
    let _ = dial(netns, Some(bound), SocketAddrV4::new(stranger, PORT), BRIEFLY);
    // The network's broadcast and multicast are not members either.
    let _ = udp(netns, overlay, SocketAddrV4::new([224, 0, 0, 251].into(), 5353), 10, BRIEFLY);
    // A neighbour that does not exist is asked for with the packet's own source.
    ping(netns, [10, 0, 0, 200].into(), &format!("-I {}", from.overlay()), BRIEFLY)?;
    Ok(())
}

fn captures(stage: &DemoStage) -> anyhow::Result<Vec<(&'static str, Capture)>> {
    let (ec2, vpc) = (&stage.demo.ec2.router, &stage.demo.vpc.router);
    let places =
        [("hudson", ec2, "port-10"), ("sierra", ec2, "port-11"), ("walden", vpc, "port-10")];
    places
        .into_iter()
        .map(|(name, router, port)| Ok((name, Wire::open(router, port)?.capture())))
        .collect()
}

fn no_leak(mode: &str) -> Result {
    let stage = demo_stage(json!({ "mode": mode }))?;
    let captures = captures(&stage)?;
    mixed_workload(&stage)?;
    // A member that is gone must not turn its address loose.
    drop_walden_and_dial(&stage)?;
    for (name, capture) in captures {
        let frames = capture.finish();
        // Both kinds are read where an overlay address would stand, or they could not show one.
        let is_arp = |frame: &[u8]| frame.get(12..14) == Some(&[0x08, 0x06]);
        let named = |frame: &[u8]| addresses(frame).contains(&Ipv4Addr::new(10, 0, 0, 1));
        let arp = frames.iter().filter(|frame| is_arp(frame) && named(frame)).count();
        let ip = frames.iter().filter(|frame| ends(frame).is_some()).count();
        assert!(arp > 0 && ip > 100, "{name}: the capture works: {arp} ARP, {ip} IPv4");
        for frame in &frames {
            assert!(
                !carries_overlay(frame, RANGE),
                "{name}: {:?} on the wire: {frame:02x?}",
                addresses(frame)
            );
        }
    }
    Ok(())
}

fn drop_walden_and_dial(stage: &DemoStage) -> Result {
    stage.fleet.remove_member("walden")?;
    stage.hudson.await_members(&["sierra"]);
    let gone = SocketAddrV4::new(stage.walden.overlay(), PORT);
    let _ = dial(&stage.hudson.site.netns, None, gone, BRIEFLY);
    ping(&stage.hudson.site.netns, stage.walden.overlay(), "", BRIEFLY)?;
    assert!(stage.hudson.count("egress", "unknown-overlay")? > 0);
    Ok(())
}

#[test]
fn nothing_leaks_under_enforce() -> Result {
    no_leak("enforce")
}

#[test]
fn nothing_leaks_under_observe() -> Result {
    no_leak("observe")
}
