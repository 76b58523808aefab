//! Three servers, of which one leads.

use std::net::IpAddr;

use anyhow::Context;
use harness::{
    fleet::Served,
    netns::Netns,
    servers::{Cut, Ensemble, EtcdCluster, EtcdCtl, EtcdOptions, Kazoo, Server, ZooKeeperOptions},
    topology::{Site, pair},
};

use crate::{
    Result,
    stage::{FAMILY, Stage, TTL, stage_for},
};

trait Cluster: Sized {
    fn start_at(places: &[(&Netns, IpAddr)]) -> anyhow::Result<Self>;

    /// How it is reached, by an operator who stays away from the server with this number.
    fn served(&self, without: usize) -> Served;

    /// The number of the server that leads, once one does.
    fn leads(&self) -> anyhow::Result<usize>;

    fn node(&mut self, number: usize) -> &mut Server;
}

impl Cluster for EtcdCluster {
    fn start_at(places: &[(&Netns, IpAddr)]) -> anyhow::Result<Self> {
        Self::start(places, &EtcdOptions::default())
    }

    fn served(&self, without: usize) -> Served {
        let operator = self.nodes[(without + 1) % 3].operator().clone();
        let endpoints = others(self.endpoints(), without);
        Served::etcd(&self.endpoints(), EtcdCtl { endpoints, ..operator })
    }

    fn leads(&self) -> anyhow::Result<usize> {
        self.leader()
    }

    fn node(&mut self, number: usize) -> &mut Server {
        &mut self.nodes[number]
    }
}

impl Cluster for Ensemble {
    fn start_at(places: &[(&Netns, IpAddr)]) -> anyhow::Result<Self> {
        Self::start(places, &ZooKeeperOptions::default())
    }

    fn served(&self, without: usize) -> Served {
        let operator = self.nodes[(without + 1) % 3].operator();
        let hosts = others(self.endpoints(), without);
        Served::zookeeper(&self.endpoints(), Kazoo { hosts, ..operator })
    }

    fn leads(&self) -> anyhow::Result<usize> {
        self.leader()
    }

    fn node(&mut self, number: usize) -> &mut Server {
        &mut self.nodes[number]
    }
}

/// The endpoints but for that of one server, as operators' tools take them.
fn others(mut endpoints: Vec<String>, without: usize) -> String {
    endpoints.remove(without);
    endpoints.join(",")
}

/// Two hosts that know each other by three servers, and where these are. Their records live for so many seconds.
fn three<C: Cluster>(ttl: f64) -> anyhow::Result<(Stage<C>, Vec<Site>)> {
    let pair = pair(FAMILY)?;
    let sites = (21..24).map(|last| pair.lan.attach(&format!("server-{last}"), last));
    let sites: Vec<Site> = sites.collect::<anyhow::Result<_>>()?;
    let places: Vec<_> = sites.iter().map(|site| (&site.netns, site.real(FAMILY))).collect();
    let cluster = C::start_at(&places)?;
    let served = cluster.served(cluster.leads()?);
    let site = sites.first().context("three sites")?.clone();
    Ok((stage_for(pair, site, cluster, served, [ttl; 2])?, sites))
}

/// Where the leader was no more is heard of, another one leads, and the hosts find it. A server that is alone cannot
/// decide anything, and is not taken at its word.
fn a_leader_is_lost<C: Cluster>() -> Result {
    // Longer than a busy machine takes to elect another leader: records end with the one that renewed them.
    let (mut stage, sites) = three::<C>(10.0)?;
    stage.without_loss(|stage| {
        let leader = stage.server.leads()?;
        stage.server.node(leader).kill();
        stage.knows_both()?;
        stage.converges(61)?;
        stage.server.node(leader).restart()?;
        stage.converges(62)?;
        let leader = stage.server.leads()?;
        stage.operate(stage.server.served(leader).operator);
        let cut = Cut::off(&sites[leader].netns)?;
        stage.converges(63)?;
        cut.heal()
    })
}

/// Without a majority nobody can register, and nobody is forgotten.
fn the_majority_is_lost<C: Cluster>() -> Result {
    let (mut stage, _sites) = three::<C>(TTL)?;
    stage.without_loss(|stage| {
        let leader = stage.server.leads()?;
        let lost = [leader, (leader + 1) % 3];
        lost.iter().for_each(|node| stage.server.node(*node).kill());
        stage.goes_stale()?;
        lost.iter().try_for_each(|node| stage.server.node(*node).launch())?;
        lost.iter().try_for_each(|node| stage.server.node(*node).wait_ready())?;
        stage.converges(61)
    })
}

#[test]
fn etcd_loses_its_leader() -> Result {
    a_leader_is_lost::<EtcdCluster>()
}

#[test]
fn etcd_loses_its_majority() -> Result {
    the_majority_is_lost::<EtcdCluster>()
}

#[test]
fn zookeeper_loses_its_leader() -> Result {
    a_leader_is_lost::<Ensemble>()
}

#[test]
fn zookeeper_loses_its_majority() -> Result {
    the_majority_is_lost::<Ensemble>()
}
