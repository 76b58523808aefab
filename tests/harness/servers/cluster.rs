//! Three or more servers that keep one registry.

use std::net::IpAddr;

use anyhow::{Context, Result};

use super::{
    Etcd, EtcdOptions, ZooKeeper, ZooKeeperOptions,
    etcd::{Member, initial},
    zookeeper,
};
use crate::{PATIENCE, netns::Netns, within};

/// A cluster of etcd.
#[derive(Debug)]
pub struct EtcdCluster {
    pub nodes: Vec<Etcd>,
}

impl EtcdCluster {
    /// Starts a node at each of these places.
    pub fn start(places: &[(&Netns, IpAddr)], options: &EtcdOptions) -> Result<Self> {
        let names: Vec<_> = (1..=places.len()).map(|number| format!("etcd-{number}")).collect();
        let initial = names.iter().zip(places).map(|(name, (_, address))| initial(name, *address));
        let cluster = initial.collect::<Vec<_>>().join(",");
        let mut nodes = Vec::new();
        for (name, (netns, address)) in names.iter().zip(places) {
            // A leader that is short of processor time for less than half a second stays the leader.
            let (address, heartbeat) = (*address, 50);
            let member = Member { name, netns, address, cluster: &cluster, heartbeat };
            let mut node = Etcd::new(&member, options)?;
            node.launch()?;
            nodes.push(node);
        }
        for node in &mut nodes {
            node.wait_ready()?;
        }
        let mut cluster = Self { nodes };
        if let Some(password) = &options.root_password {
            cluster.enable_auth(password)?;
        }
        Ok(cluster)
    }

    /// The URLs of all nodes.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(Etcd::endpoint).collect()
    }

    /// The number of the node that leads; waits for an election to end.
    pub fn leader(&self) -> Result<usize> {
        leader("etcd", &self.nodes, |node| node.is_running() && node.leads())
    }

    fn enable_auth(&mut self, password: &str) -> Result<()> {
        let mut nodes = self.nodes.iter_mut();
        let first = nodes.next().context("a cluster has a node")?.operator_mut();
        first.enable_auth(password)?;
        let user = first.user.clone();
        nodes.for_each(|node| node.operator_mut().user.clone_from(&user));
        Ok(())
    }
}

/// An ensemble of ZooKeeper.
#[derive(Debug)]
pub struct Ensemble {
    pub nodes: Vec<ZooKeeper>,
}

impl Ensemble {
    /// Starts a node at each of these places.
    pub fn start(places: &[(&Netns, IpAddr)], options: &ZooKeeperOptions) -> Result<Self> {
        let addresses: Vec<_> = places.iter().map(|(_, address)| *address).collect();
        let mut nodes = Vec::new();
        for (number, (netns, _)) in places.iter().enumerate() {
            let member = zookeeper::Member { netns, addresses: &addresses, number };
            let mut node = ZooKeeper::new(&member, options)?;
            node.launch()?;
            nodes.push(node);
        }
        for node in &mut nodes {
            node.wait_ready()?;
        }
        Ok(Self { nodes })
    }

    /// `ADDRESS:PORT` of all nodes.
    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(ZooKeeper::endpoint).collect()
    }

    /// The number of the node that leads; waits for an election to end.
    pub fn leader(&self) -> Result<usize> {
        leader("ZooKeeper", &self.nodes, |node| node.is_running() && node.leads())
    }
}

fn leader<T>(what: &str, nodes: &[T], leads: impl Fn(&T) -> bool) -> Result<usize> {
    let mut leader = None;
    within(PATIENCE, || {
        leader = nodes.iter().position(&leads);
        leader.is_some()
    });
    leader
        .with_context(|| format!("{what}: none of {} nodes leads after {PATIENCE:?}", nodes.len()))
}
