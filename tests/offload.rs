//! Promise: translation is right whoever computes checksums and cuts or joins segments: the device, the stack, or one on
//! each end.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE,
    container::Containers,
    family::Family,
    in_each_family,
    netns::Netns,
    offload::Offload,
    packets::Wire,
    stage::pair_stage,
    topology::UPLINK,
    traffic::{TcpEcho, UdpClient, UdpEcho, dial, exchange, udp},
};
use serde_json::json;

type Result = anyhow::Result<()>;

in_each_family!(with_offloads_off_at_either_end_or_both, streams_merged_beyond_64_kib);

const PORT: u16 = 7000;

/// Bulk both ways, and datagrams of one frame, of several fragments, and of the largest size.
fn talks(from: &Netns, to: IpAddr) -> Result {
    let to = SocketAddr::new(to, PORT);
    exchange(&dial(from, None, to, PATIENCE).context("tcp")?, 4_000_000).context("tcp")?;
    for length in [1, 1000, 3001, 60_000] {
        for connected in [true, false] {
            let client = UdpClient { connected, from: None };
            let answer = udp(from, client, to, length, PATIENCE)
                .with_context(|| format!("udp of {length} bytes"))?;
            ensure!(answer == to, "udp answered by {answer}");
        }
    }
    Ok(())
}

/// Packets that the stack found a wrong checksum in: TCP's would only come again.
fn wrong_checksums(netns: &Netns) -> anyhow::Result<u64> {
    let text = netns.run(|| fs::read_to_string("/proc/thread-self/net/snmp"))?;
    let mut wrong = 0;
    for protocol in ["Tcp:", "Udp:", "Icmp:"] {
        let mut lines = text.lines().filter(|line| line.starts_with(protocol));
        let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let found =
            names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == "InCsumErrors");
        wrong += found.with_context(|| format!("{protocol} InCsumErrors"))?.1.parse::<u64>()?;
    }
    let text = netns.run(|| fs::read_to_string("/proc/thread-self/net/snmp6"))?;
    for (name, count) in text.lines().filter_map(|line| line.split_once([' ', '\t'])) {
        if name.ends_with("InCsumErrors") {
            wrong += count.trim().parse::<u64>()?;
        }
    }
    Ok(wrong)
}

fn with_offloads_off_at_either_end_or_both(family: Family) -> Result {
    let stage = pair_stage(family, json!({ "mode": "enforce", "identity": "overlay" }))?;
    let (left, right) = (&stage.left, &stage.right);
    let (near, far) = (&left.site.netns, &right.site.netns);
    let container = Containers::on(near, family)?.start(2)?;
    let mut servers = Vec::new();
    for netns in [near, far] {
        servers.push((
            TcpEcho::on(netns, (family.any(), PORT))?,
            UdpEcho::on(netns, (family.any(), PORT))?,
        ));
    }
    let port = |last| (stage.pair.lan.router.clone(), format!("port-{last}"));
    let ends = [(near.clone(), UPLINK.to_owned()), (far.clone(), UPLINK.to_owned())];
    let wires = [port(10), port(11)];
    let each = Offload::ALL.map(|one| vec![one]);
    let all = [Offload::ALL.to_vec()];
    for features in all.iter().chain(&each) {
        for hosts in [&ends[..1], &ends[1..], &ends[..]] {
            // Of the pair that is a wire, both sides: the bridge would hand on what the host did not compute.
            let off = hosts.iter().chain(if features.len() > 1 { &wires[..] } else { &[] });
            let off: Vec<_> = off.collect();
            for (netns, interface) in &off {
                for feature in features {
                    feature.set(netns, interface, false)?;
                }
            }
            for (from, to) in [
                (near, right.overlay(family)),
                (far, left.overlay(family)),
                (&container, right.overlay(family)),
            ] {
                let names: Vec<_> = hosts.iter().map(|(netns, _)| netns.name()).collect();
                let what = || format!("{features:?} off at {names:?}: {} to {to}", from.name());
                talks(from, to).with_context(what)?;
                let wrong =
                    wrong_checksums(near)? + wrong_checksums(far)? + wrong_checksums(&container)?;
                ensure!(wrong == 0, "{}: {wrong} packets with a wrong checksum", what());
            }
            for (netns, interface) in &off {
                for feature in features {
                    feature.set(netns, interface, true)?;
                }
            }
        }
    }
    Ok(())
}

/// Lets streams be merged into more than a header can say (BIG TCP): IPv6 then has a jumbo payload option, IPv4 no length.
fn streams_merged_beyond_64_kib(family: Family) -> Result {
    let stage = pair_stage(family, json!({ "mode": "enforce", "identity": "overlay" }))?;
    let (left, right) = (&stage.left, &stage.right);
    let router = &stage.pair.lan.router;
    let devices = [
        (&left.site.netns, UPLINK),
        (router, "port-10"),
        (router, "port-11"),
        (&right.site.netns, UPLINK),
    ];
    // The names that `ip` has for the families' limits; IPv6 was first.
    let limits = match family {
        Family::V4 => ["gso_ipv4_max_size", "gro_ipv4_max_size"],
        Family::V6 => ["gso_max_size", "gro_max_size"],
    };
    for (netns, device) in devices {
        for limit in limits {
            let set = netns.ip(&format!("link set dev {device} {limit} 120000"));
            if set.as_ref().is_err_and(|error| error.to_string().contains(limit)) {
                println!("skipped: {limit}: {set:?}");
                return Ok(());
            }
            set?;
        }
    }
    let _echo = TcpEcho::on(&right.site.netns, (family.any(), PORT))?;
    for (to, peer) in [(right.overlay(family), "overlay"), (right.real(family), "real")] {
        let capture = Wire::open(&right.site.netns, UPLINK)?.capture();
        let stream = dial(&left.site.netns, None, (to, PORT).into(), PATIENCE)?;
        exchange(&stream, 16_000_000).context(peer)?;
        let largest = capture.finish().iter().map(bytes::Bytes::len).max().unwrap_or(0);
        ensure!(largest > 65_536 + 100, "{peer}: the largest frame has {largest} bytes");
    }
    Ok(())
}
