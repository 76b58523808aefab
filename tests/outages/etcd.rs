//! What only etcd does: leases, compaction, quotas, users.

use anyhow::{Context, ensure};
use harness::{
    eventually,
    fleet::{Operator, Served},
    host::{Fleet, HostOptions, start_all},
    servers::{Cut, Etcd, EtcdCtl, EtcdOptions},
    topology::{LAN, pair},
};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    Result,
    stage::{FAMILY, Stage, TTL, says, stage, stage_for, stage_of, stage_with},
};

fn etcd(stage: &Stage<Etcd>) -> &EtcdCtl {
    match &stage.operator {
        Operator::Etcd(etcd) => etcd,
        Operator::ZooKeeper(_) => unreachable!("the stage is etcd's"),
    }
}

/// The record of a host as it stands: its lease and when it was written.
fn written(stage: &Stage<Etcd>, name: &str) -> anyhow::Result<Option<(i64, i64)>> {
    let pairs = etcd(stage).list(&format!("/neti/members/{name}"))?;
    Ok(pairs.first().map(|pair| (pair.lease, pair.revision)))
}

#[test]
fn a_lease_is_lost() -> Result {
    stage::<Etcd>()?.survives_losses(3, |stage| {
        let before = written(stage, "right")?;
        let (lease, _) = before.context("right is registered")?;
        ensure!(lease != 0, "the record is under a lease");
        etcd(stage).revoke(lease)?;
        eventually("right is registered again", || {
            written(stage, "right").is_ok_and(|now| now.is_some() && now != before)
        });
        Ok(())
    })
}

/// What hosts missed is gone from the history when they come back: they list.
#[test]
fn history_is_compacted_during_an_outage() -> Result {
    // Who is cut off for longer than its record lives is gone for the others.
    stage_with::<Etcd>(60.0)?.without_loss(|stage| {
        stage.fleet.add_member("old", FAMILY.ghost(1), "ec2", LAN.host(FAMILY, 71))?;
        stage.left.await_members(&["old", "right"]);
        let cut = Cut::between(&stage.pair.left.netns, &[stage.site.real(FAMILY)])?;
        says(&stage.left, "it is stale", |status| !status["stale"].is_null());
        stage.fleet.remove_member("old")?;
        stage.fleet.add_member("new", FAMILY.ghost(2), "ec2", LAN.host(FAMILY, 72))?;
        for number in 0..100 {
            etcd(stage).put("/neti/elsewhere", &number.to_string())?;
        }
        etcd(stage).compact()?;
        ensure!(stage.left.members()? == ["old", "right"]);
        cut.heal()?;
        stage.left.await_members(&["new", "right"]);
        stage.fleet.remove_member("new")?;
        stage.converges(61)
    })
}

/// An etcd over its quota takes no writes: who is registered stays, and who comes back says what is wrong.
#[test]
fn the_database_is_full() -> Result {
    let pair = pair(FAMILY)?;
    let site = pair.lan.attach("server", 20)?;
    let options = EtcdOptions { quota_bytes: Some(2 << 20), ..EtcdOptions::default() };
    let server = Etcd::start(&site.netns, site.real(FAMILY), &options)?;
    let served = Served::etcd(&[server.endpoint()], server.operator().clone());
    // The record that right leaves behind holds until there is space for the one of its next start. Left's must be
    // renewed, and one that is lost on a busy machine has no place either.
    let ttl = 10.0;
    let mut stage = stage_for(pair, site, server, served, [ttl, 60.0])?;
    stage.without_loss(|stage| {
        let filling = "x".repeat(100_000);
        let full = (0..100).any(|n| etcd(stage).put(&format!("/other/{n}"), &filling).is_err());
        ensure!(full, "etcd has a quota");
        ensure!(etcd(stage).alarms()?.contains("NOSPACE"), "it says so");
        std::thread::sleep(std::time::Duration::from_secs_f64(ttl * 1.5));
        stage.knows_both()?;
        // Its dataplane comes up all the same, and it tells what it lacks.
        stage.right.stop(Signal::SIGKILL)?;
        stage.right.start()?;
        stage.knows_both()?;
        says(&stage.right, "its record has no place", |status| {
            status["registration"].as_str().is_some_and(|wrong| wrong.contains("space"))
        });
        etcd(stage).delete_prefix("/other/")?;
        etcd(stage).compact()?;
        etcd(stage).defrag()?;
        etcd(stage).disarm()?;
        stage.converges(61)
    })
}

