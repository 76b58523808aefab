//! Promise: neti needs no connection tracking, and where somebody else's rules make the kernel track, `notrack` keeps the
//! host's overlay flows out of it.

use std::net::SocketAddr;

use anyhow::ensure;
use harness::{
    PATIENCE,
    container::CONTAINERS,
    family::Family,
    host::{Fleet, Host, HostOptions, start_all},
    in_each_family,
    topology::pair,
    traffic::{TcpEcho, UdpClient, UdpEcho, ping, tcp, udp},
};
use serde_json::json;

type Result = anyhow::Result<()>;

in_each_family!(nothing_is_tracked_for_neti, notrack_keeps_overlay_flows_out_of_a_nat_table,);

const PORT: u16 = 7000;

fn talk(from: &Host, to: &Host, family: Family) -> Result {
    let _tcp = TcpEcho::on(&to.site.netns, (family.any(), PORT))?;
    let _udp = UdpEcho::on(&to.site.netns, (family.any(), PORT))?;
    let address = SocketAddr::new(to.overlay(family), PORT);
    tcp(&from.site.netns, None, address)?;
    udp(&from.site.netns, UdpClient { connected: false, from: None }, address, 3000, PATIENCE)?;
    ensure!(ping(&from.site.netns, to.overlay(family), "", PATIENCE)?);
    Ok(())
}

/// Connections the kernel tracks in the host's namespace.
fn tracked(host: &Host, family: Family) -> anyhow::Result<usize> {
    Ok(host.site.netns.exec(&format!("conntrack -L -f {}", family.conntrack()))?.lines().count())
}

fn entries(
    family: Family,
    rules: Option<&str>,
    options: &HostOptions,
    identity: &str,
) -> anyhow::Result<Vec<usize>> {
    let pair = pair(family)?;
    let fleet = Fleet::new(family, json!({ "mode": "enforce", "identity": identity }))?;
    let mut left = fleet.host_with("left", &pair.left, options)?;
    let mut right = fleet.host_with("right", &pair.right, options)?;
    for site in [&pair.left, &pair.right] {
        if let Some(rules) = rules {
            site.netns.nft(rules)?;
        }
    }
    start_all(&mut [&mut left, &mut right])?;
    talk(&left, &right, family)?;
    talk(&right, &left, family)?;
    [&left, &right].into_iter().map(|host| tracked(host, family)).collect()
}

/// As container engines have it.
fn nat(family: Family) -> String {
    let (ip, network) = (family.nft(), CONTAINERS.prefix(family));
    format!(
        "table {ip} nat {{\n\
         chain post {{ type nat hook postrouting priority 100\n {ip} saddr {network} masquerade\n }}\n\
         }}\n"
    )
}

fn nothing_is_tracked_for_neti(family: Family) -> Result {
    assert_eq!(entries(family, None, &HostOptions::default(), "overlay")?, [0, 0]);
    Ok(())
}

fn notrack_keeps_overlay_flows_out_of_a_nat_table(family: Family) -> Result {
    let tracked = entries(family, Some(&nat(family)), &HostOptions::default(), "overlay")?;
    ensure!(
        tracked.iter().all(|&count| count > 0),
        "the table makes the kernel track: {tracked:?}"
    );
    let notrack = HostOptions { extra: "notrack = true\n".to_owned(), ..HostOptions::default() };
    assert_eq!(entries(family, Some(&nat(family)), &notrack, "overlay")?, [0, 0]);
    Ok(())
}
