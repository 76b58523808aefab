//! Three servers, of which one leads.

use anyhow::Context;
use harness::{
    fleet::Served,
    servers::{Cut, Ensemble, EtcdCluster, EtcdOptions, ZooKeeperOptions},
    topology::{Site, pair},
};

use crate::{
    Result,
    stage::{FAMILY, stage_of},
};

fn sites(pair: &harness::topology::Pair) -> anyhow::Result<Vec<Site>> {
    (21..24).map(|last| pair.lan.attach(&format!("server-{last}"), last)).collect()
}

/// Where the leader was no more is heard of, another one leads, and the hosts find it.
#[test]
fn etcd_loses_its_leader() -> Result {
    let pair = pair(FAMILY)?;
    let sites = sites(&pair)?;
    let places: Vec<_> = sites.iter().map(|site| (&site.netns, site.real(FAMILY))).collect();
    let cluster = EtcdCluster::start(&places, &EtcdOptions::default())?;
    let operator = harness::servers::EtcdCtl {
        endpoints: cluster.endpoints().join(","),
        ..cluster.nodes[0].operator().clone()
    };
    let served = Served::etcd(&cluster.endpoints(), operator);
    let site = sites.first().context("three sites")?.clone();
    let mut stage = stage_of(pair, site, cluster, served)?;
    stage.without_loss(|stage| {
        let leader = stage.server.leader()?;
        stage.server.nodes[leader].kill();
        stage.knows_both()?;
        stage.converges(61)?;
        stage.server.nodes[leader].restart()?;
        stage.converges(62)?;
        // A server that is alone cannot decide anything, and must not be taken at its word.
        let cut = Cut::off(&sites[stage.server.leader()?].netns)?;
        stage.converges(63)?;
        cut.heal()
    })?;
    // Without a majority nobody can register, and nobody is forgotten.
    stage.without_loss(|stage| {
        let leader = stage.server.leader()?;
        let lost = [leader, (leader + 1) % 3];
        lost.iter().for_each(|node| stage.server.nodes[*node].kill());
        stage.goes_stale()?;
        lost.iter().try_for_each(|node| stage.server.nodes[*node].launch())?;
        lost.iter().try_for_each(|node| stage.server.nodes[*node].wait_ready())?;
        stage.converges(64)
    })
}

#[test]
fn zookeeper_loses_its_leader() -> Result {
    let pair = pair(FAMILY)?;
    let sites = sites(&pair)?;
    let places: Vec<_> = sites.iter().map(|site| (&site.netns, site.real(FAMILY))).collect();
    let ensemble = Ensemble::start(&places, &ZooKeeperOptions::default())?;
    let operator = harness::servers::Kazoo {
        hosts: ensemble.endpoints().join(","),
        ..ensemble.nodes[0].operator()
    };
    let served = Served::zookeeper(&ensemble.endpoints(), operator);
    let site = sites.first().context("three sites")?.clone();
    let mut stage = stage_of(pair, site, ensemble, served)?;
    stage.without_loss(|stage| {
        let leader = stage.server.leader()?;
        stage.server.nodes[leader].kill();
        stage.knows_both()?;
        stage.converges(61)?;
        stage.server.nodes[leader].restart()?;
        stage.converges(62)?;
        let leader = stage.server.leader()?;
        let lost = [leader, (leader + 1) % 3];
        lost.iter().for_each(|node| stage.server.nodes[*node].kill());
        stage.goes_stale()?;
        lost.iter().try_for_each(|node| stage.server.nodes[*node].launch())?;
        lost.iter().try_for_each(|node| stage.server.nodes[*node].wait_ready())?;
        stage.converges(63)
    })
}
