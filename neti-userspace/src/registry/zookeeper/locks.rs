//! Which overlay address is whose: the tree's nodes, and the two creates that make a claim.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::anyhow;
use zookeeper_client::{Client, CreateMode, Error, MultiWriteError};

use super::{Place, member, reading, settings::Standing};
use crate::{
    addresses::{Addresses, IpFamily},
    config::Layout,
    membership::HostId,
    registry::{
        RegistryError, Result,
        claims::{Lock, Locks, host_key},
    },
};

/// The tree's claims, by way of one session.
pub struct Ledger<'a> {
    pub place: &'a Place,
    pub client: &'a Client,
}

impl Locks for Ledger<'_> {
    fn key(&self, key: &str) -> String {
        self.place.link.place(&self.place.tree.path(key))
    }

    async fn read(&self, key: &str) -> Result<Option<String>> {
        let node = reading::one(&self.place.link, self.client, &self.place.tree.path(key)).await?;
        Ok(node.map(|(text, _)| String::from_utf8_lossy(&text).into_owned()))
    }

    async fn locked(&self) -> Result<Vec<String>> {
        let path = self.place.tree.path("overlays");
        reading::children(&self.place.link, self.client, &path).await
    }

    async fn lock(&self, id: &HostId, address: IpAddr) -> Result<Lock> {
        let overlay = self.place.tree.path(&format!("overlays/{address}"));
        let host = self.place.tree.path(&host_key(IpFamily::of(address), id));
        let locking = async {
            let options = self.place.tree.own(CreateMode::Persistent);
            let mut writer = self.client.new_multi_writer();
            writer.add_create(&overlay, id.as_str().as_bytes(), &options)?;
            writer.add_create(&host, address.to_string().as_bytes(), &options)?;
            match writer.commit().await {
                Ok(_) => Ok(Lock::Done),
                Err(MultiWriteError::OperationFailed { index, source: Error::NodeExists }) => {
                    Ok(if index == 0 { Lock::AddressTaken } else { Lock::HostHasOne })
                }
                Err(error) => Err(Error::from(error)),
            }
        };
        self.place.link.ask(&overlay, locking).await
    }
}

impl Ledger<'_> {
    /// Makes the nodes that are missing. A tree without settings is no registry, perhaps one of
    /// another name: nothing is made in it.
    pub async fn complete(&self) -> Result<()> {
        let standing = Standing::read(self.place, self.client).await?;
        if !standing.is_there() {
            standing.fleet(self.place)?;
        }
        self.make_parents().await
    }

    /// Makes the nodes that all others are made in. One that is there is not made again: without
    /// permission that would be refused.
    pub async fn make_parents(&self) -> Result<()> {
        let Place { link, tree } = self.place;
        let parents: Vec<String> = tree.parents().iter().map(|key| tree.path(key)).collect();
        let root = tree.root().to_owned();
        let nodes: Vec<String> = std::iter::once(root).chain(parents).collect();
        let answers = reading::all(link, self.client, &nodes).await?;
        for (index, (path, answer)) in nodes.iter().zip(answers).enumerate() {
            if !matches!(answer, Ok(None)) {
                continue;
            }
            let options = if index == 0 { tree.own(CreateMode::Persistent) } else { tree.shared() };
            link.ask(path, self.client.mkdir(path, &options)).await?;
        }
        Ok(())
    }

    /// Finishes a claim that a daemon of the original Neti, which writes one node after the other,
    /// has begun: the host's own node is there, the address's is not.
    pub async fn finish(&self, id: &HostId) -> Result<()> {
        if self.place.tree.layout != Layout::Classic {
            return Ok(());
        }
        let held = self.read(&host_key(IpFamily::V4, id)).await?;
        let Some(address) = held.and_then(|text| text.parse::<IpAddr>().ok()) else {
            return Ok(());
        };
        let path = self.place.tree.path(&format!("overlays/{address}"));
        let options = self.place.tree.own(CreateMode::Persistent);
        let make = async {
            match self.client.create(&path, id.as_str().as_bytes(), &options).await {
                Ok(_) | Err(Error::NodeExists) => Ok(()),
                Err(error) => Err(error),
            }
        };
        self.place.link.ask(&path, make).await
    }

    /// All locked addresses, and to whom.
    pub async fn all(&self) -> Result<BTreeMap<IpAddr, HostId>> {
        let addresses: Vec<IpAddr> =
            self.locked().await?.iter().filter_map(|name| name.parse().ok()).collect();
        let path = |address: &IpAddr| self.place.tree.path(&format!("overlays/{address}"));
        let paths: Vec<String> = addresses.iter().map(path).collect();
        let mut all = BTreeMap::new();
        reading::each(&self.place.link, self.client, &paths, |index, answer| {
            let owner = answer.ok().flatten();
            let owner = owner.and_then(|(owner, _)| String::from_utf8(owner).ok()?.parse().ok());
            if let Some(owner) = owner {
                all.insert(addresses[index], owner);
            }
        })
        .await?;
        Ok(all)
    }

    /// Unlocks the addresses of host `id`, of which there must be no record.
    pub async fn release(&self, id: &HostId) -> Result<Addresses> {
        let Place { link, tree } = self.place;
        let owned = self.all().await?.into_iter().filter(|(_, owner)| owner == id);
        let owned: Vec<IpAddr> = owned.map(|(address, _)| address).collect();
        if let Some(record) = member::standing(self.place, self.client, id, &owned).await?.first() {
            return Err(RegistryError::Other(anyhow!(
                "{}: host {id} is a member of the fleet; end its neti, and release it when it is \
                 gone",
                link.place(&record.path)
            )));
        }
        let mut paths: Vec<String> =
            owned.iter().map(|address| tree.path(&format!("overlays/{address}"))).collect();
        for family in IpFamily::ALL {
            if self.read(&host_key(family, id)).await?.is_some() {
                paths.push(tree.path(&host_key(family, id)));
            }
        }
        let Some(first) = paths.first() else { return Ok(Addresses::default()) };
        let removed = async {
            let mut writer = self.client.new_multi_writer();
            for path in &paths {
                writer.add_delete(path, None)?;
            }
            writer.commit().await.map_err(Error::from)
        };
        link.ask(first, removed).await?;
        let mut released = Addresses::default();
        for address in owned {
            released.insert(address);
        }
        Ok(released)
    }
}
