//! Promise: containers behind a host reach overlay addresses and strangers, and members reach ports that a host publishes
//! for its containers. The host's masquerading has the sockets' names; neti has hints.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use harness::{
    PATIENCE,
    container::CONTAINERS,
    family::Family,
    in_each_family,
    netns::Netns,
    stage::{PairStage, pair_stage},
    topology::UPLINK,
    traffic::{TcpEcho, UdpClient, UdpEcho, exchange, ping, tcp, udp},
};
use serde_json::json;

type Result = anyhow::Result<()>;

in_each_family!(containers_reach_members_and_strangers, members_reach_published_ports,);

const PORT: u16 = 7000;
const PUBLISHED: u16 = 8080;

/// A container behind the left host, as container engines make it: a veth, masquerading, and a published port.
fn container(stage: &PairStage, family: Family) -> anyhow::Result<Netns> {
    let host = &stage.left.site.netns;
    let container = Netns::new("container")?;
    if family == Family::V6 {
        container.enable_ipv6()?;
    }
    host.veth("cont0", &container, UPLINK)?;
    host.ip_batch(&CONTAINERS.addr_add(family, 1, "cont0"))?;
    container.ip_batch(&format!(
        "{}route add default via {}\n",
        CONTAINERS.addr_add(family, 2, UPLINK),
        CONTAINERS.host(family, 1)
    ))?;
    host.forward(family)?;
    let (ip, network) = (family.nft(), CONTAINERS.prefix(family));
    let server = SocketAddr::new(CONTAINERS.host(family, 2), PORT);
    host.nft(&format!(
        "table {ip} nat {{\n\
         chain pre {{ type nat hook prerouting priority -100\n\
           meta l4proto {{ tcp, udp }} th dport {PUBLISHED} dnat to {server}\n }}\n\
         chain post {{ type nat hook postrouting priority 100\n\
           {ip} saddr {network} oifname \"eth0\" masquerade\n }}\n\
         }}\n"
    ))?;
    Ok(container)
}

fn talks(from: &Netns, to: SocketAddr, what: &str) -> Result {
    let stream = tcp(from, None, to).with_context(|| format!("{what}: tcp"))?;
    for connected in [true, false] {
        let client = UdpClient { connected, from: None };
        let answer =
            udp(from, client, to, 3000, PATIENCE).with_context(|| format!("{what}: udp"))?;
        ensure!(answer == to, "{what}: answered by {answer}");
    }
    // The connection is still there after other flows between the two.
    exchange(&stream, 10_000).with_context(|| format!("{what}: tcp, again"))
}

fn containers_reach_members_and_strangers(family: Family) -> Result {
    let stage = pair_stage(family, json!({ "mode": "enforce" }))?;
    let container = container(&stage, family)?;
    for identity in ["real", "overlay"] {
        stage.identify(family, identity)?;
        let stranger = &stage.pair.stranger;
        let mut servers = Vec::new();
        for netns in [&stage.right.site.netns, &stranger.netns] {
            servers.push((
                TcpEcho::on(netns, (family.any(), PORT))?,
                UdpEcho::on(netns, (family.any(), PORT))?,
            ));
        }
        for to in [stage.right.overlay(family), stage.right.real(family), stranger.real(family)] {
            let what = format!("{identity}: a container to {to}");
            talks(&container, SocketAddr::new(to, PORT), &what)?;
            ensure!(ping(&container, to, "", PATIENCE)?, "{what}: ping");
        }
    }
    Ok(())
}

fn members_reach_published_ports(family: Family) -> Result {
    let stage = pair_stage(family, json!({ "mode": "enforce" }))?;
    let container = container(&stage, family)?;
    for identity in ["real", "overlay"] {
        stage.identify(family, identity)?;
        let _tcp = TcpEcho::on(&container, (family.any(), PORT))?;
        let _udp = UdpEcho::on(&container, (family.any(), PORT))?;
        for to in [stage.left.overlay(family), stage.left.real(family)] {
            let what = format!("{identity}: a member to the port published at {to}");
            talks(&stage.right.site.netns, SocketAddr::new(to, PUBLISHED), &what)?;
        }
    }
    Ok(())
}
