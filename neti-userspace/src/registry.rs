//! The registry: where hosts announce themselves and learn of each other. Implementations publish
//! whole snapshots; an outage never looks like an empty fleet.
//!
//! All of them hold the same tree: `fleet` (the settings), `members/<id>` (records, which end with
//! their hosts), `overlays/<address>` (whose it is), `hosts/<id>` and `hosts6/<id>` (the IPv4 and
//! the IPv6 overlay address of a host), `confirmed` (the last [`Confirmation`]). What each must do is
//! written down in [`contract`].

use std::{collections::BTreeMap, future::Future, net::IpAddr, sync::Arc, time::Duration};

use anyhow::Context;
use thiserror::Error;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use crate::{
    addresses::{self, Addresses, IpFamily},
    config::{Config, RegistryConfig},
    fleet::{FleetError, FleetSettings},
    membership::{Confirmation, HostId, MemberRecord, Membership},
};

pub mod allocation;
pub mod claims;
pub mod contract;
pub mod directory;
pub mod etcd;
mod packed;
pub mod retry;
pub mod roll;
pub mod zookeeper;

/// Why a registry did not do what it was asked for. The messages name the registry.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// Nobody answers in time, or nobody who can decide: no leader, no quorum.
    #[error("{0}")]
    Unreachable(String),
    /// It does not take our credentials, or does not permit this to us.
    #[error("{0}")]
    Refused(String),
    /// The fleet's settings are missing or broken.
    #[error("{0}")]
    Settings(String),
    /// Somebody else has changed it in the meantime.
    #[error("{0}")]
    Changed(String),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl RegistryError {
    /// Whether it is the registry that fails, and not this host that does not fit into the fleet: who
    /// knows the fleet from before goes on with that.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Refused(_) | Self::Settings(_))
    }
}

impl From<FleetError> for RegistryError {
    fn from(error: FleetError) -> Self {
        Self::Settings(error.to_string())
    }
}

pub type Result<T> = std::result::Result<T, RegistryError>;

/// Settings as they stand in the registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub text: Vec<u8>,
    /// What tells them from every other text that stood or will stand there.
    pub version: u64,
}

/// Every call ends within seconds, if need be with an error, but for [`Registry::register`], which may
/// have to wait for another record to end; what it began goes on by itself.
pub trait Registry: Send + Sync {
    /// The settings that the fleet shares.
    fn fleet(&self) -> impl Future<Output = Result<FleetSettings>> + Send;

    /// The overlay address of host `id` in each of `families`: the one it has, or a random free one
    /// of the fleet's first range of that family, which is then locked to the id for ever, in one
    /// transaction.
    fn claim(
        &self,
        id: &HostId,
        fleet: &FleetSettings,
        families: &[IpFamily],
    ) -> impl Future<Output = Result<Addresses>> + Send;

    /// Announces `record` and keeps it alive: whatever ends it but [`Registration::withdraw`], it is
    /// announced again. The registry sets [`MemberRecord::since`]. It fails where a host with
    /// other real addresses keeps a record of the same id alive.
    fn register(&self, record: &MemberRecord) -> impl Future<Output = Result<Registration>> + Send;

    /// Snapshots of the fleet, the first one complete. The latest wins; the watch goes on, over
    /// outages too, until the receiver is dropped.
    fn watch(&self) -> impl Future<Output = Result<watch::Receiver<Arc<Membership>>>> + Send;

    /// The settings' text; `None` where there are none yet.
    fn settings(&self) -> impl Future<Output = Result<Option<Settings>>> + Send;

    /// Writes the settings if they are still those of this version; `None`: if there are none.
    fn set_settings(
        &self,
        text: &str,
        version: Option<u64>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// All addresses that are locked, and to whom.
    fn claims(&self) -> impl Future<Output = Result<BTreeMap<IpAddr, HostId>>> + Send;

    /// Unlocks the addresses of host `id` and gives them; none if it has none. It fails while a
    /// record of the host is there.
    fn release(&self, id: &HostId) -> impl Future<Output = Result<Addresses>> + Send;

    /// Tells all hosts that removals which they hold are meant.
    fn confirm(&self, confirmation: &Confirmation) -> impl Future<Output = Result<()>> + Send;
}

/// Opens the registry that the configuration names. Servers are not asked anything yet.
pub fn open(config: &Config) -> Result<Backend> {
    Ok(match &config.registry {
        RegistryConfig::Directory { path, ttl } => {
            Backend::Directory(directory::Directory::open(path, *ttl)?)
        }
        RegistryConfig::Etcd(servers) => Backend::Etcd(etcd::Etcd::open(servers)?),
        RegistryConfig::ZooKeeper { servers, layout } => {
            Backend::ZooKeeper(zookeeper::ZooKeeper::open(servers, *layout, &config.network)?)
        }
    })
}

/// One of the implementations.
pub enum Backend {
    Directory(directory::Directory),
    Etcd(etcd::Etcd),
    ZooKeeper(zookeeper::ZooKeeper),
}

/// Hands a call on.
macro_rules! each {
    ($self:ident, $backend:ident => $call:expr) => {
        match $self {
            Self::Directory($backend) => $call.await,
            Self::Etcd($backend) => $call.await,
            Self::ZooKeeper($backend) => $call.await,
        }
    };
}

impl Registry for Backend {
    async fn fleet(&self) -> Result<FleetSettings> {
        each!(self, backend => backend.fleet())
    }

