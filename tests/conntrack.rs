//! Promise: neti needs no connection tracking, and where somebody else's rules make the kernel track, `notrack` keeps the
//! host's overlay flows out of it.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::ensure;
use harness::{
    PATIENCE,
    host::{Fleet, Host, HostOptions, start_all},
    topology::pair,
    traffic::{TcpEcho, UdpClient, UdpEcho, ping, tcp, udp},
};
use serde_json::json;

type Result = anyhow::Result<()>;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const PORT: u16 = 7000;

fn talk(from: &Host, to: &Host) -> Result {
    let _tcp = TcpEcho::on(&to.site.netns, (ANY, PORT))?;
    let _udp = UdpEcho::on(&to.site.netns, (ANY, PORT))?;
    let address = SocketAddrV4::new(to.overlay(), PORT);
    tcp(&from.site.netns, None, address)?;
    udp(&from.site.netns, UdpClient { connected: false, from: None }, address, 3000, PATIENCE)?;
    ensure!(ping(&from.site.netns, to.overlay(), "", PATIENCE)?);
    Ok(())
}

/// Connections the kernel tracks in the host's namespace.
fn tracked(host: &Host) -> anyhow::Result<usize> {
    Ok(host.site.netns.exec("conntrack -L")?.lines().count())
}

fn entries(
    rules: Option<&str>,
    options: &HostOptions,
    identity: &str,
) -> anyhow::Result<Vec<usize>> {
    let pair = pair()?;
    let fleet = Fleet::new(json!({ "mode": "enforce", "identity": identity }))?;
    let mut left = fleet.host_with("left", &pair.left, options)?;
    let mut right = fleet.host_with("right", &pair.right, options)?;
    for site in [&pair.left, &pair.right] {
        if let Some(rules) = rules {
            site.netns.nft(rules)?;
        }
    }
    start_all(&mut [&mut left, &mut right])?;
    talk(&left, &right)?;
    talk(&right, &left)?;
    [&left, &right].into_iter().map(tracked).collect()
}

/// As container engines have it.
const NAT: &str = "table ip nat {\n chain post {\n type nat hook postrouting priority 100\n \
                   ip saddr 172.17.0.0/16 masquerade\n }\n}\n";

#[test]
fn nothing_is_tracked_for_neti() -> Result {
    assert_eq!(entries(None, &HostOptions::default(), "overlay")?, [0, 0]);
    Ok(())
}

#[test]
fn notrack_keeps_overlay_flows_out_of_a_nat_table() -> Result {
    let tracked = entries(Some(NAT), &HostOptions::default(), "overlay")?;
    ensure!(
        tracked.iter().all(|&count| count > 0),
        "the table makes the kernel track: {tracked:?}"
    );
    let notrack = HostOptions { extra: "notrack = true\n".to_owned(), ..HostOptions::default() };
    assert_eq!(entries(Some(NAT), &notrack, "overlay")?, [0, 0]);
    Ok(())
}
