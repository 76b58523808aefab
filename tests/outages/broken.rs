//! Starts that meet more than one thing that is broken.

use std::fs;

use anyhow::{Context, ensure};
use harness::{
    eventually,
    servers::{Etcd, ZooKeeper},
    topology::{LAN, UPLINK},
};
use nix::sys::signal::Signal;

use crate::{
    Result,
    stage::{FAMILY, Registry, says, stage},
};

on_each_registry!(a_restart_with_broken_settings_goes_on_with_the_last_good_ones,);

fn a_restart_with_broken_settings_goes_on_with_the_last_good_ones<S: Registry>() -> Result {
    stage::<S>()?.without_loss(|stage| {
        eventually("the state is saved", || {
            fs::read_to_string(stage.right.state_file()).is_ok_and(|text| text.contains("\"left\""))
        });
        stage.operator.put("fleet", "{ \"overlay\": 7 }")?;
        says(&stage.left, "the settings are broken", |status| {
            status["problems"].to_string().contains("the settings before are kept")
        });
        stage.right.stop(Signal::SIGKILL)?;
        stage.right.start()?;
        says(&stage.right, "the settings are broken", |status| {
            status["stale"]["why"].as_str().is_some_and(|why| why.contains("overlay = 7"))
        });
        stage.knows_both()?;
        stage.fleet.set(serde_json::json!({ "mode": "enforce" }))?;
        stage.converges(61)
    })
}

/// After a reboot, while the registry is away, the first start fails for another reason: the next one still knows the
/// fleet.
#[test]
fn a_failed_start_keeps_what_is_known() -> Result {
    let mut stage = stage::<Etcd>()?;
    eventually("the state is saved", || {
        fs::read_to_string(stage.right.state_file()).is_ok_and(|text| text.contains("\"left\""))
    });
    stage.server.kill();
    let state = fs::read(stage.right.state_file())?;
    stage.right.stop(Signal::SIGKILL)?;
    ensure!(stage.right.down()?.status.success());
    ensure!(!stage.right.state_file().exists(), "`neti down` leaves nothing");
    fs::write(stage.right.state_file(), state)?;
    let (netns, real) = (stage.right.site.netns.clone(), stage.right.real(FAMILY));
    netns.ip(&format!("addr del {real}/24 dev {UPLINK}"))?;
    let (code, text) = stage.right.fail()?;
    ensure!(code == Some(1) && text.contains("no global address"), "{code:?}: {text}");
    netns.ip(LAN.addr_add(FAMILY, 11, UPLINK).trim())?;
    netns.ip(&format!("route add default via {} dev {UPLINK}", LAN.host(FAMILY, 1)))?;
    stage.right.start().context("the state was lost")?;
    stage.knows_both()?;
    stage.server.restart()?;
    stage.converges(61)
}
