//! ZooKeeper.

use std::{net::SocketAddr, process::Stdio, slice};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE, eventually,
    family::Family,
    in_each_family,
    servers::{Acl, ClientTls, Ensemble, Kazoo, Pki, ZooKeeper, ZooKeeperOptions},
    traffic::dial,
};

use crate::{
    Result,
    stage::{IMPATIENT, Stage, outlive, places, stage, three},
};

in_each_family!(
    a_session_is_found_and_expired,
    it_lets_in_who_has_a_certificate,
    it_outlives_a_crash
);

fn start(stage: &Stage, options: &ZooKeeperOptions) -> anyhow::Result<ZooKeeper> {
    ZooKeeper::start(&stage.server.netns, stage.address, options)
}

fn it_outlives_a_crash(family: Family) -> Result {
    let stage = stage(family)?;
    let mut zookeeper = start(&stage, &ZooKeeperOptions::default())?;
    zookeeper.operator().put("/neti/fleet", "{}")?;
    let beside = Kazoo::new(&stage.client.netns, &zookeeper.endpoint());
    ensure!(beside.get("/neti/fleet")?.as_deref() == Some("{}"));
    outlive(&mut zookeeper, SocketAddr::new(stage.address, 2181), |zookeeper| {
        zookeeper.operator().get("/neti/fleet")
    })
}

fn it_lets_in_who_has_a_certificate(family: Family) -> Result {
    let stage = stage(family)?;
    let pki = Pki::new()?;
    let tls = Some(pki.server(&[&stage.address.to_string()], true)?);
    let zookeeper = start(&stage, &ZooKeeperOptions { tls, ..ZooKeeperOptions::default() })?;
    zookeeper.operator().put("/x", "y")?;
    let kazoo = Kazoo::new(&stage.client.netns, &zookeeper.endpoint());
    let refused = |tls: Option<ClientTls>| {
        Kazoo { tls, patience: IMPATIENT, ..kazoo.clone() }.get("/x").is_err()
    };
    ensure!(refused(Some(pki.stranger())), "without a certificate");
    ensure!(refused(None), "without TLS");
    let member = Kazoo { tls: Some(pki.client("neti")?), ..kazoo.clone() };
    ensure!(member.get("/x")?.as_deref() == Some("y"));
    let plain = dial(&stage.client.netns, None, SocketAddr::new(stage.address, 2181), PATIENCE);
    ensure!(plain.is_err(), "the port without TLS is the operator's alone");
    Ok(())
}

#[test]
fn an_operator_reads_and_changes_it() -> Result {
    let stage = stage(Family::V4)?;
    let zookeeper = start(&stage, &ZooKeeperOptions::default())?;
    let operator = zookeeper.operator();
    operator.put_all([("/top", "0"), ("/neti/members/a", "1"), ("/neti/members/b", "2")])?;
    ensure!(operator.get("/top")?.as_deref() == Some("0"));
    ensure!(operator.ls("/neti/members")? == ["a", "b"]);
    let reader = stage.client.real(Family::V4).to_string();
    let acl = Acl { permissions: 1, scheme: "ip".to_owned(), id: reader };
    operator.set_acl("/neti/members/a", slice::from_ref(&acl))?;
    ensure!(operator.acl("/neti/members/a")? == [acl]);
    let beside = Kazoo::new(&stage.client.netns, &zookeeper.endpoint());
    ensure!(beside.get("/neti/members/a")?.as_deref() == Some("1"));
    ensure!(beside.put("/neti/members/a", "3").is_err(), "a reader writes");
    operator.put("/neti/members/a", "3")?;
    operator.delete("/neti")?;
    operator.delete("/neti")?;
    ensure!(operator.get("/neti/members/a")?.is_none() && operator.ls("/neti")?.is_empty());
    Ok(())
}

#[test]
fn an_ensemble_elects_another_leader() -> Result {
    let (_lan, sites) = three()?;
    let mut ensemble = Ensemble::start(&places(&sites), &ZooKeeperOptions::default())?;
    let first = ensemble.leader()?;
    ensemble.nodes[first].operator().put("/x", "y")?;
    ensemble.nodes[first].kill();
    let second = ensemble.leader()?;
    ensure!(second != first);
    ensemble.nodes[first].restart()?;
    let everywhere = Kazoo::new(&sites[0].netns, &ensemble.endpoints().join(","));
    ensure!(everywhere.get("/x")?.as_deref() == Some("y"));
    Ok(())
}

/// Makes the ephemeral node `/member`.
const MEMBER: &str = "
import sys, time
from kazoo.client import KazooClient
client = KazooClient(sys.argv[1])
client.start()
client.create('/member', ephemeral=True)
time.sleep(1000)
";

fn a_session_is_found_and_expired(family: Family) -> Result {
    let stage = stage(family)?;
    let zookeeper = start(
        &stage,
        &ZooKeeperOptions {
            min_session: Some(30_000),
            max_session: Some(60_000),
            ..ZooKeeperOptions::default()
        },
    )?;
    let operator = zookeeper.operator();
    let mut command = stage.client.netns.command("/usr/bin/python3");
    // It says on standard error that its session is over.
    command.args(["-c", MEMBER, &zookeeper.endpoint()]).stderr(Stdio::null());
    let _member = stage.client.netns.spawn(command)?;
    let mut owner = None;
    eventually("the member's node", || {
        owner = operator.owner("/member").ok().flatten();
        owner.is_some()
    });
    let session = owner.context("the node has an owner")?;
    ensure!(zookeeper.sessions(stage.client.real(family))? == [session]);
    let sessions = zookeeper.ask("cons")?;
    ensure!(sessions.contains("to=30000,"), "it asked for less than the shortest: {sessions}");
    operator.expire(session)?;
    ensure!(operator.owner("/member")?.is_none(), "its node is gone");
    ensure!(operator.expire(session).is_err(), "a session ends once");
    Ok(())
}
