//! Registries that forget many members at once.

use anyhow::ensure;
use harness::{
    PATIENCE,
    servers::{Etcd, ZooKeeper},
    topology::LAN,
    traffic::{BRIEFLY, ping},
};
use serde_json::json;

use crate::{
    Result,
    stage::{FAMILY, Registry, Stage, says, stage_with},
};

on_each_registry!(a_mass_removal_is_held_until_it_is_confirmed,);

/// Hosts without neti, all but one of which do not exist.
const GHOSTS: std::ops::Range<u8> = 100..130;

fn ghost(number: u8) -> String {
    format!("ghost-{number}")
}

/// At once, all but the first.
fn remove<S>(stage: &Stage<S>) -> Result {
    let keys = GHOSTS.skip(1).map(|number| format!("members/{}", ghost(number)));
    stage.operator.delete_all(keys)
}

fn add<S>(stage: &Stage<S>) -> Result {
    let neighbour = stage.pair.neighbour.real(FAMILY);
    let names: Vec<String> = GHOSTS.map(ghost).collect();
    let members = GHOSTS.zip(&names).map(|(number, name)| {
        let real = if number == 129 { neighbour } else { LAN.host(FAMILY, number) };
        (name.as_str(), FAMILY.ghost(number), real)
    });
    stage.fleet.add_members(members, "ec2")
}

fn a_mass_removal_is_held_until_it_is_confirmed<S: Registry>() -> Result {
    // Nobody but the ghosts may vanish, for what is held is counted.
    let mut stage = stage_with::<S>(10.0)?;
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
    for host in stage.hosts() {
        says(host, "none are held", |status| status["held"].is_null());
    }
    ensure!(!ping(&netns, FAMILY.ghost(129), "", BRIEFLY)?, "a removed member is reached");

    // The threshold is a setting, read live.
    stage.fleet.set(json!({ "mode": "enforce", "max_removals": 1 }))?;
    stage.operator.delete_all(["later", "ghost-100"].map(|name| format!("members/{name}")))?;
    says(&stage.left, "both are held", |status| status["held"]["count"] == 2);
    stage.fleet.set(json!({ "mode": "enforce", "max_removals": 2 }))?;
    stage.left.await_members(&["right"]);
    Ok(())
}
