//! Promise: the dataplane outlives the daemon, whatever ends it; a restart takes over without a lost packet; `neti down`
//! removes everything that neti made and nothing else.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use harness::{
    PATIENCE, eventually,
    family::Family,
    footprint::{difference, files, footprint},
    host::{Fleet, HostOptions, start_all},
    in_each_family,
    stage::pair_stage,
    topology::{LAN, Lan, Site, pair},
    traffic::{BRIEFLY, TcpEcho, exchange, ping, tcp, without_loss},
};
use nix::sys::signal::Signal;
use serde_json::json;

type Result = anyhow::Result<()>;

in_each_family!(
    down_leaves_nothing_behind,
    down_leaves_nothing_behind_without_a_gateway,
    down_leaves_nothing_behind_with_notrack,
    down_leaves_nothing_behind_with_xdp,
    down_ends_a_dataplane_whose_daemon_was_killed,
    a_stopped_daemon_withdraws_its_record_and_keeps_its_address,
    restarts_lose_no_packet,
    maps_follow_what_changed_while_the_daemon_was_away,
    show_needs_no_daemon,
    a_killed_host_vanishes_after_its_ttl,
    a_member_added_as_a_file_is_reached,
    a_foreign_program_on_the_uplink_stays,
);

const PORT: u16 = 7000;

/// Starts, ends and undoes neti on a site and requires that nothing is left of it.
fn leaves_nothing(families: impl AsRef<[Family]>, site: &Site, options: &HostOptions) -> Result {
    let fleet = Fleet::new(families, json!({ "mode": "enforce" }))?;
    let mut host = fleet.host_with("host", site, options)?;
    let before = footprint(&site.netns)?;
    host.start()?;
    let running = footprint(&site.netns)?;
    ensure!(!difference(&before, &running).is_empty(), "a running neti shows in the footprint");
    ensure!(files(&host).len() > 1, "a running neti has pins and run files: {:?}", files(&host));
    ensure!(host.stop(Signal::SIGTERM)?.code() == Some(0));
    let stopped = footprint(&site.netns)?;
    let gone = difference(&running, &stopped);
    ensure!(gone.is_empty(), "the dataplane outlives the daemon: {gone:#?}");
    let down = host.down()?;
    ensure!(down.status.success(), "neti down: {}", String::from_utf8_lossy(&down.stderr));
    let left = difference(&before, &footprint(&site.netns)?);
    ensure!(left.is_empty(), "neti down leaves: {left:#?}");
    ensure!(files(&host).is_empty(), "neti down leaves: {:?}", files(&host));
    let again = host.down()?;
    ensure!(again.status.success(), "nothing left to undo is no failure");
    Ok(())
}

fn down_leaves_nothing_behind(family: Family) -> Result {
    leaves_nothing(family, &pair(family)?.left, &HostOptions::default())
}

fn down_leaves_nothing_behind_without_a_gateway(family: Family) -> Result {
    let lan = Lan::new("island", family)?;
    let site = lan.attach("host", 10)?;
    site.netns.ip(&format!("{} route del default", family.flag()))?;
    leaves_nothing(family, &site, &HostOptions::default())
}

fn down_leaves_nothing_behind_with_notrack(family: Family) -> Result {
    let options = HostOptions { extra: "notrack = true\n".to_owned(), ..HostOptions::default() };
    let pair = pair(family)?;
    // Somebody else's table is none of neti's business.
    pair.left
        .netns
        .nft("table inet theirs {\n chain c {\n type filter hook input priority 0\n }\n}\n")?;
    leaves_nothing(family, &pair.left, &options)
}

fn down_leaves_nothing_behind_with_xdp(family: Family) -> Result {
    let options = HostOptions { extra: "attach = \"xdp\"\n".to_owned(), ..HostOptions::default() };
    leaves_nothing(family, &pair(family)?.left, &options)
}

fn down_ends_a_dataplane_whose_daemon_was_killed(family: Family) -> Result {
    let pair = pair(family)?;
    let fleet = Fleet::new(family, json!({}))?;
    let before = footprint(&pair.left.netns)?;
    let mut host = fleet.host("left", &pair.left)?;
    host.start()?;
    host.stop(Signal::SIGKILL)?;
    ensure!(host.down()?.status.success());
    let left = difference(&before, &footprint(&pair.left.netns)?);
    ensure!(left.is_empty(), "neti down leaves: {left:#?}");
    ensure!(files(&host).is_empty(), "neti down leaves: {:?}", files(&host));
    Ok(())
}

fn a_stopped_daemon_withdraws_its_record_and_keeps_its_address(family: Family) -> Result {
    let mut stage = pair_stage(family, json!({ "mode": "enforce" }))?;
    let overlay = stage.right.overlay(family);
    let record = stage.fleet.registry().join("members/right");
    ensure!(record.exists());
    stage.right.stop(Signal::SIGTERM)?;
    ensure!(!record.exists(), "SIGTERM withdraws the record");
    stage.left.await_members(&[]);
    stage.right.start()?;
    assert_eq!(stage.right.overlay(family), overlay, "after a stop");
    stage.left.await_members(&["right"]);
    stage.right.stop(Signal::SIGINT)?;
    ensure!(stage.right.down()?.status.success());
    stage.right.start()?;
    assert_eq!(stage.right.overlay(family), overlay, "after down");
    stage.left.await_members(&["right"]);
    ensure!(ping(&stage.left.site.netns, overlay, "", PATIENCE)?);
    Ok(())
}