    async fn claim(
        &self,
        id: &HostId,
        fleet: &FleetSettings,
        families: &[IpFamily],
    ) -> Result<Addresses> {
        each!(self, backend => backend.claim(id, fleet, families))
    }

    async fn register(&self, record: &MemberRecord) -> Result<Registration> {
        each!(self, backend => backend.register(record))
    }

    async fn watch(&self) -> Result<watch::Receiver<Arc<Membership>>> {
        each!(self, backend => backend.watch())
    }

    async fn settings(&self) -> Result<Option<Settings>> {
        each!(self, backend => backend.settings())
    }

    async fn set_settings(&self, text: &str, version: Option<u64>) -> Result<()> {
        each!(self, backend => backend.set_settings(text, version))
    }

    async fn claims(&self) -> Result<BTreeMap<IpAddr, HostId>> {
        each!(self, backend => backend.claims())
    }

    async fn release(&self, id: &HostId) -> Result<Addresses> {
        each!(self, backend => backend.release(id))
    }

    async fn confirm(&self, confirmation: &Confirmation) -> Result<()> {
        each!(self, backend => backend.confirm(confirmation))
    }
}

/// How long a record says that its host leaves before it is removed: long enough for all to see it,
/// who would otherwise wait for the host to come back ([`crate::guard`]).
pub(crate) const LEAVING: Duration = Duration::from_millis(100);

/// A record that is kept alive. Dropped, it is left to expire.
pub struct Registration {
    withdraw: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
    trouble: watch::Receiver<Option<String>>,
}

impl Registration {
    /// Starts the task that keeps a record alive. `keep` gets a receiver: a message asks it to
    /// remove the record and end, a closed channel to end without. Through the sender it tells what
    /// is wrong with the record (it cannot be kept alive, the server grants another time than was
    /// asked for), and `None` when all is well again.
    pub fn start<T>(
        keep: impl FnOnce(oneshot::Receiver<()>, watch::Sender<Option<String>>) -> T,
    ) -> Self
    where
        T: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (withdraw, withdrawn) = oneshot::channel();
        let (tell, trouble) = watch::channel(None);
        Self { withdraw, task: tokio::spawn(keep(withdrawn, tell)), trouble }
    }

    /// What is wrong with the record.
    pub fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.clone()
    }

    /// Says that this host leaves and removes the record, so that the fleet forgets it at once.
    pub async fn withdraw(self) -> anyhow::Result<()> {
        // If the task is gone already, its result says why.
        let _ = self.withdraw.send(());
        self.task.await.context("the task that keeps our record alive failed")?
    }
}

/// Tells what is wrong with a record, if that is news.
pub(crate) fn say(tell: &watch::Sender<Option<String>>, trouble: Option<String>) {
    tell.send_if_modified(|told| {
        let news = *told != trouble;
        *told = trouble;
        news
    });
}

/// Under which key it stands which overlay address of `family` each host has.
pub(crate) const fn hosts_key(family: IpFamily) -> &'static str {
    match family {
        IpFamily::V4 => "hosts",
        IpFamily::V6 => "hosts6",
    }
}

/// What is wrong where another host keeps a record of the id of `ours` alive.
pub(crate) fn taken(ours: &MemberRecord, other: &MemberRecord) -> String {
    let reals =
        |record: &MemberRecord| addresses::list(record.private.iter().chain(record.public.iter()));
    format!(
        "host id {} is in use by a host with {}, and this one has {}; every host needs an id of \
         its own: set `host` in the configuration",
        ours.id,
        reals(other),
        reals(ours),
    )
}
