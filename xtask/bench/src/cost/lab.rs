//! The hosts that are measured: a pair without neti, and the same with it.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::{Context, Result};
use harness::{
    family::Family,
    figures,
    host::{Fleet, Host, start_all},
    netns::Netns,
    topology::{Lan, Site},
    traces::Traces,
};
use serde_json::json;

use super::server::Servers;
use crate::lab::{self, host_options};

/// How a client reaches its server.
pub struct Way {
    pub name: &'static str,
    pub client: Netns,
    pub server: Netns,
    /// The server's address, as it is dialled.
    pub address: IpAddr,
}

/// Everything. Dropped in this order: hosts undo themselves while their fleet still exists.
pub struct Lab {
    /// The family of all addresses.
    pub family: Family,
    pub left: Host,
    pub right: Host,
    pub fleet: Fleet,
    /// The network of `left` and `right`.
    pub lan: Lan,
    /// The pair without neti, and their network, whose bridge is between them.
    bare: (Lan, Site, Site),
    _servers: [Servers; 2],
}

impl Lab {
    /// All hosts and servers; neti runs and knows its peers.
    pub fn new(family: Family) -> Result<Self> {
        let bare = pair("bare", family)?;
        let (lan, left, right) = pair("ec2", family)?;
        let servers =
            [Servers::start(&bare.2.netns, family)?, Servers::start(&right.netns, family)?];
        let fleet = Fleet::new(family, json!({ "mode": "enforce", "identity": "overlay" }))?;
        let options = host_options("tcx");
        let mut left = fleet.host_with("left", &left, &options)?;
        let mut right = fleet.host_with("right", &right, &options)?;
        start_all(&mut [&mut left, &mut right])?;
        Ok(Self { family, left, right, fleet, lan, bare, _servers: servers })
    }

    /// What is compared; the first is what the others are compared with.
    pub fn ways(&self) -> Result<Vec<Way>> {
        let (_, client, server) = &self.bare;
        let between = |name, client: &Netns, server: &Netns, address| {
            let (client, server) = (client.clone(), server.clone());
            Way { name, client, server, address }
        };
        let (left, right) = (&self.left.site, &self.right.site);
        Ok(vec![
            between("bare", &client.netns, &server.netns, server.real(self.family)),
            between("overlay", &left.netns, &right.netns, self.right.overlay(self.family)),
            between("direct", &left.netns, &right.netns, right.real(self.family)),
        ])
    }

    /// Resident memory of each daemon, in KiB.
    pub fn memory(&self) -> Result<BTreeMap<String, u64>> {
        let resident = |host: &Host| {
            let pid = host.pid().with_context(|| format!("neti on {} does not run", host.name))?;
            Ok((host.name.clone(), figures::memory(pid)?.resident))
        };
        lab::Lab::hosts(self).into_iter().map(resident).collect()
    }
}

impl lab::Lab for Lab {
    fn hosts(&self) -> Vec<&Host> {
        vec![&self.left, &self.right]
    }

    fn traces(&self) -> Traces {
        Traces::of(&self.fleet, lab::Lab::hosts(self))
    }
}

/// Two hosts on a network of their own.
fn pair(network: &'static str, family: Family) -> Result<(Lan, Site, Site)> {
    let lan = Lan::new(network, family)?;
    let (left, right) = (lan.attach("left", 10)?, lan.attach("right", 11)?);
    Ok((lan, left, right))
}
