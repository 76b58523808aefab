//! Promise: one bad record never stops the fleet, and a registry that cannot be read is not an empty fleet.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::ensure;
use harness::{
    PATIENCE, eventually,
    family::Family,
    host::{Fleet, Host, HostOptions, start_all},
    in_each_family,
    stage::{PairStage, pair_stage, pair_stage_with},
    topology::{LAN, PUBLISHED, pair},
    traffic::{BRIEFLY, ping},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

type Result = anyhow::Result<()>;

in_each_family!(
    a_broken_record_is_skipped_and_named,
    a_record_that_claims_what_is_ours_is_refused,
    an_outage_is_not_an_empty_fleet,
    a_host_starts_without_its_directory,
    broken_fleet_settings_are_reported_and_the_last_good_ones_hold,
    two_hosts_started_together_get_different_addresses,
);

fn stage(family: Family) -> anyhow::Result<PairStage> {
    pair_stage(family, json!({ "mode": "enforce" }))
}

/// Waits until the host's status says this somewhere.
fn says(host: &Host, word: &str) {
    let mut status = Value::Null;
    eventually(&format!("the status of {} says {word:?}", host.name), || {
        status = host.show("status").unwrap_or_default();
        status.to_string().contains(word)
    });
}

fn a_broken_record_is_skipped_and_named(family: Family) -> Result {
    let stage = stage(family)?;
    let record = |id: &str, overlay: IpAddr, private: Value| {
        let record = json!({
            "id": id, "overlays": [overlay], "private": private, "network": "ec2",
            "version": "0.1.0", "generation": 1, "state": "up",
        });
        record.to_string()
    };
    let (ghost, real) = (family.ghost(3), json!(LAN.host(family, 60)));
    let other = if family == Family::V4 { Family::V6 } else { Family::V4 };
    let outside = PUBLISHED.host(family, 8);
    let broken = [
        ("truncated", "{\"id\": \"trunc".to_owned()),
        ("empty", String::new()),
        ("mistaken", record("somebody-else", ghost, real.clone())),
        ("foreign", record("foreign", outside, real.clone())),
        ("link-local", record("link-local", ghost, json!(link_local(family)))),
        ("multicast", record("multicast", ghost, json!(multicast(family)))),
        ("mapped", record("mapped", ghost, json!("::ffff:10.0.0.60"))),
        ("twice", record("twice", ghost, json!([real, LAN.host(family, 61)]))),
        // Its overlay address would have to be carried by real addresses of the other family.
        ("crossed", record("crossed", ghost, json!(LAN.host(other, 60)))),
    ];
    for (id, text) in &broken {
        stage.fleet.put(&format!("members/{id}"), text)?;
    }
    let (good, neighbour) = (family.ghost(9), stage.pair.neighbour.real(family));
    stage.fleet.add_member("good", good, "ec2", neighbour)?;
    stage.left.await_members(&["good", "right"]);
    for (id, _) in &broken {
        says(&stage.left, id);
    }
    ensure!(ping(&stage.left.site.netns, good, "", PATIENCE)?);
    ensure!(ping(&stage.left.site.netns, stage.right.overlay(family), "", PATIENCE)?);
    Ok(())
}

fn link_local(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(169, 254, 0, 60).into(),
        Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x60).into(),
    }
}

fn multicast(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(224, 0, 0, 60).into(),
        Family::V6 => Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 0x60).into(),
    }
}

fn a_record_that_claims_what_is_ours_is_refused(family: Family) -> Result {
    let stage = stage(family)?;
    let (left, right) = (&stage.left, &stage.right);
    stage.fleet.add_member("thief", family.ghost(1), "ec2", left.real(family))?;
    stage.fleet.add_member("heir", family.ghost(2), "ec2", right.real(family))?;
    says(left, "thief");
    says(left, "heir");
    // Whoever claims an address later than its holder does not get it.
    for host in [left, right] {
        let other = if host.name == "left" { right } else { left };
        ensure!(ping(&host.site.netns, other.overlay(family), "", PATIENCE)?, "from {}", host.name);
    }
    let members = left.show("members")?;
    let owner = members
        .as_array()
        .and_then(|members| members.iter().find(|m| m["real"] == json!(right.real(family))));
    ensure!(owner.is_some_and(|owner| owner["id"] == "right"), "{members}");
    Ok(())
}

