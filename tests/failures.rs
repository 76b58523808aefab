//! Promise: whatever keeps neti from starting is said in one line that names what and where, the exit code is not 0, and
//! nothing is half-attached.

use std::fs;

use anyhow::{Context, ensure};
use harness::{
    PATIENCE, eventually,
    family::{Family, Network, addr_add},
    footprint::{difference, fails, footprint},
    host::{Fleet, HostOptions},
    in_each_family,
    stage::pair_stage,
    topology::{LAN, Pair, UPLINK, gateway, pair},
};
use ipnet::IpNet;
use serde_json::json;

type Result = anyhow::Result<()>;

in_each_family!(
    an_overlay_range_that_overlaps_a_local_route,
    a_full_overlay_range,
    a_host_without_an_address_in_the_fleets_family,
    a_second_neti_on_the_same_uplink,
);

/// Where the checks of this file start from: a site, and a fleet that would work.
fn healthy(families: impl AsRef<[Family]>) -> anyhow::Result<(Pair, Fleet)> {
    Ok((pair(&families)?, Fleet::new(&families, json!({ "mode": "enforce" }))?))
}

fn an_overlay_range_that_overlaps_a_local_route(family: Family) -> Result {
    let (pair, fleet) = healthy(family)?;
    let (lan, elsewhere) =
        (LAN.prefix(family), Network { v4: [172, 20, 1], v6: [0xfd20, 0, 0, 1] });
    let inside = Network { v4: [100, 64, 5], v6: [0xfd64, 0x6e65, 0x7469, 5] }.prefix(family);
    let around = |range: IpNet| {
        let length = if family == Family::V4 { 16 } else { 48 };
        IpNet::new_assert(range.addr(), length).trunc()
    };
    let cases = [
        (around(lan), lan.to_string(), "the uplink's own network"),
        (family.range(), inside.to_string(), "a route that somebody set"),
        (
            around(elsewhere.prefix(family)),
            elsewhere.host(family, 1).to_string(),
            "an address of another interface",
        ),
    ];
    pair.left.netns.ip_batch(&format!(
        "route add {inside} via {} dev {UPLINK}\n\
         link add other type veth peer name rehto\n\
         {}\
         link set rehto up\n\
         link set other up\n",
        gateway(family),
        addr_add(elsewhere.host(family, 1), family.bits(), "other")
    ))?;
    // The kernel takes an address into use beside whoever gives it (`addrconf_dad_work`).
    let in_use = format!("{} route show table local dev other", family.flag());
    eventually("the other interface has its address", || {
        let own = elsewhere.host(family, 1).to_string();
        pair.left.netns.ip(&in_use).is_ok_and(|routes| routes.contains(&own))
    });
    for (range, clash, why) in cases {
        fleet.set(json!({ "overlay": [range] }))?;
        let mut host = fleet.host("left", &pair.left)?;
        fails(&mut host, &[&range.to_string(), &clash]).context(why)?;
    }
    Ok(())
}

fn a_full_overlay_range(family: Family) -> Result {
    let (pair, fleet) = healthy(family)?;
    let range = family.smallest_range();
    fleet.set(json!({ "overlay": [range] }))?;
    ensure!(fleet.fill(range, 0)?.is_empty());
    fails(&mut fleet.host("left", &pair.left)?, &[&range.to_string()])
}

fn a_host_without_an_address_in_the_fleets_family(family: Family) -> Result {
    let (pair, _) = healthy(family)?;
    let (other, theirs, ours) = match family {
        Family::V4 => (Family::V6, "IPv6", "IPv4"),
        Family::V6 => (Family::V4, "IPv4", "IPv6"),
    };
    let fleet = Fleet::new(other, json!({ "mode": "enforce" }))?;
    let words = [
        "uplink eth0",
        &format!("no global {theirs} address"),
        &other.range().to_string(),
        "real addresses of its own family",
        &format!("give the uplink an {theirs} address or the fleet an {ours} range"),
    ];
    fails(&mut fleet.host("left", &pair.left)?, &words)
}