/// The user's password is changed under running hosts, which take the new one from their file.
#[test]
fn the_password_is_changed() -> Result {
    let pair = pair(FAMILY)?;
    let site = pair.lan.attach("server", 20)?;
    let options = EtcdOptions {
        root_password: Some("root".to_owned()),
        token_seconds: Some(2),
        ..EtcdOptions::default()
    };
    let server = Etcd::start(&site.netns, site.real(FAMILY), &options)?;
    let operator = server.operator().clone();
    operator.add_user("neti", Some("first"), &[("readwrite", "/neti/")])?;
    let mut served = Served::etcd(&[server.endpoint()], operator.clone());
    let secret = tempfile::NamedTempFile::new()?;
    std::fs::write(secret.path(), "first\n")?;
    served.table += &format!("user = \"neti\"\npassword_file = \"{}\"\n", secret.path().display());
    let mut stage = stage_of(pair, site, server, served)?;
    stage.without_loss(|stage| {
        operator.feed(&["user", "passwd", "neti", "--interactive=false"], "second\n")?;
        // Whatever was granted to the old password ends with the server's memory of it.
        stage.server.restart()?;
        for host in stage.hosts() {
            says(host, "it is refused", |status| {
                let text = [&status["stale"]["why"], &status["registration"]];
                // Not that the server was away, which names the user too.
                let refused = |why: &str| why.contains("authentication failed");
                text.iter().any(|why| why.as_str().is_some_and(refused))
            });
        }
        stage.knows_both()?;
        std::fs::write(secret.path(), "second\n")?;
        stage.converges(61)
    })
}

/// A host with wrong credentials that knows nothing of its fleet says so at once and leaves nothing behind.
#[test]
fn a_wrong_password_is_told() -> Result {
    let pair = pair(FAMILY)?;
    let site = pair.lan.attach("server", 20)?;
    let options = EtcdOptions { root_password: Some("root".to_owned()), ..EtcdOptions::default() };
    let server = Etcd::start(&site.netns, site.real(FAMILY), &options)?;
    let operator = server.operator().clone();
    operator.add_user("neti", Some("right"), &[("readwrite", "/neti/")])?;
    let mut served = Served::etcd(&[server.endpoint()], operator);
    let secret = tempfile::NamedTempFile::new()?;
    std::fs::write(secret.path(), "wrong\n")?;
    served.table += &format!("user = \"neti\"\npassword_file = \"{}\"\n", secret.path().display());
    let fleet = Fleet::served(FAMILY, served, json!({}))?;
    let mut host = fleet.host("left", &pair.left)?;
    harness::footprint::fails(&mut host, &["etcd", "neti", "password"])?;
    std::fs::write(secret.path(), "right\n")?;
    host.start()
}

/// A host's user may write its own record only; an operator claims its address.
#[test]
fn a_host_can_write_only_its_own_record() -> Result {
    let pair = pair(FAMILY)?;
    let site = pair.lan.attach("server", 20)?;
    let options = EtcdOptions { root_password: Some("root".to_owned()), ..EtcdOptions::default() };
    let server = Etcd::start(&site.netns, site.real(FAMILY), &options)?;
    let operator = server.operator().clone();
    let served = Served::etcd(&[server.endpoint()], operator.clone());
    let fleet = Fleet::served(FAMILY, served.clone(), json!({ "mode": "enforce" }))?;
    let secret = tempfile::NamedTempFile::new()?;
    let mut hosts = Vec::new();
    for (name, site) in [("left", &pair.left), ("right", &pair.right)] {
        operator.add_user(
            name,
            Some("secret"),
            &[("read", "/neti/"), ("readwrite", &format!("/neti/members/{name}"))],
        )?;
        std::fs::write(secret.path(), "secret\n")?;
        let credentials =
            format!("user = \"{name}\"\npassword_file = \"{}\"\n", secret.path().display());
        let registry = Some(served.table.clone() + &credentials);
        let options = HostOptions { ttl: TTL, registry, ..HostOptions::default() };
        hosts.push(fleet.host_with(name, site, &options)?);
    }
    let [left, right] = &mut hosts[..] else { unreachable!("two hosts") };
    harness::footprint::fails(left, &["neti fleet claim left", "overlays/"])
        .context("without a claim")?;
    let root = root_config(&fleet, &pair.left, &served)?;
    for name in ["left", "right"] {
        let output = left.run_neti(&["fleet", "claim", name, "--config", &root])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    start_all(&mut [left, right])?;
    let as_left = EtcdCtl { user: Some("left:secret".to_owned()), ..operator };
    for key in ["members/right", "overlays/100.64.0.9", "hosts/left", "fleet", "confirmed"] {
        let key = format!("/neti/{key}");
        ensure!(as_left.put(&key, "{}").is_err(), "left may write {key}");
        ensure!(as_left.delete(&key).is_err(), "left may delete {key}");
    }
    right.await_members(&["left"]);
    Ok(())
}

/// A configuration with the operator's own credentials.
fn root_config(
    fleet: &Fleet,
    site: &harness::topology::Site,
    served: &Served,
) -> anyhow::Result<String> {
    let secret = fleet.dir().join("root");
    std::fs::write(&secret, "root\n")?;
    let credentials = format!("user = \"root\"\npassword_file = \"{}\"\n", secret.display());
    let registry = Some(served.table.clone() + &credentials);
    let host =
        fleet.host_with("operator", site, &HostOptions { registry, ..HostOptions::default() })?;
    let config = host.config.to_string_lossy().into_owned();
    Ok(config)
}