fn restarts_lose_no_packet(family: Family) -> Result {
    let mut stage = pair_stage(family, json!({ "mode": "enforce" }))?;
    let _echo = TcpEcho::on(&stage.right.site.netns, (family.any(), PORT))?;
    let to = stage.right.overlay(family);
    let stream = tcp(&stage.left.site.netns, None, SocketAddr::new(to, PORT))?;
    // The daemon under the load is the one that answers; the other end only asks.
    let (left, right) = (&stage.left, &mut stage.right);
    without_loss(&left.site.netns, to, || {
        right.stop(Signal::SIGKILL)?;
        exchange(&stream, 100_000).context("without the daemon")?;
        for signal in [Signal::SIGKILL, Signal::SIGKILL] {
            right.start()?;
            exchange(&stream, 100_000).context("after a restart")?;
            right.stop(signal)?;
        }
        right.start()
    })?;
    exchange(&stream, 100_000)?;
    stage.right.await_members(&["left"]);
    stage.left.await_members(&["right"]);
    Ok(())
}

fn maps_follow_what_changed_while_the_daemon_was_away(family: Family) -> Result {
    let mut stage = pair_stage(family, json!({ "mode": "enforce" }))?;
    let ghost = |last| family.ghost(last);
    stage.fleet.add_member("old", ghost(1), "ec2", LAN.host(family, 61))?;
    stage.left.await_members(&["old", "right"]);
    stage.left.stop(Signal::SIGKILL)?;
    stage.fleet.remove_member("old")?;
    stage.fleet.add_member("new", ghost(2), "ec2", LAN.host(family, 62))?;
    assert_eq!(stage.left.members()?, ["old", "right"], "nobody is there to change them");
    stage.left.start()?;
    stage.left.await_members(&["new", "right"]);
    Ok(())
}

fn show_needs_no_daemon(family: Family) -> Result {
    let mut stage = pair_stage(family, json!({}))?;
    stage.left.stop(Signal::SIGKILL)?;
    let members = stage.left.show("members")?;
    let member = &members[0];
    assert_eq!(member["id"], "right");
    assert_eq!(member["overlay"], json!(stage.right.overlay(family)));
    assert_eq!(member["real"], json!(stage.right.real(family)));
    stage.left.show("stats")?;
    stage.left.show("status")?;
    Ok(())
}

fn a_killed_host_vanishes_after_its_ttl(family: Family) -> Result {
    let pair = pair(family)?;
    let fleet = Fleet::new(family, json!({}))?;
    let options = HostOptions { ttl: 1.0, ..HostOptions::default() };
    let mut left = fleet.host_with("left", &pair.left, &options)?;
    let mut right = fleet.host_with("right", &pair.right, &options)?;
    start_all(&mut [&mut left, &mut right])?;
    right.stop(Signal::SIGKILL)?;
    left.await_members(&[]);
    right.start()?;
    left.await_members(&["right"]);
    Ok(())
}

fn a_member_added_as_a_file_is_reached(family: Family) -> Result {
    let stage = pair_stage(family, json!({ "mode": "enforce" }))?;
    let netns = &stage.left.site.netns;
    let overlay = family.ghost(1);
    // The neighbour runs no neti and answers from its real address, which is all a member's record promises.
    let added = std::time::Instant::now();
    stage.fleet.add_member("added", overlay, "ec2", stage.pair.neighbour.real(family))?;
    eventually("the added member answers", || {
        ping(netns, overlay, "", BRIEFLY).is_ok_and(|answered| answered)
    });
    println!("a member added as a file answered a ping {:?} later", added.elapsed());
    stage.fleet.remove_member("added")?;
    eventually("the removed member is unknown", || {
        stage.left.members().is_ok_and(|members| members == ["right"])
    });
    let before = stage.left.count("egress", "unknown-overlay")?;
    ensure!(!ping(netns, overlay, "", BRIEFLY)?, "a removed member answers");
    assert!(stage.left.count("egress", "unknown-overlay")? > before);
    Ok(())
}

fn a_foreign_program_on_the_uplink_stays(family: Family) -> Result {
    // Somebody else's qdisc and filter are there before neti and after it.
    let pair = pair(family)?;
    let netns = &pair.left.netns;
    netns.exec("tc qdisc add dev eth0 clsact")?;
    netns.exec(
        "tc filter add dev eth0 ingress pref 10 protocol all u32 match u32 0 0 classid 1:1",
    )?;
    let filters = || netns.exec("tc filter show dev eth0 ingress");
    let before = filters()?;
    leaves_nothing(family, &pair.left, &HostOptions::default())?;
    assert_eq!(filters()?, before);
    Ok(())
}