fn a_second_neti_on_the_same_uplink(family: Family) -> Result {
    let stage = pair_stage(family, json!({ "mode": "enforce" }))?;
    let pid = stage.left.pid().context("neti runs on left")?.to_string();
    let mut second = stage.fleet.host("second", &stage.left.site)?;
    fails(&mut second, &["eth0", &pid])?;
    // The same instance elsewhere would take over the pins of the first.
    let instance = Some(stage.left.instance.clone());
    let options = HostOptions { instance, ..HostOptions::default() };
    let before = footprint(&stage.pair.neighbour.netns)?;
    let mut thief = stage.fleet.host_with("thief", &stage.pair.neighbour, &options)?;
    let (code, text) = thief.fail()?;
    ensure!(code == Some(1) && text.contains(&stage.left.instance), "{code:?}: {text}");
    let left = difference(&before, &footprint(&stage.pair.neighbour.netns)?);
    ensure!(left.is_empty(), "a failed start leaves: {left:#?}");
    // Dropping it would run `neti down` on an instance that is not its own.
    std::mem::forget(thief);
    stage.left.await_members(&["right"]);
    ensure!(harness::traffic::ping(
        &stage.left.site.netns,
        stage.right.overlay(family),
        "",
        PATIENCE
    )?);
    Ok(())
}

#[test]
fn no_permission() -> Result {
    let (pair, fleet) = healthy(Family::V4)?;
    let host = fleet.host("left", &pair.left)?;
    let neti = harness::binary::neti()?;
    // Root without capabilities: who it is does not matter, what it may do does.
    let output = pair.left.netns.output(&format!(
        "setpriv --bounding-set -all --inh-caps -all {} run --config {}",
        neti.display(),
        host.config.display()
    ))?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{:?}: {text}", output.status);
    let line = text.lines().find(|line| line.starts_with("neti: ")).context("one line says why")?;
    let told = ["CAP_", "root", "ermission"].iter().any(|word| line.contains(word));
    ensure!(told, "the line tells what is missing: {line}");
    Ok(())
}

#[test]
fn no_bpf_filesystem() -> Result {
    let (pair, fleet) = healthy(Family::V4)?;
    let host = fleet.host("left", &pair.left)?;
    let neti = harness::binary::neti()?;
    let log = fleet.dir().join("unmounted.log");
    // In a mount namespace of its own, where bpffs is missing: neti mounts it there.
    let mut command = pair.left.netns.command("unshare");
    command.args(["--mount", "sh", "-c"]).arg(format!(
        "while umount /sys/fs/bpf 2>/dev/null; do :; done; exec {} run --config {} 2>{}",
        neti.display(),
        host.config.display(),
        log.display()
    ));
    let mut daemon = pair.left.netns.spawn(command)?;
    let mut text = String::new();
    harness::within(harness::PATIENCE, || {
        text = fs::read_to_string(&log).unwrap_or_default();
        text.contains("ready: overlay") || daemon.ended().is_some()
    });
    ensure!(text.contains("ready: overlay"), "{text}");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    ensure!(daemon.wait(harness::PATIENCE).success());
    Ok(())
}

#[test]
fn wrong_usage_is_told_apart_from_failure() -> Result {
    let (pair, fleet) = healthy(Family::V4)?;
    let host = fleet.host("left", &pair.left)?;
    for arguments in [&["frobnicate"][..], &["run", "--frobnicate"], &["show", "nothing"]] {
        let output = host.run_neti(arguments)?;
        ensure!(output.status.code() == Some(2), "{arguments:?}: {}", output.status);
    }
    let missing = fleet.dir().join("missing.toml");
    let output = host.run_neti(&["run", "--config", &missing.to_string_lossy()])?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && text.contains("missing.toml"), "{text}");
    let output = host.run_neti(&["show", "members", "--instance", "nobody"])?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && text.contains("nobody"), "{text}");
    let output = host.run_neti(&["check", "--config", &host.config.to_string_lossy()])?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "a good configuration is accepted: {text}");
    Ok(())
}
