//! What only ZooKeeper does: sessions.

use anyhow::Context;
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
    stage::<ZooKeeper>()?.survives_losses(|stage| {
        let owner = kazoo(stage).owner("/neti/members/right")?;
        let before = owner.context("the record is of a session")?;
        kazoo(stage).expire(before)?;
        eventually("right has another session", || {
            let owner = kazoo(stage).owner("/neti/members/right").ok().flatten();
            owner.is_some_and(|owner| owner != before)
        });
        Ok(())
    })
}

/// Every session there is, those that follow the fleet too.
#[test]
fn all_sessions_expire() -> Result {
    stage::<ZooKeeper>()?.survives_losses(|stage| {
        let mut owners = Vec::new();
        for host in stage.hosts() {
            let path = format!("/neti/members/{}", host.name);
            let before = kazoo(stage).owner(&path)?.context("the record is of a session")?;
            let sessions = stage.server.sessions(host.real(FAMILY))?;
            for session in sessions.into_iter().chain([before]) {
                // One that asked a question only is over meanwhile.
                let _ = kazoo(stage).expire(session);
            }
            owners.push((path, before));
        }
        for (path, before) in owners {
            eventually(&format!("{path} is of another session"), || {
                let owner = kazoo(stage).owner(&path).ok().flatten();
                owner.is_some_and(|owner| owner != before)
            });
        }
        Ok(())
    })
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
