//! Promise: neti needs no connection tracking, and where somebody else's rules make the kernel track, `notrack` keeps the
//! host's overlay flows out of it. So there may be more connections than the kernel could track.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE,
    conntrack::{self, Limit},
    container::masquerading,
    crowd::{Crowd, Plan, SILENCE},
    family::{Family, in_turn},
    figures::available_memory,
    host::{Fleet, Host, HostOptions, start_all},
    rivals::Rival,
    stage::pair_stage_with,
    topology::{Site, pair},
    traffic::{TcpEcho, UdpClient, UdpEcho, ping, tcp, udp},
};
use serde_json::json;

type Result = anyhow::Result<()>;

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

/// Lets hosts with both families talk, each behind a nat table if `tables`, and requires that the kernel tracks as many
/// connections on either host as `wanted` takes.
fn tracks(tables: bool, options: &HostOptions, wanted: impl Fn(usize) -> bool) -> Result {
    let pair = pair(Family::ALL)?;
    let settings = json!({ "mode": "enforce", "identity": "overlay" });
    let fleet = Fleet::new(Family::ALL, settings)?;
    let mut left = fleet.host_with("left", &pair.left, options)?;
    let mut right = fleet.host_with("right", &pair.right, options)?;
    for site in [&pair.left, &pair.right] {
        for family in Family::ALL.into_iter().filter(|_| tables) {
            site.netns.nft(&masquerading(family))?;
        }
    }
    start_all(&mut [&mut left, &mut right])?;
    let (left, right) = (&left, &right);
    in_turn(|family| {
        talk(left, right, family)?;
        talk(right, left, family)?;
        for host in [left, right] {
            let tracked = tracked(host, family)?;
            ensure!(wanted(tracked), "{}: {tracked} are tracked", host.name);
        }
        Ok(())
    })
}

#[test]
fn nothing_is_tracked_for_neti() -> Result {
    tracks(false, &HostOptions::default(), |tracked| tracked == 0)
}

#[test]
fn notrack_keeps_overlay_flows_out_of_a_nat_table() -> Result {
    tracks(true, &HostOptions::default(), |tracked| tracked > 0).context("without notrack")?;
    let notrack = HostOptions { extra: "notrack = true\n".to_owned(), ..HostOptions::default() };
    tracks(true, &notrack, |tracked| tracked == 0).context("with notrack")
}

/// The kernel's default, at which the original Neti began to refuse connections.
const TRACKED: u64 = 65_536;

/// Opens so many connections to `to`, uses each once all are open, and gives how many could be used and what the kernel
/// tracks of them on either host; nothing if this machine has no memory for them. What has not come for `silence` does
/// not come.
fn crowd(
    from: &Site,
    to: (&Site, IpAddr),
    connections: usize,
    silence: Duration,
) -> anyhow::Result<Option<(usize, [usize; 2])>> {
    let (needed, available) = (Crowd::memory(connections), available_memory()?);
    if needed > available {
        println!(
            "skipped: {connections} connections take {needed} bytes of memory, not {available}"
        );
        return Ok(None);
    }
    let (client, server) = (from.netns.clone(), to.0.netns.clone());
    let plan = Plan { client, server, to: to.1, connections };
    let mut crowd = Crowd::dial_patiently(&plan, silence, |_| Ok(()))?;
    crowd.talk(|_| Ok(()))?;
    let tracked = [conntrack::entries(&plan.client)?, conntrack::entries(&plan.server)?];
    if let Some(fault) = crowd.fault() {
        println!("the first that failed: {fault}");
    }
    Ok(Some((crowd.counts().talked, tracked)))
}

/// In one family: sockets and what tracks them do not differ, and it is much.
#[test]
fn members_have_more_connections_than_could_be_tracked() -> Result {
    let family = Family::V4;
    let notrack = HostOptions { extra: "notrack = true\n".to_owned(), ..HostOptions::default() };
    let settings = json!({ "mode": "enforce", "identity": "overlay" });
    let stage = pair_stage_with(family, settings, &notrack)?;
    let (left, right) = (&stage.left.site, &stage.right.site);
    let to = (right, stage.right.overlay(family));
    let _limit = Limit::at_most(TRACKED)?;
    let check = |connections| -> Result {
        let seen = crowd(left, to, connections, PATIENCE)?;
        ensure!(seen.is_none_or(|seen| seen == (connections, [0, 0])), "{seen:?}");
        Ok(())
    };
    check(66_000).context("nothing makes the kernel track")?;
    for site in [left, right] {
        site.netns.nft(&masquerading(family))?;
    }
    check(200_000).context("a nat table makes the kernel track")
}

/// What the test above would see if it could not fail.
#[test]
fn the_original_rules_refuse_what_cannot_be_tracked() -> Result {
    let family = Family::V4;
    let pair = pair(family)?;
    let members = [(10, &pair.left), (11, &pair.right)];
    let members = members.map(|(last, site)| (family.ghost(last), site.real(family)));
    for site in [&pair.left, &pair.right] {
        Rival::Sets.install(&site.netns, family, &members)?;
    }
    let limit = Limit::at_most(TRACKED)?;
    let room = limit.most() as usize;
    let seen = crowd(&pair.left, (&pair.right, family.ghost(11)), room + 1_000, SILENCE)?;
    // A few may be of something else.
    let right = |(used, tracked): (usize, [usize; 2])| {
        (room - 100..=room).contains(&used) && tracked.iter().all(|count| *count <= room)
    };
    ensure!(seen.is_none_or(right), "{seen:?} of {room}");
    Ok(())
}
