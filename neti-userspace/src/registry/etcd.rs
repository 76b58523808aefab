//! The registry in etcd: the tree's keys under a prefix. A record is there for as long as its host
//! renews a lease.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use anyhow::Context;
use tokio::sync::watch;

use super::{Registration, Registry, RegistryError, Result, Settings, claims};
use crate::{
    addresses::{Addresses, IpFamily},
    config::Servers,
    fleet::FleetSettings,
    membership::{Confirmation, HostId, MemberRecord, Membership},
};

mod alone;
mod audit;
mod connection;
mod errors;
mod followed;
mod following;
mod lease;
mod locks;
mod outlet;
mod own;
mod pace;
mod pages;
mod record;
mod stream;

use connection::Connection;
pub use pace::Pace;

pub struct Etcd {
    connection: Arc<Connection>,
    ttl: Duration,
    pace: Pace,
}

impl Etcd {
    /// It reads the files that the configuration names, and asks no server.
    pub fn open(servers: &Servers) -> Result<Self> {
        let connection = Arc::new(Connection::new(servers.clone())?);
        Ok(Self { connection, ttl: servers.ttl, pace: Pace::default() })
    }

    /// The same, followed in another way.
    pub fn with_pace(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }
}

impl Registry for Etcd {
    async fn fleet(&self) -> Result<FleetSettings> {
        let key = format!("{}: {}", self.connection.name(), self.connection.key("fleet"));
        let Some(settings) = self.settings().await? else {
            return Err(RegistryError::Settings(followed::missing(&key)));
        };
        Ok(FleetSettings::parse(&key, &settings.text)?)
    }

    async fn claim(
        &self,
        id: &HostId,
        fleet: &FleetSettings,
        families: &[IpFamily],
    ) -> Result<Addresses> {
        claims::claim(&*self.connection, id, fleet, families).await
    }

    async fn register(&self, record: &MemberRecord) -> Result<Registration> {
        lease::register(self.connection.clone(), record, self.ttl).await
    }

    async fn watch(&self) -> Result<watch::Receiver<Arc<Membership>>> {
        following::start(self.connection.clone(), self.pace.clone()).await
    }

    async fn settings(&self) -> Result<Option<Settings>> {
        locks::settings(&self.connection).await
    }

    async fn set_settings(&self, text: &str, version: Option<u64>) -> Result<()> {
        locks::set_settings(&self.connection, text, version).await
    }

    async fn claims(&self) -> Result<BTreeMap<IpAddr, HostId>> {
        locks::all(&self.connection).await
    }

    async fn release(&self, id: &HostId) -> Result<Addresses> {
        locks::release(&self.connection, id).await
    }

    async fn confirm(&self, confirmation: &Confirmation) -> Result<()> {
        let text = serde_json::to_vec(confirmation).context("writing the confirmation")?;
        locks::put(&self.connection, &self.connection.key("confirmed"), &text).await
    }
}
