//! The registry: where hosts announce themselves and learn of each other. Implementations publish
//! whole snapshots; an outage never looks like an empty fleet.

use std::{future::Future, sync::Arc};

use anyhow::{Context, Result};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use crate::{
    addresses::{Addresses, IpFamily},
    config::RegistryConfig,
    fleet::FleetSettings,
    membership::{HostId, MemberRecord, Membership},
};

pub mod directory;

pub trait Registry: Send + Sync {
    /// The settings that the fleet shares.
    fn fleet(&self) -> impl Future<Output = Result<FleetSettings>> + Send;

    /// The overlay address of host `id` in each of `families`: the one it has, or a random free one
    /// of the fleet's first range of that family, which is then locked to the id for ever.
    fn claim(
        &self,
        id: &HostId,
        fleet: &FleetSettings,
        families: &[IpFamily],
    ) -> impl Future<Output = Result<Addresses>> + Send;

    /// Announces `record` and keeps it alive. The registry sets [`MemberRecord::since`].
    fn register(&self, record: &MemberRecord) -> impl Future<Output = Result<Registration>> + Send;

    /// Snapshots of the fleet, the first one complete. The latest wins; the watch goes on until the
    /// receiver is dropped.
    fn watch(&self) -> impl Future<Output = Result<watch::Receiver<Arc<Membership>>>> + Send;
}

/// Opens the registry that the configuration names.
pub fn open(config: &RegistryConfig) -> Result<impl Registry + use<>> {
    match config {
        RegistryConfig::Directory { path, ttl } => directory::Directory::open(path, *ttl),
    }
}

/// A record that is kept alive. Dropped, it is left to expire.
pub struct Registration {
    withdraw: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
}

impl Registration {
    /// Starts the task that keeps a record alive. `keep` gets a receiver: a message asks it to
    /// remove the record and end, a closed channel to end without.
    pub fn start<T>(keep: impl FnOnce(oneshot::Receiver<()>) -> T) -> Self
    where
        T: Future<Output = Result<()>> + Send + 'static,
    {
        let (withdraw, withdrawn) = oneshot::channel();
        Self { withdraw, task: tokio::spawn(keep(withdrawn)) }
    }

    /// Removes the record, so that the fleet forgets this host at once.
    pub async fn withdraw(self) -> Result<()> {
        // If the task is gone already, its result says why.
        let _ = self.withdraw.send(());
        self.task.await.context("the task that keeps our record alive failed")?
    }
}
