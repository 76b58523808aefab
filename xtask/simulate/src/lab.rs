//! The one host, the registry and what is between them.

use anyhow::Result;
use harness::{
    family::Family,
    host::{Fleet, Host, HostOptions},
    netns::Netns,
    topology::{LAN, Lan},
    traces::Traces,
};
use serde_json::json;

use crate::{
    registry::{Kind, Server},
    synthetic::{HERE, OWN_RANGE},
};

/// Everything. Dropped in this order: the host leaves a registry that still serves.
pub struct Lab {
    pub host: Host,
    pub server: Server,
    /// From where records are written.
    pub operator: Netns,
    fleet: Fleet,
    _lan: Lan,
}

impl Lab {
    /// The registry serves, and is empty; neti is not started.
    pub fn new(kind: Kind) -> Result<Self> {
        let family = Family::V4;
        let lan = Lan::new(HERE, family)?;
        let (site, place) = (lan.attach("host", 10)?, lan.attach("registry", 20)?);
        let fleet = Fleet::new(family, json!({ "overlay": [OWN_RANGE] }))?;
        let at = LAN.host(family, 20);
        let server = Server::start(kind, &place.netns, at, fleet.registry())?;
        let options = HostOptions {
            // A directory's members show no sign of life after they were written.
            ttl: if kind == Kind::Directory { 86_400.0 } else { 10.0 },
            registry: Some(server.table()),
            ..HostOptions::default()
        };
        let host = fleet.host_with("simulated", &site, &options)?;
        Ok(Self { host, server, operator: place.netns, fleet, _lan: lan })
    }

    /// What this lab leaves on the machine until it is dropped.
    pub fn traces(&self) -> Traces {
        Traces::of(&self.fleet, [&self.host])
    }
}
