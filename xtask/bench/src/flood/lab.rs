//! What is flooded: the same two hosts again and again, with another filter.

use std::net::IpAddr;

use anyhow::{Context, Result};
use harness::{
    bpf::{self, Sieve},
    family::Family,
    figures,
    flood::{Flood, prefix},
    footprint::map_memory,
    host::{Fleet, Host, start_all},
    netns::Netns,
    topology::{Lan, Site, UPLINK},
    traces::Traces,
};
use serde_json::json;

use crate::lab::{self, host_options};

/// Two members, whose stream is measured, and the flood of the second one.
pub struct Arm {
    pub name: &'static str,
    pub client: Netns,
    pub server: Netns,
    /// The server's address, as it is dialled.
    pub to: IpAddr,
    /// Of what is still to be said.
    pub flood: Flood,
    filter: Filter,
    _lan: Lan,
}

/// What stands in the flood's way.
enum Filter {
    /// A program that drops the flood's prefix and nothing else, on both hosts.
    Sieve {
        server: Sieve,
        _client: Sieve,
    },
    Neti(Box<Neti>),
}

/// neti on both hosts, and their fleet. Dropped in this order: hosts undo themselves while their fleet still exists.
struct Neti {
    server: Host,
    client: Host,
    fleet: Fleet,
}

impl Arm {
    /// Packets that its filter has dropped.
    pub fn dropped(&mut self) -> Result<u64> {
        match &mut self.filter {
            Filter::Sieve { server, .. } => server.dropped(),
            Filter::Neti(neti) => neti
                .server
                .count_where(|counter| counter["hook"] != "egress" && counter["action"] == "drop"),
        }
    }

    fn new(
        name: &'static str,
        family: Family,
        filter: impl Fn(&Lan, [&Site; 2]) -> Result<(Filter, IpAddr)>,
    ) -> Result<Self> {
        let lan = Lan::new("ec2", family)?;
        let (left, right) = (lan.attach("left", 10)?, lan.attach("right", 11)?);
        let flooding = lan.attach("flooding", 66)?;
        let (filter, to) = filter(&lan, [&left, &right])?;
        let flood = Flood::between(&flooding, &right, family)?;
        Ok(Self { name, client: left.netns, server: right.netns, to, flood, filter, _lan: lan })
    }

    fn sieve(name: &'static str, family: Family, kind: bpf::Kind) -> Result<Self> {
        Self::new(name, family, |_, [left, right]| {
            let on = |site: &Site| Sieve::on(&site.netns, UPLINK, kind, family, prefix(family));
            let filter = Filter::Sieve { server: on(right)?, _client: on(left)? };
            Ok((filter, right.real(family)))
        })
    }

    fn neti(name: &'static str, family: Family, attach: &str) -> Result<Self> {
        Self::new(name, family, |_, [left, right]| {
            let fleet = Fleet::new(family, json!({ "mode": "enforce", "identity": "overlay" }))?;
            let options = host_options(attach);
            let mut client = fleet.host_with("left", left, &options)?;
            let mut server = fleet.host_with("right", right, &options)?;
            start_all(&mut [&mut client, &mut server])?;
            let to = server.overlay(family);
            Ok((Filter::Neti(Box::new(Neti { server, client, fleet })), to))
        })
    }
}

/// All arms.
pub struct Lab {
    pub arms: Vec<Arm>,
}

impl Lab {
    /// What neti is compared with comes first.
    pub fn new(family: Family) -> Result<Self> {
        Ok(Self {
            arms: vec![
                Arm::sieve("sieve, xdp", family, bpf::Kind::Xdp)?,
                Arm::sieve("sieve, tcx", family, bpf::Kind::SchedClassifier)?,
                Arm::neti("neti, xdp", family, "xdp")?,
                Arm::neti("neti, tcx", family, "tcx")?,
            ],
        })
    }

    /// What the flooded hosts' neti takes, by arm.
    pub fn memory(&self) -> Result<Vec<Memory>> {
        let memory = |arm: &Arm| match &arm.filter {
            Filter::Sieve { .. } => None,
            Filter::Neti(neti) => Some(Memory::of(arm.name, &neti.server)),
        };
        self.arms.iter().filter_map(memory).collect()
    }
}

impl lab::Lab for Lab {
    fn hosts(&self) -> Vec<&Host> {
        let mut hosts = Vec::new();
        for arm in &self.arms {
            if let Filter::Neti(neti) = &arm.filter {
                hosts.extend([&neti.server, &neti.client]);
            }
        }
        hosts
    }

    fn traces(&self) -> Traces {
        self.arms.iter().fold(Traces::default(), |traces, arm| match &arm.filter {
            Filter::Sieve { .. } => traces,
            Filter::Neti(neti) => traces.and(&neti.fleet, [&neti.server, &neti.client]),
        })
    }
}

/// What a host's neti takes.
pub struct Memory {
    pub arm: &'static str,
    /// Bytes of its maps.
    pub maps: u64,
    /// KiB of its daemon.
    pub resident: u64,
}

impl Memory {
    fn of(arm: &'static str, host: &Host) -> Result<Self> {
        let pid = host.pid().with_context(|| format!("neti on {} does not run", host.name))?;
        let resident = figures::memory(pid)?.resident;
        Ok(Self { arm, maps: map_memory(host)?, resident })
    }
}