fn an_outage_is_not_an_empty_fleet(family: Family) -> Result {
    let stage = stage(family)?;
    let registry = stage.fleet.registry();
    let away = stage.fleet.dir().join("away");
    fs::rename(&registry, &away)?;
    says(&stage.left, "\"stale\":{");
    assert_eq!(stage.left.members()?, ["right"]);
    ensure!(ping(&stage.left.site.netns, stage.right.overlay(family), "", PATIENCE)?);
    fs::rename(&away, &registry)?;
    stage.fleet.add_member("later", family.ghost(1), "ec2", LAN.host(family, 61))?;
    stage.left.await_members(&["later", "right"]);
    eventually("the outage is over", || {
        stage.left.show("status").is_ok_and(|status| status["stale"].is_null())
    });
    Ok(())
}

/// As where a network file system is mounted late: it goes on with what it knew.
fn a_host_starts_without_its_directory(family: Family) -> Result {
    let mut stage = stage(family)?;
    let registry = stage.fleet.registry();
    let away = stage.fleet.dir().join("away");
    let overlay = stage.left.overlay(family);
    let state = stage.left.state_file();
    eventually("its state file knows right", || {
        fs::read_to_string(&state).is_ok_and(|text| text.contains("\"right\""))
    });
    stage.left.stop(Signal::SIGKILL)?;
    fs::rename(&registry, &away)?;
    stage.left.start()?;
    says(&stage.left, "no such directory");
    assert_eq!(stage.left.overlay(family), overlay);
    assert_eq!(stage.left.members()?, ["right"]);
    ensure!(ping(&stage.left.site.netns, stage.right.overlay(family), "", PATIENCE)?);
    fs::rename(&away, &registry)?;
    let later = LAN.host(family, 61);
    stage.fleet.add_member("later", family.ghost(1), "ec2", later)?;
    stage.left.await_members(&["later", "right"]);
    eventually("all is well again", || {
        stage
            .left
            .show("status")
            .is_ok_and(|status| status["stale"].is_null() && status["registration"].is_null())
    });
    Ok(())
}

fn broken_fleet_settings_are_reported_and_the_last_good_ones_hold(family: Family) -> Result {
    let stage = stage(family)?;
    let stranger = &stage.pair.stranger.netns;
    stage.fleet.put("fleet", "{ \"overlay\": ")?;
    says(&stage.left, "the settings before are kept");
    ensure!(!ping(stranger, stage.left.real(family), "", BRIEFLY)?, "enforce goes on");
    ensure!(ping(&stage.left.site.netns, stage.right.overlay(family), "", PATIENCE)?);
    stage.fleet.set(json!({ "mode": "enforce", "echo": true }))?;
    eventually("repaired settings are taken", || {
        ping(stranger, stage.left.real(family), "", BRIEFLY).is_ok_and(|answered| answered)
    });
    Ok(())
}

fn two_hosts_started_together_get_different_addresses(family: Family) -> Result {
    let range = family.smallest_range();
    // The smallest IPv6 range has 65,536 addresses, and to fill it takes long.
    let times = if family == Family::V4 { 3 } else { 1 };
    for _ in 0..times {
        let pair = pair(family)?;
        let fleet = Fleet::new(family, json!({ "overlay": [range] }))?;
        // Two free addresses for two hosts: whoever loses the race for one takes the other.
        let free = fleet.fill(range, 2)?;
        let mut left = fleet.host("left", &pair.left)?;
        let mut right = fleet.host("right", &pair.right)?;
        start_all(&mut [&mut left, &mut right])?;
        let mut taken = [left.overlay(family), right.overlay(family)];
        taken.sort();
        assert_eq!(taken[..], free);
    }
    Ok(())
}

/// The guard and the operator's word work on a directory as on servers (`outages`).
#[test]
fn a_mass_removal_is_held_until_it_is_confirmed() -> Result {
    let family = Family::V4;
    // Nobody keeps the ghosts' records alive.
    let options = HostOptions { ttl: 600.0, ..HostOptions::default() };
    let stage = pair_stage_with(family, json!({ "mode": "enforce" }), &options)?;
    let names: Vec<String> = (100..130).map(|number| format!("ghost-{number}")).collect();
    let members = names
        .iter()
        .zip(100..)
        .map(|(name, number)| (name.as_str(), family.ghost(number), LAN.host(family, number)));
    stage.fleet.add_members(members, "ec2")?;
    let all: Vec<&str> = names.iter().map(String::as_str).chain(["right"]).collect();
    stage.left.await_members(&all);
    names.iter().try_for_each(|name| stage.fleet.remove_member(name))?;
    for host in [&stage.left, &stage.right] {
        eventually(&format!("{} holds 30", host.name), || {
            host.show("status").is_ok_and(|status| status["held"]["count"] == 30)
        });
    }
    stage.left.await_members(&all);
    let config = stage.left.config.to_string_lossy().into_owned();
    let output = stage.left.run_neti(&["fleet", "confirm", "--config", &config])?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    stage.left.await_members(&["right"]);
    stage.right.await_members(&["left"]);
    Ok(())
}
