//! Promise: one bad record never stops the fleet, and a registry that cannot be read is not an empty fleet.

use std::{fs, net::Ipv4Addr};

use anyhow::ensure;
use harness::{
    PATIENCE, eventually,
    host::Host,
    stage::{PairStage, pair_stage},
    traffic::{BRIEFLY, ping},
};
use serde_json::{Value, json};

type Result = anyhow::Result<()>;

fn stage() -> anyhow::Result<PairStage> {
    pair_stage(json!({ "mode": "enforce" }))
}

/// Waits until the host's status says this somewhere.
fn says(host: &Host, word: &str) {
    let mut status = Value::Null;
    eventually(&format!("the status of {} says {word:?}", host.name), || {
        status = host.show("status").unwrap_or_default();
        status.to_string().contains(word)
    });
}

#[test]
fn a_broken_record_is_skipped_and_named() -> Result {
    let stage = stage()?;
    let broken = [
        ("truncated", "{\"id\": \"trunc"),
        ("empty", ""),
        ("mistaken", r#"{"id": "somebody-else", "overlays": ["100.64.250.3"], "network": "ec2"}"#),
        ("foreign", r#"{"id": "foreign", "overlays": ["8.8.8.8"], "network": "ec2"}"#),
    ];
    for (id, text) in broken {
        stage.fleet.put(&format!("members/{id}"), text)?;
    }
    stage.fleet.add_member(
        "good",
        [100, 64, 250, 9].into(),
        "ec2",
        stage.pair.neighbour.private,
    )?;
    stage.left.await_members(&["good", "right"]);
    for (id, _) in broken {
        says(&stage.left, id);
    }
    ensure!(ping(&stage.left.site.netns, [100, 64, 250, 9].into(), "", PATIENCE)?);
    ensure!(ping(&stage.left.site.netns, stage.right.overlay(), "", PATIENCE)?);
    Ok(())
}

#[test]
fn a_record_that_claims_what_is_ours_is_refused() -> Result {
    let stage = stage()?;
    let (left, right) = (&stage.left, &stage.right);
    stage.fleet.add_member("thief", [100, 64, 250, 1].into(), "ec2", left.real())?;
    stage.fleet.add_member("heir", [100, 64, 250, 2].into(), "ec2", right.real())?;
    says(left, "thief");
    says(left, "heir");
    // Whoever claims an address later than its holder does not get it.
    for host in [left, right] {
        let other = if host.name == "left" { right } else { left };
        ensure!(ping(&host.site.netns, other.overlay(), "", PATIENCE)?, "from {}", host.name);
    }
    let members = left.show("members")?;
    let owner = members
        .as_array()
        .and_then(|members| members.iter().find(|m| m["real"] == json!(right.real())));
    ensure!(owner.is_some_and(|owner| owner["id"] == "right"), "{members}");
    Ok(())
}

#[test]
fn an_outage_is_not_an_empty_fleet() -> Result {
    let stage = stage()?;
    let registry = stage.fleet.registry();
    let away = stage.fleet.dir().join("away");
    fs::rename(&registry, &away)?;
    says(&stage.left, "\"stale\":{");
    assert_eq!(stage.left.members()?, ["right"]);
    ensure!(ping(&stage.left.site.netns, stage.right.overlay(), "", PATIENCE)?);
    fs::rename(&away, &registry)?;
    stage.fleet.add_member("later", [100, 64, 250, 1].into(), "ec2", [10, 0, 0, 61].into())?;
    stage.left.await_members(&["later", "right"]);
    eventually("the outage is over", || {
        stage.left.show("status").is_ok_and(|status| status["stale"].is_null())
    });
    Ok(())
}

#[test]
fn broken_fleet_settings_are_reported_and_the_last_good_ones_hold() -> Result {
    let stage = stage()?;
    let stranger = &stage.pair.stranger.netns;
    stage.fleet.put("fleet", "{ \"overlay\": ")?;
    says(&stage.left, "fleet");
    ensure!(!ping(stranger, stage.left.real(), "", BRIEFLY)?, "enforce goes on");
    ensure!(ping(&stage.left.site.netns, stage.right.overlay(), "", PATIENCE)?);
    stage.fleet.set(json!({ "mode": "enforce", "echo": true }))?;
    eventually("repaired settings are taken", || {
        ping(stranger, stage.left.real(), "", BRIEFLY).is_ok_and(|answered| answered)
    });
    Ok(())
}

#[test]
fn two_hosts_started_together_get_different_addresses() -> Result {
    // Two free addresses for two hosts: whoever loses the race for one takes the other.
    for _ in 0..3 {
        let stage = pair_stage(json!({ "overlay": ["100.64.0.0/30"] }))?;
        let mut taken = [stage.left.overlay(), stage.right.overlay()];
        taken.sort();
        assert_eq!(taken, [Ipv4Addr::new(100, 64, 0, 1), Ipv4Addr::new(100, 64, 0, 2)]);
    }
    Ok(())
}
