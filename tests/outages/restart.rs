//! Hosts that start while nobody answers for the registry.

use std::fs;

use anyhow::ensure;
use harness::{
    eventually,
    host::Fleet,
    servers::{Etcd, ZooKeeper},
    topology::pair,
    traffic::ping,
};
use ipnet::IpNet;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    Result,
    stage::{FAMILY, Registry, Stage, says, stage},
};

on_each_registry!(a_restart_goes_on_with_its_pinned_maps, a_reboot_goes_on_with_its_state_file,);

/// Waits until the host's state file knows the other.
fn is_saved<S>(stage: &Stage<S>) {
    let path = stage.right.state_file();
    eventually(&format!("{} knows left", path.display()), || {
        fs::read_to_string(&path).is_ok_and(|text| text.contains("\"left\""))
    });
}

fn a_restart_goes_on_with_its_pinned_maps<S: Registry>() -> Result {
    stage::<S>()?.without_loss(|stage| {
        is_saved(stage);
        for state in [true, false] {
            stage.server.kill();
            stage.right.stop(Signal::SIGKILL)?;
            if !state {
                fs::remove_file(stage.right.state_file())?;
            }
            stage.right.start()?;
            says(&stage.right, "it goes on by itself", |status| {
                status["stale"]["why"].as_str().is_some_and(|why| why.contains("pinned maps"))
            });
            stage.knows_both()?;
            ensure!(stage.right.show("status")?["members"] == 1, "it counts what its maps know");
            stage.server.restart()?;
            stage.converges(61)?;
        }
        Ok(())
    })
}

fn a_reboot_goes_on_with_its_state_file<S: Registry>() -> Result {
    let mut stage = stage::<S>()?;
    is_saved(&stage);
    let overlay = stage.right.overlay(FAMILY);
    stage.server.kill();
    // As a reboot leaves it: without programs, maps, routes and addresses, and with what is on its disk.
    let state = fs::read(stage.right.state_file())?;
    stage.right.stop(Signal::SIGKILL)?;
    ensure!(stage.right.down()?.status.success());
    fs::write(stage.right.state_file(), state)?;
    stage.right.start()?;
    assert_eq!(stage.right.overlay(FAMILY), overlay);
    says(&stage.right, "it goes on with its state file", |status| {
        status["stale"]["why"].as_str().is_some_and(|why| why.contains("state file"))
    });
    stage.knows_both()?;
    ensure!(ping(&stage.right.site.netns, stage.left.overlay(FAMILY), "", harness::PATIENCE)?);
    stage.without_loss(|stage| {
        stage.server.restart()?;
        stage.converges(61)
    })
}

/// A host that knows nothing of its fleet keeps trying, says so once, and touches nothing.
#[test]
fn a_first_start_waits_for_the_registry() -> Result {
    let pair = pair(FAMILY)?;
    let site = pair.lan.attach("server", 20)?;
    let mut server = Etcd::start_at(&site.netns, site.real(FAMILY))?;
    let fleet = Fleet::served(FAMILY, server.served(), json!({}))?;
    server.kill();
    let mut host = fleet.host("left", &pair.left)?;
    let before = harness::footprint::footprint(&pair.left.netns)?;
    host.launch()?;
    let line = "trying again until it can be reached";
    eventually("it says that it waits", || host.log().contains(line));
    std::thread::sleep(std::time::Duration::from_secs(8));
    ensure!(host.log().matches(line).count() == 1, "{}", host.log());
    ensure!(host.log().lines().count() < 4, "{}", host.log());
    let after = harness::footprint::footprint(&pair.left.netns)?;
    ensure!(harness::footprint::difference(&before, &after).is_empty());
    server.restart()?;
    host.wait_ready()
}

/// Servers for other networks are not asked: theirs is another fleet.
#[test]
fn a_host_uses_the_servers_of_its_network() -> Result {
    let pair = pair(FAMILY)?;
    let [own, other] = [pair.lan.attach("server", 20)?, pair.lan.attach("other", 21)?];
    let servers = [&own, &other].map(|site| ZooKeeper::start_at(&site.netns, site.real(FAMILY)));
    let [own, other] = servers;
    let (own, other) = (own?, other?);
    let mut served = own.served();
    served.table = format!(
        "kind = \"zookeeper\"\nendpoints = {{ ec2 = [{:?}], vpc = [{:?}] }}\n",
        own.endpoint(),
        other.endpoint()
    );
    let range: IpNet = "100.77.0.0/24".parse()?;
    let fleet = Fleet::served(FAMILY, served, json!({ "overlay": [range] }))?;
    let _elsewhere =
        Fleet::served(FAMILY, other.served(), json!({ "overlay": ["100.78.0.0/24"] }))?;
    let mut host = fleet.host("left", &pair.left)?;
    host.start()?;
    let overlay = host.overlay(FAMILY);
    ensure!(range.contains(&overlay), "{overlay} is of the other network's fleet");
    ensure!(own.operator().get("/neti/members/left")?.is_some(), "it is registered with its own");
    ensure!(other.operator().get("/neti/members/left")?.is_none(), "it is registered elsewhere");
    Ok(())
}
