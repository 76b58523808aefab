//! Registries that forget many members at once.

use anyhow::ensure;
use harness::{
    PATIENCE,
    host::Host,
    servers::{Etcd, ZooKeeper},
    topology::LAN,
    traffic::{BRIEFLY, ping},
};
use serde_json::json;

use crate::{
    Result,
    stage::{FAMILY, Registry, Stage, says, stage},
};

on_each_registry!(a_mass_removal_is_held_until_it_is_confirmed,);

/// Hosts without neti, all but one of which do not exist.
const GHOSTS: std::ops::Range<u8> = 100..130;

fn ghost(number: u8) -> String {
    format!("ghost-{number}")
}

fn held(host: &Host) -> u64 {
    let status = host.show("status").unwrap_or_default();
    status["held"]["count"].as_u64().unwrap_or_default()
}

fn remove<S>(stage: &Stage<S>) -> Result {
    GHOSTS.skip(1).try_for_each(|number| stage.fleet.remove_member(&ghost(number)))
}

fn a_mass_removal_is_held_until_it_is_confirmed<S: Registry>() -> Result {
    let mut stage = stage::<S>()?;
    let neighbour = stage.pair.neighbour.real(FAMILY);
    let add = |stage: &Stage<S>| {
        GHOSTS.into_iter().try_for_each(|number| {
            let real = if number == 129 { neighbour } else { LAN.host(FAMILY, number) };
            stage.fleet.add_member(&ghost(number), FAMILY.ghost(number), "ec2", real)
        })
    };
    add(&stage)?;
    let all: Vec<String> = GHOSTS.map(ghost).chain(["right".to_owned()]).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    stage.left.await_members(&all);
    let netns = stage.left.site.netns.clone();
    ensure!(ping(&netns, FAMILY.ghost(129), "", PATIENCE)?);

    remove(&stage)?;
    for host in stage.hosts() {
        says(host, "29 are held", |status| status["held"]["count"] == 29);
    }
    ensure!(stage.left.log().contains("neti fleet confirm"), "{}", stage.left.log());
    stage.left.await_members(&all);
    ensure!(ping(&netns, FAMILY.ghost(129), "", PATIENCE)?, "a held member is reached");
    // Who is added meanwhile is there at once, and a restart holds what it held.
    stage.fleet.add_member("later", FAMILY.ghost(1), "ec2", LAN.host(FAMILY, 61))?;
    let mut more = all.clone();
    more.insert(30, "later");
    stage.left.await_members(&more);
    harness::eventually("the state is saved", || {
        std::fs::read_to_string(stage.left.state_file()).is_ok_and(|text| text.contains("later"))
    });
    stage.left.stop(nix::sys::signal::Signal::SIGKILL)?;
    stage.left.start()?;
    says(&stage.left, "29 are held", |status| status["held"]["count"] == 29);

    // They come back: nothing is held.
    add(&stage)?;
    says(&stage.left, "none are held", |status| status["held"].is_null());
    remove(&stage)?;
    for host in stage.hosts() {
        says(host, "29 are held", |status| status["held"]["count"] == 29);
    }
    let config = stage.left.config.to_string_lossy().into_owned();
    let output = stage.left.run_neti(&["fleet", "confirm", "--config", &config])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success() && text.contains("29"), "{text}");
    stage.left.await_members(&["ghost-100", "later", "right"]);
    stage.right.await_members(&["ghost-100", "later", "left"]);
    ensure!(held(&stage.left) == 0 && held(&stage.right) == 0);
    ensure!(!ping(&netns, FAMILY.ghost(129), "", BRIEFLY)?, "a removed member is reached");

    // The threshold is a setting, read live.
    stage.fleet.set(json!({ "mode": "enforce", "max_removals": 1 }))?;
    says(&stage.left, "settings are followed", |_| true);
    stage.fleet.remove_member("later")?;
    stage.fleet.remove_member("ghost-100")?;
    says(&stage.left, "more than one are held", |status| !status["held"].is_null());
    stage.fleet.set(json!({ "mode": "enforce", "max_removals": 2 }))?;
    stage.left.await_members(&["right"]);
    Ok(())
}
