//! Promise: no packet of any kind, ARP and errors included, carries an overlay address onto the wire.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    panic::resume_unwind,
};

use harness::{
    PATIENCE, eventually,
    family::Family,
    host::Host,
    in_each_family,
    packets::{Capture, Wire, addresses, carries_overlay, ends},
    stage::{DemoStage, demo_stage},
    topology::{LAN, gateway},
    traffic::{BRIEFLY, TcpEcho, UdpClient, UdpEcho, dial, ping, tcp, udp},
};
use nix::sys::signal::Signal;
use serde_json::json;

type Result = anyhow::Result<()>;

in_each_family!(nothing_leaks_under_enforce, nothing_leaks_under_observe,);

const PORT: u16 = 7000;

/// Everything hosts do with each other, and everything they should not.
fn mixed_workload(stage: &DemoStage, family: Family) -> Result {
    let hosts = [&stage.hudson, &stage.sierra, &stage.walden];
    let mut servers = Vec::new();
    for host in hosts {
        servers.push((
            TcpEcho::on(&host.site.netns, (family.any(), PORT))?,
            UdpEcho::on(&host.site.netns, (family.any(), PORT))?,
        ));
    }
    let work = |from: &Host| -> Result {
        // Neighbours are asked for with a packet of the overlay waiting, whose source is what Linux would ask with.
        from.site.netns.ip("neigh flush dev eth0")?;
        for to in hosts.into_iter().filter(|to| to.name != from.name) {
            talk(from, to, family)?;
        }
        unreachable(stage, from, family)
    };
    // Most of it is waiting for what must not come.
    std::thread::scope(|scope| {
        let all = hosts.map(|host| scope.spawn(move || work(host)));
        all.into_iter().try_for_each(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn talk(from: &Host, to: &Host, family: Family) -> Result {
    let netns = &from.site.netns;
    let address = SocketAddr::new(to.overlay(family), PORT);
    assert!(ping(netns, to.overlay(family), "", PATIENCE)?, "{} pings {}", from.name, to.name);
    assert!(ping(netns, to.overlay(family), "-s 4000", PATIENCE)?, "in fragments");
    if family == Family::V4 {
        ping(netns, to.overlay(family), "-R", BRIEFLY)?;
        ping(netns, to.overlay(family), "-T tsandaddr", BRIEFLY)?;
    }
    ping(netns, to.overlay(family), "-t 1", BRIEFLY)?;
    tcp(netns, None, address)?;
    for connected in [true, false] {
        let client = UdpClient { connected, from: None };
        assert_eq!(udp(netns, client, address, 3000, PATIENCE)?, address);
    }
    // Refusals: a RST, and an error with our packet inside.
    let closed = SocketAddr::new(to.overlay(family), 9);
    assert!(dial(netns, None, closed, PATIENCE).is_err());
    assert!(udp(netns, UdpClient { connected: true, from: None }, closed, 10, PATIENCE).is_err());
    Ok(())
}

fn unreachable(stage: &DemoStage, from: &Host, family: Family) -> Result {
    let netns = &from.site.netns;
    let nobody = family.ghost(1);
    let overlay = UdpClient { connected: false, from: Some(from.overlay(family)) };
    ping(netns, nobody, "", BRIEFLY)?;
    let _ = dial(netns, None, SocketAddr::new(nobody, PORT), BRIEFLY);
    let _ = udp(netns, overlay, SocketAddr::new(nobody, PORT), 3000, BRIEFLY);
    // From the overlay address to somebody who is not a member.
    let stranger = stage.demo.stranger.real(family);
    ping(netns, stranger, &format!("-I {}", from.overlay(family)), BRIEFLY)?;
    let _ = udp(netns, overlay, SocketAddr::new(stranger, PORT), 3000, BRIEFLY);
    let bound = SocketAddr::new(from.overlay(family), 0);
    let _ = dial(netns, Some(bound), SocketAddr::new(stranger, PORT), BRIEFLY);
    // The network's broadcast and multicast are not members either.
    let group = match family {
        Family::V4 => Ipv4Addr::new(224, 0, 0, 251).into(),
        Family::V6 => Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb).into(),
    };
    let _ = udp(netns, overlay, SocketAddr::new(group, 5353), 10, BRIEFLY);
    // A neighbour that does not exist is asked for with the packet's own source.
    ping(netns, LAN.host(family, 200), &format!("-I {}", from.overlay(family)), BRIEFLY)?;
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

/// Whether a frame asks for a neighbour or answers: ARP, or neighbour solicitation and advertisement.
fn is_resolution(frame: &[u8], family: Family) -> bool {
    match family {
        Family::V4 => frame.get(12..14) == Some(&[0x08, 0x06]),
        Family::V6 => {
            frame.get(12..14) == Some(&[0x86, 0xdd])
                && frame.get(20) == Some(&58)
                && matches!(frame.get(54), Some(135 | 136))
        }
    }
}

fn no_leak(family: Family, mode: &str) -> Result {
    let mut stage = demo_stage(family, json!({ "mode": mode }))?;
    let captures = captures(&stage)?;
    mixed_workload(&stage, family)?;
    // A member that is gone must not turn its address loose.
    drop_walden_and_dial(&mut stage, family)?;
    for (name, capture) in captures {
        let frames = capture.finish();
        // Both kinds are read where an overlay address would stand, or they could not show one.
        let named = |frame: &[u8]| addresses(frame).contains(&gateway(family));
        let resolved = frames.iter().filter(|f| is_resolution(f, family) && named(f)).count();
        let ip = frames.iter().filter(|frame| ends(frame).is_some()).count();
        assert!(resolved > 0 && ip > 100, "{name}: the capture works: {resolved} of {ip}");
        for frame in &frames {
            assert!(
                !carries_overlay(frame, family.range()),
                "{name}: {:?} on the wire: {frame:02x?}",
                addresses(frame)
            );
        }
    }
    Ok(())
}

fn drop_walden_and_dial(stage: &mut DemoStage, family: Family) -> Result {
    // Alive it would write its record again.
    stage.walden.stop(Signal::SIGKILL)?;
    stage.fleet.remove_member("walden")?;
    stage.hudson.await_members(&["sierra"]);
    let before = stage.hudson.count("egress", "unknown-overlay")?;
    let gone = SocketAddr::new(stage.walden.overlay(family), PORT);
    let _ = dial(&stage.hudson.site.netns, None, gone, BRIEFLY);
    ping(&stage.hudson.site.netns, stage.walden.overlay(family), "", BRIEFLY)?;
    eventually("what is for a member that is gone is counted", || {
        stage.hudson.count("egress", "unknown-overlay").is_ok_and(|after| after > before)
    });
    Ok(())
}

fn nothing_leaks_under_enforce(family: Family) -> Result {
    no_leak(family, "enforce")
}

fn nothing_leaks_under_observe(family: Family) -> Result {
    no_leak(family, "observe")
}
