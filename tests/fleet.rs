//! Promise: an operator sees and changes the fleet from anywhere, while it runs, and takes nothing from a live host
//! by mistake.

use std::process::Output;

use anyhow::ensure;
use harness::{
    PATIENCE, eventually,
    family::Family,
    host::{Host, counted},
    stage::pair_stage,
    traffic::{BRIEFLY, ping},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

type Result = anyhow::Result<()>;

/// What `neti fleet` on a host prints, and whether it succeeds.
fn fleet(host: &Host, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let config = host.config.to_string_lossy();
    let arguments = [&["fleet"], arguments, &["--config", &config]].concat();
    let Output { status, stdout, stderr } = host.run_neti(&arguments)?;
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok((status.success(), text))
}

#[test]
fn settings_are_changed_under_a_live_fleet_and_broken_ones_never_arrive() -> Result {
    let stage = pair_stage(Family::V4, json!({ "mode": "observe" }))?;
    let (left, stranger) = (&stage.left, &stage.pair.stranger);
    let reaches = |patience| ping(&stranger.netns, left.real(Family::V4), "", patience);
    ensure!(reaches(PATIENCE)?);
    let (done, said) = fleet(left, &["set", "mode=enforce"])?;
    ensure!(done && said == "mode: \"observe\" -> \"enforce\"\n", "{said}");
    // Silence alone may be a slow machine's.
    eventually("the stranger is refused", || {
        let _ = reaches(BRIEFLY);
        left.arrived("stranger", "drop").is_ok_and(|dropped| dropped > 0)
    });
    let (done, said) = fleet(left, &["set", "mode=observe", "echo=maybe"])?;
    ensure!(!done && said.contains("echo = \"maybe\": must be true or false"), "{said}");
    counted(left, "stranger", "drop", || {
        ensure!(!reaches(BRIEFLY)?, "half of it was written");
        Ok(())
    })?;
    let (done, said) = fleet(left, &["set", "networks={\"elsewhere\": {}}"])?;
    ensure!(!done && said.contains("would leave out 2 members: left (ec2), right (ec2)"), "{said}");
    left.await_members(&["right"]);
    Ok(())
}

#[test]
fn a_live_host_keeps_its_address_and_a_gone_one_is_released() -> Result {
    let mut stage = pair_stage(Family::V4, json!({}))?;
    let overlay = stage.right.overlay(Family::V4).to_string();
    let (_, said) = fleet(&stage.left, &["list", "-j"])?;
    let listed: Value = serde_json::from_str(&said)?;
    ensure!(listed[1]["id"] == "right" && listed[1]["overlays"] == json!([overlay]), "{said}");
    let (done, said) = fleet(&stage.left, &["release", "right"])?;
    ensure!(!done && said.contains("host right is a member of the fleet"), "{said}");
    let (_, said) = fleet(&stage.left, &["claim", "right"])?;
    assert_eq!(said.trim(), overlay);
    stage.right.stop(Signal::SIGTERM)?;
    let (done, said) = fleet(&stage.left, &["release", "right"])?;
    ensure!(done && said == format!("released {overlay} of host right\n"), "{said}");
    Ok(())
}
