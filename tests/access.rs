//! Promise: with the ZooKeeper set-up of docs/registry.md in which operators claim the addresses, a host changes its
//! own record and nothing else.

use anyhow::{Context, ensure};
use harness::{
    family::Family,
    fleet::Served,
    footprint::fails,
    host::{Fleet, Host, HostOptions, start_all},
    servers::{Acl, Kazoo, ZooKeeper, ZooKeeperOptions},
    topology::{Site, pair},
};
use nix::sys::signal::Signal;

type Result = anyhow::Result<()>;

const FAMILY: Family = Family::V4;

#[test]
fn a_host_can_write_only_its_own_record() -> Result {
    let pair = pair(FAMILY)?;
    let site = pair.lan.attach("server", 20)?;
    let server = ZooKeeper::start(&site.netns, site.real(FAMILY), &ZooKeeperOptions::default())?;
    let anybody = Kazoo::new(&pair.left.netns, &server.endpoint());
    let served = Served::zookeeper(&[server.endpoint()], anybody.clone());
    let fleet = Fleet::unset(served.clone())?;
    let operator = host_of(&fleet, &served, "operator", &pair.left)?;
    neti(&operator, &["set", "overlay=[\"100.64.0.0/16\"]", "mode=enforce"])?;
    let as_operator = of_user(&anybody, "operator");
    // The same settings once more make what is missing of the tree.
    as_operator.delete("/neti/hosts6")?;
    neti(&operator, &["set", "mode=enforce"])?;
    close(&as_operator)?;

    let mut left = host_of(&fleet, &served, "left", &pair.left)?;
    let mut right = host_of(&fleet, &served, "right", &pair.right)?;
    fails(&mut left, &["neti fleet claim left", "overlays/"]).context("without a claim")?;
    for name in ["left", "right"] {
        neti(&operator, &["claim", name])?;
    }
    start_all(&mut [&mut left, &mut right])?;
    left.await_members(&["right"]);
    right.await_members(&["left"]);

    let as_left = of_user(&anybody, "left");
    let overlay = right.overlay(FAMILY);
    let locked = format!("overlays/{overlay}");
    for key in ["members/right", &locked, "hosts/right", "fleet"] {
        let (key, stood) = (format!("/neti/{key}"), as_operator.get(&format!("/neti/{key}"))?);
        ensure!(stood.is_some(), "{key} is there");
        ensure!(as_left.put(&key, "{}").is_err(), "left may write {key}");
        ensure!(as_left.delete(&key).is_err(), "left may delete {key}");
        ensure!(as_operator.get(&key)? == stood, "{key}");
    }
    for key in ["overlays/100.64.0.9", "hosts/other", "hosts6/other", "confirmed"] {
        let key = format!("/neti/{key}");
        ensure!(as_left.put(&key, "{}").is_err(), "left may make {key}");
        ensure!(as_operator.get(&key)?.is_none(), "{key}");
    }
    ensure!(as_left.delete("/neti/members/left").is_err(), "the parent is the operator's");
    left.await_members(&["right"]);
    right.await_members(&["left"]);

    // The operator sees to the rest: what belongs to a host that is gone.
    left.stop(Signal::SIGTERM)?;
    right.await_members(&[]);
    neti(&operator, &["release", "left"])?;
    ensure!(neti(&operator, &["release", "right"]).is_err(), "right is a member");
    Ok(())
}

/// What docs/registry.md has an operator do so that hosts cannot lock addresses.
fn close(operator: &Kazoo) -> Result {
    let theirs = operator.acl("/neti/overlays")?;
    let owner = theirs.iter().find(|acl| acl.scheme == "digest").context("it has an owner")?;
    let owner = Acl { permissions: ALL, ..owner.clone() };
    let anyone = Acl { permissions: READ, scheme: "world".to_owned(), id: "anyone".to_owned() };
    for key in ["overlays", "hosts", "hosts6"] {
        operator.set_acl(&format!("/neti/{key}"), &[owner.clone(), anyone.clone()])?;
    }
    Ok(())
}

/// ZooKeeper's bits.
const READ: u32 = 1;
const ALL: u32 = 31;

fn of_user(anybody: &Kazoo, user: &str) -> Kazoo {
    Kazoo { user: Some(format!("{user}:{user}")), ..anybody.clone() }
}

/// A host whose user has its name, and that for a password.
fn host_of(fleet: &Fleet, served: &Served, name: &str, site: &Site) -> anyhow::Result<Host> {
    let secret = fleet.dir().join(format!("{name}.password"));
    std::fs::write(&secret, format!("{name}\n"))?;
    let user = format!("user = \"{name}\"\npassword_file = \"{}\"\n", secret.display());
    let registry = Some(served.table.clone() + &user);
    fleet.host_with(name, site, &HostOptions { ttl: 4.0, registry, ..HostOptions::default() })
}

/// Runs `neti fleet`.
fn neti(host: &Host, arguments: &[&str]) -> Result {
    let config = host.config.to_string_lossy();
    let output = host.run_neti(&[&["fleet"], arguments, &["--config", &config]].concat())?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
