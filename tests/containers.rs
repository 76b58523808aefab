//! Promise: containers behind a host reach overlay addresses and strangers, and members reach ports that a host publishes
//! for its containers. The host's masquerading has the sockets' names; neti has hints.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE,
    netns::Netns,
    stage::{PairStage, pair_stage},
    traffic::{TcpEcho, UdpClient, UdpEcho, exchange, ping, tcp, udp},
};
use serde_json::json;

type Result = anyhow::Result<()>;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const PORT: u16 = 7000;
const PUBLISHED: u16 = 8080;

/// A container behind the left host, as container engines make it: a veth, masquerading, and a published port.
fn container(stage: &PairStage) -> anyhow::Result<Netns> {
    let host = &stage.left.site.netns;
    let container = Netns::new("container")?;
    host.veth("cont0", &container, "eth0")?;
    host.ip("addr add 172.30.0.1/24 dev cont0")?;
    container.ip_batch("addr add 172.30.0.2/24 dev eth0\nroute add default via 172.30.0.1\n")?;
    host.sysctl("net.ipv4.ip_forward", "1")?;
    host.nft(&format!(
        "table ip nat {{\n\
         chain pre {{ type nat hook prerouting priority -100\n\
           meta l4proto {{ tcp, udp }} th dport {PUBLISHED} dnat to 172.30.0.2:{PORT}\n }}\n\
         chain post {{ type nat hook postrouting priority 100\n\
           ip saddr 172.30.0.0/24 oifname \"eth0\" masquerade\n }}\n\
         }}\n"
    ))?;
    Ok(container)
}

fn talks(from: &Netns, to: SocketAddrV4, what: &str) -> Result {
    let stream = tcp(from, None, to).with_context(|| format!("{what}: tcp"))?;
    for connected in [true, false] {
        let client = UdpClient { connected, from: None };
        let answer =
            udp(from, client, to, 3000, PATIENCE).with_context(|| format!("{what}: udp"))?;
        ensure!(answer == SocketAddr::from(to), "{what}: answered by {answer}");
    }
    // The connection is still there after other flows between the two.
    exchange(&stream, 10_000).with_context(|| format!("{what}: tcp, again"))
}

#[test]
fn containers_reach_members_and_strangers() -> Result {
    for identity in ["real", "overlay"] {
        let stage = pair_stage(json!({ "mode": "enforce", "identity": identity }))?;
        let container = container(&stage)?;
        let stranger = &stage.pair.stranger;
        let mut servers = Vec::new();
        for netns in [&stage.right.site.netns, &stranger.netns] {
            servers.push((TcpEcho::on(netns, (ANY, PORT))?, UdpEcho::on(netns, (ANY, PORT))?));
        }
        for to in [stage.right.overlay(), stage.right.real(), stranger.private] {
            let what = format!("{identity}: a container to {to}");
            talks(&container, SocketAddrV4::new(to, PORT), &what)?;
            ensure!(ping(&container, to, "", PATIENCE)?, "{what}: ping");
        }
    }
    Ok(())
}

#[test]
fn members_reach_published_ports() -> Result {
    for identity in ["real", "overlay"] {
        let stage = pair_stage(json!({ "mode": "enforce", "identity": identity }))?;
        let container = container(&stage)?;
        let _tcp = TcpEcho::on(&container, (ANY, PORT))?;
        let _udp = UdpEcho::on(&container, (ANY, PORT))?;
        for to in [stage.left.overlay(), stage.left.real()] {
            let what = format!("{identity}: a member to the port published at {to}");
            talks(&stage.right.site.netns, SocketAddrV4::new(to, PUBLISHED), &what)?;
        }
    }
    Ok(())
}
