//! What only ZooKeeper does: sessions.

use anyhow::{Context, ensure};
use harness::{
    eventually,
    fleet::{Operator, Served},
    servers::{Kazoo, ZooKeeper, ZooKeeperOptions},
    topology::pair,
};

use crate::{
    Result,
    stage::{FAMILY, Stage, says, stage, stage_of},
};

fn kazoo(stage: &Stage<ZooKeeper>) -> &Kazoo {
    match &stage.operator {
        Operator::ZooKeeper(kazoo) => kazoo,
        Operator::Etcd(_) => unreachable!("the stage is ZooKeeper's"),
    }
}

#[test]
fn a_session_expires() -> Result {
    stage::<ZooKeeper>()?.survives_losses(3, |stage| {
        let before = owner(stage, "right")?;
        kazoo(stage).expire(before)?;
        is_of_another(stage, "right", before);
        Ok(())
    })
}

/// Every session there is, those that follow the fleet too.
#[test]
fn all_sessions_expire() -> Result {
    stage::<ZooKeeper>()?.survives_losses(1, |stage| {
        let (mut all, mut owners) = (Vec::new(), Vec::new());
        for host in stage.hosts() {
            let sessions = stage.server.sessions(host.real(FAMILY))?;
            let own = owner(stage, &host.name)?;
            ensure!(sessions.contains(&own), "{}: {own:x} is none of {sessions:x?}", host.name);
            ensure!(sessions.len() > 1, "{}: nothing follows: {sessions:x?}", host.name);
            all.extend(sessions);
            owners.push((host.name.clone(), own));
        }
        // First those that follow: their end is an outage, after which records are waited for.
        let of_record = |id: &u64| owners.iter().any(|(_, own)| own == id);
        all.sort_by_key(of_record);
        for session in &all {
            // One that asked a question only may be over by itself.
            let _ = kazoo(stage).expire(*session);
        }
        for host in stage.hosts() {
            let left = stage.server.sessions(host.real(FAMILY))?;
            ensure!(!all.iter().any(|id| left.contains(id)), "of {all:x?} there are {left:x?}");
        }
        for (name, before) in owners {
            is_of_another(stage, &name, before);
        }
        Ok(())
    })
}

/// The session of a host's record.
fn owner(stage: &Stage<ZooKeeper>, name: &str) -> anyhow::Result<u64> {
    let owner = kazoo(stage).owner(&format!("/neti/members/{name}"))?;
    owner.context("the record is of a session")
}

/// Waits until a host's record is of another session.
fn is_of_another(stage: &Stage<ZooKeeper>, name: &str, before: u64) {
    eventually(&format!("{name}'s record is of another session"), || {
        owner(stage, name).is_ok_and(|owner| owner != before)
    });
}

/// A server grants sessions of 20 ticks at the most: whoever asks for more is told.
#[test]
fn a_session_shorter_than_asked_for_is_told() -> Result {
    let pair = pair(FAMILY)?;
    let site = pair.lan.attach("server", 20)?;
    let options = ZooKeeperOptions { max_session: Some(1000), ..ZooKeeperOptions::default() };
    let server = ZooKeeper::start(&site.netns, site.real(FAMILY), &options)?;
    let served = Served::zookeeper(&[server.endpoint()], server.operator());
    let stage = stage_of(pair, site, server, served)?;
    says(&stage.left, "its session is shorter", |status| {
        let wrong = status["registration"].as_str().unwrap_or_default();
        wrong.contains("1 s") && wrong.contains("2 s")
    });
    stage.left.await_members(&["right"]);
    Ok(())
}
