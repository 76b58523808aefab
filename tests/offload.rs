//! Promise: translation is right whoever computes checksums and cuts or joins segments: the device, the stack, or one on
//! each end.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE,
    container::Containers,
    netns::Netns,
    offload::Offload,
    stage::pair_stage,
    topology::UPLINK,
    traffic::{TcpEcho, UdpClient, UdpEcho, dial, exchange, udp},
};
use serde_json::json;

type Result = anyhow::Result<()>;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const PORT: u16 = 7000;

/// Bulk both ways, and datagrams of one frame, of several fragments, and of the largest size.
fn talks(from: &Netns, to: Ipv4Addr) -> Result {
    let to = SocketAddrV4::new(to, PORT);
    exchange(&dial(from, None, to, PATIENCE).context("tcp")?, 4_000_000).context("tcp")?;
    for length in [1, 1000, 3001, 60_000] {
        for connected in [true, false] {
            let client = UdpClient { connected, from: None };
            let answer = udp(from, client, to, length, PATIENCE)
                .with_context(|| format!("udp of {length} bytes"))?;
            ensure!(answer == SocketAddr::from(to), "udp answered by {answer}");
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
    Ok(wrong)
}

#[test]
fn with_offloads_off_at_either_end_or_both() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce", "identity": "overlay" }))?;
    let (left, right) = (&stage.left, &stage.right);
    let (near, far) = (&left.site.netns, &right.site.netns);
    let container = Containers::on(near)?.start(2)?;
    let mut servers = Vec::new();
    for netns in [near, far] {
        servers.push((TcpEcho::on(netns, (ANY, PORT))?, UdpEcho::on(netns, (ANY, PORT))?));
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
            for (from, to) in
                [(near, right.overlay()), (far, left.overlay()), (&container, right.overlay())]
            {
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
