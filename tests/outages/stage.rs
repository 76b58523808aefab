//! Two hosts whose fleet is registered with real servers.

use std::{net::IpAddr, ops::DerefMut, time::Duration};

use anyhow::{bail, ensure};
use harness::{
    eventually,
    family::Family,
    fleet::{Operator, Served},
    host::{Fleet, Host, HostOptions, start_all},
    netns::Netns,
    servers::{Etcd, EtcdOptions, Server, ZooKeeper, ZooKeeperOptions},
    topology::{Pair, Site, pair},
};
use serde_json::{Value, json};

use crate::Result;

/// Seconds without a sign of life after which a host is gone. Outages are longer.
pub const TTL: f64 = 2.0;

/// A server of a registry.
pub trait Registry: DerefMut<Target = Server> + Sized {
    fn start_at(netns: &Netns, address: IpAddr) -> anyhow::Result<Self>;

    fn served(&self) -> Served;
}

impl Registry for Etcd {
    fn start_at(netns: &Netns, address: IpAddr) -> anyhow::Result<Self> {
        Self::start(netns, address, &EtcdOptions::default())
    }

    fn served(&self) -> Served {
        Served::etcd(&[self.endpoint()], self.operator().clone())
    }
}

impl Registry for ZooKeeper {
    fn start_at(netns: &Netns, address: IpAddr) -> anyhow::Result<Self> {
        Self::start(netns, address, &ZooKeeperOptions::default())
    }

    fn served(&self) -> Served {
        Served::zookeeper(&[self.endpoint()], self.operator())
    }
}

/// Dropped in this order: hosts leave while their registry still runs.
pub struct Stage<S> {
    pub left: Host,
    pub right: Host,
    pub fleet: Fleet,
    pub operator: Operator,
    pub server: S,
    /// Where the server is.
    pub site: Site,
    pub pair: Pair,
}

pub const FAMILY: Family = Family::V4;

/// Two hosts that know each other by one server.
pub fn stage<S: Registry>() -> anyhow::Result<Stage<S>> {
    stage_with(TTL)
}

/// The same with records that live for so many seconds.
pub fn stage_with<S: Registry>(ttl: f64) -> anyhow::Result<Stage<S>> {
    let pair = pair(FAMILY)?;
    let site = pair.lan.attach("server", 20)?;
    let server = S::start_at(&site.netns, site.real(FAMILY))?;
    let served = server.served();
    stage_for(pair, site, server, served, [ttl; 2])
}

/// The same by servers that run already.
pub fn stage_of<S>(pair: Pair, site: Site, server: S, served: Served) -> anyhow::Result<Stage<S>> {
    stage_for(pair, site, server, served, [TTL; 2])
}

/// The same with the ttl of left's record and of right's.
pub fn stage_for<S>(
    pair: Pair,
    site: Site,
    server: S,
    served: Served,
    ttls: [f64; 2],
) -> anyhow::Result<Stage<S>> {
    let operator = served.operator.clone();
    let fleet = Fleet::served(FAMILY, served, json!({ "mode": "enforce" }))?;
    let [of_left, of_right] = ttls.map(|ttl| HostOptions { ttl, ..HostOptions::default() });
    let mut left = fleet.host_with("left", &pair.left, &of_left)?;
    let mut right = fleet.host_with("right", &pair.right, &of_right)?;
    start_all(&mut [&mut left, &mut right])?;
    Ok(Stage { left, right, fleet, operator, server, site, pair })
}

impl<S> Stage<S> {
    pub fn hosts(&self) -> [&Host; 2] {
        [&self.left, &self.right]
    }

    /// Writes the registry in another way from now on.
    pub fn operate(&mut self, operator: Operator) {
        self.fleet.operate(operator.clone());
        self.operator = operator;
    }

    /// Pings between the members at 100 a second while `disturb` runs, and requires every answer.
    pub fn without_loss(&mut self, disturb: impl FnOnce(&mut Self) -> Result) -> Result {
        let (from, to) = (self.left.site.netns.clone(), self.right.overlay(FAMILY));
        harness::traffic::without_loss(&from, to, || disturb(self))
    }

    /// Records are lost so many times and nobody notices. They must be back within the guard's grace, which a busy
    /// machine may miss now and then, but not every time.
    pub fn survives_losses(&mut self, times: u8, lose: impl Fn(&mut Self) -> Result) -> Result {
        let mut unnoticed = 0;
        for _ in 0..10 {
            let lost = self.without_loss(|stage| {
                lose(stage)?;
                stage.knows_both()
            });
            self.left.await_members(&["right"]);
            self.right.await_members(&["left"]);
            self.hosts().into_iter().for_each(|host| self.is_registered(host));
            match lost {
                Ok(()) => unnoticed += 1,
                Err(error) => println!("{error:#}"),
            }
            if unnoticed == times {
                return self.converges(61);
            }
        }
        bail!("of 10 losses {unnoticed} went unnoticed");
    }

    /// Both hosts say since when they have not heard from their registry, and go on with what they know for longer than
    /// any record lives.
    pub fn goes_stale(&self) -> Result {
        for host in self.hosts() {
            says(host, "it is stale", |status| !status["stale"].is_null());
            let stale = host.show("status")?["stale"].clone();
            ensure!(stale["since"].as_u64().is_some_and(|since| since > 1_700_000_000), "{stale}");
            ensure!(stale["why"].as_str().is_some_and(|why| !why.is_empty()), "{stale}");
        }
        std::thread::sleep(Duration::from_secs_f64(TTL * 1.5));
        self.knows_both()
    }

    /// Nobody is forgotten.
    pub fn knows_both(&self) -> Result {
        for (host, other) in [(&self.left, "right"), (&self.right, "left")] {
            ensure!(host.members()? == [other], "{} knows {:?}", host.name, host.members()?);
        }
        Ok(())
    }

    /// The outage is over: both are registered with the addresses they had, and hear what is new.
    pub fn converges(&self, newcomer: u8) -> Result {
        let begun = std::time::Instant::now();
        for host in self.hosts() {
            says(host, "it is well", |status| {
                status["stale"].is_null() && status["registration"].is_null()
            });
            self.is_registered(host);
        }
        let name = format!("newcomer-{newcomer}");
        let real = harness::topology::LAN.host(FAMILY, newcomer);
        self.fleet.add_member(&name, FAMILY.ghost(newcomer), "ec2", real)?;
        self.left.await_members(&[&name, "right"]);
        self.right.await_members(&["left", &name]);
        println!("converged {:.1} s after the outage", begun.elapsed().as_secs_f64());
        self.fleet.remove_member(&name)?;
        self.left.await_members(&["right"]);
        self.right.await_members(&["left"]);
        Ok(())
    }

    /// Waits until the registry has the host's record with its address.
    pub fn is_registered(&self, host: &Host) {
        let overlay = json!([host.overlay(FAMILY)]);
        eventually(&format!("{} is registered with {overlay}", host.name), || {
            let record = self.operator.get(&format!("members/{}", host.name));
            let record = record.ok().flatten().unwrap_or_default();
            let record: Value = serde_json::from_str(&record).unwrap_or_default();
            record["overlays"] == overlay
        });
    }
}

/// Waits until the host's status is right.
pub fn says(host: &Host, what: &str, right: impl Fn(&Value) -> bool) {
    let mut status = Value::Null;
    eventually(&format!("{} says that {what}", host.name), || {
        status = host.show("status").unwrap_or_default();
        !status.is_null() && right(&status)
    });
}
