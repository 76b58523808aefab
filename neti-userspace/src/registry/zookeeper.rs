//! The registry in ZooKeeper: the common tree below a prefix, or the original Neti's znodes.
//!
//! A host's record is an ephemeral node: it ends with the session of the host's daemon, whose
//! timeout is the `ttl` as far as the servers grant it.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use anyhow::{Context, anyhow};
use tokio::sync::watch;
use zookeeper_client::{CreateMode, Error};

use self::{connection::Link, layout::Tree, locks::Ledger, record::Own, settings::Standing};
use super::{Registration, Registry, RegistryError, Result, Settings, claims};
use crate::{
    addresses::{Addresses, IpFamily},
    config::{Layout, Servers},
    fleet::FleetSettings,
    membership::{Confirmation, HostId, MemberRecord, Membership},
};

mod classic;
mod connection;
mod errors;
mod following;
mod layout;
mod locks;
mod member;
mod party;
mod reading;
mod record;
mod roster;
mod session;
mod settings;
mod watching;

#[derive(Debug, Clone)]
pub struct ZooKeeper {
    place: Arc<Place>,
}

/// The servers, and where in their tree the registry stands.
#[derive(Debug)]
struct Place {
    link: Link,
    tree: Tree,
}

impl ZooKeeper {
    /// Opens the registry on `servers` for a host of `network`.
    ///
    /// # Errors
    /// If the classic layout cannot tell the network.
    pub fn open(servers: &Servers, layout: Layout, network: &str) -> Result<Self> {
        if layout == Layout::Classic {
            classic::network(network)?;
        }
        let link = Link::new(servers.clone());
        let tree = Tree::new(layout, &servers.prefix, &link);
        Ok(Self { place: Arc::new(Place { link, tree }) })
    }
}

impl Registry for ZooKeeper {
    async fn fleet(&self) -> Result<FleetSettings> {
        let client = self.place.link.connect().await?;
        Standing::read(&self.place, &client).await?.fleet(&self.place)
    }

    async fn claim(
        &self,
        id: &HostId,
        fleet: &FleetSettings,
        families: &[IpFamily],
    ) -> Result<Addresses> {
        if self.place.tree.layout == Layout::Classic && families.contains(&IpFamily::V6) {
            return Err(RegistryError::Other(anyhow!(
                "{}: layout classic has IPv4 only; leave the IPv6 overlay ranges out of the \
                 fleet's settings",
                self.place.link.name()
            )));
        }
        let client = self.place.link.connect().await?;
        let ledger = Ledger { place: &self.place, client: &client };
        ledger.complete().await?;
        ledger.finish(id).await?;
        claims::claim(&ledger, id, fleet, families).await
    }

    async fn register(&self, record: &MemberRecord) -> Result<Registration> {
        let own = Own::new(self.place.clone(), record.clone())?;
        let client = self.place.link.hold(None).await?;
        Ledger { place: &self.place, client: &client }.complete().await?;
        let kept = session::begin(own, client).await?;
        Ok(Registration::start(|withdrawn, tell| session::keep(kept, withdrawn, tell)))
    }

    async fn watch(&self) -> Result<watch::Receiver<Arc<Membership>>> {
        following::start(self.place.clone()).await
    }

    async fn settings(&self) -> Result<Option<Settings>> {
        let client = self.place.link.connect().await?;
        settings::read(&self.place, &client).await
    }

    async fn set_settings(&self, text: &str, version: Option<u64>) -> Result<()> {
        let client = self.place.link.connect().await?;
        Ledger { place: &self.place, client: &client }.make_parents().await?;
        settings::write(&self.place, &client, text, version).await
    }

    async fn claims(&self) -> Result<BTreeMap<IpAddr, HostId>> {
        let client = self.place.link.connect().await?;
        Ledger { place: &self.place, client: &client }.all().await
    }

    async fn release(&self, id: &HostId) -> Result<Addresses> {
        let client = self.place.link.connect().await?;
        Ledger { place: &self.place, client: &client }.release(id).await
    }

    async fn confirm(&self, confirmation: &Confirmation) -> Result<()> {
        let text = serde_json::to_vec(confirmation).context("writing the confirmation")?;
        let client = self.place.link.connect().await?;
        let path = self.place.tree.path("confirmed");
        let write = async {
            match client.set_data(&path, &text, None).await {
                Err(Error::NoNode) => {
                    let options = self.place.tree.own(CreateMode::Persistent);
                    client.create(&path, &text, &options).await.map(drop)
                }
                other => other.map(drop),
            }
        };
        self.place.link.ask(&path, write).await
    }
}

#[cfg(test)]
mod tests;
