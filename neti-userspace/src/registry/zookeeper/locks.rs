//! Which overlay address is whose: the tree's nodes, and the two creates that make a claim.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::anyhow;
use zookeeper_client::{Client, CreateMode, CreateOptions, Error, MultiWriteError};

use super::{Place, member, reading, settings::Standing};
use crate::{
    addresses::{self, Addresses, IpFamily},
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
    /// Makes the nodes that are missing, where they would be nobody's; what belongs to its maker is
    /// the operator's to make, or hosts could release each other's locks. A tree without settings is
    /// no registry, perhaps one of another name: nothing is made in it.
    pub async fn complete(&self) -> Result<()> {
        let standing = Standing::read(self.place, self.client).await?;
        if !standing.is_there() {
            standing.fleet(self.place)?;
        }
        if !self.place.tree.has_owner() {
            return self.make_parents().await;
        }
        let missing = self.missing().await?;
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.iter().map(|(path, _)| path);
        Err(RegistryError::Other(anyhow!(
            "{}: {} missing, and whoever makes it owns it; an operator does: `neti fleet set`",
            self.place.link.name(),
            addresses::list(missing),
        )))
    }

    /// Makes the nodes that all others are made in. One that is there is not made again: without
    /// permission that would be refused.
    pub async fn make_parents(&self) -> Result<()> {
        for (path, options) in self.missing().await? {
            self.place.link.ask(&path, self.client.mkdir(&path, &options)).await?;
        }
        Ok(())
    }

    /// Which of these nodes are missing, and how they are made.
    async fn missing(&self) -> Result<Vec<(String, CreateOptions<'static>)>> {
        let Place { link, tree } = self.place;
        let parents: Vec<String> = tree.parents().iter().map(|key| tree.path(key)).collect();
        let root = tree.root().to_owned();
        let nodes: Vec<String> = std::iter::once(root).chain(parents).collect();
        let answers = reading::all(link, self.client, &nodes).await?;
        let missing = nodes.into_iter().zip(answers).enumerate();
        let missing = missing.filter(|(_, (_, answer))| matches!(answer, Ok(None)));
        let options = |index| match index {
            0 => tree.own(CreateMode::Persistent),
            _ => tree.shared(),
        };
        Ok(missing.map(|(index, (path, _))| (path, options(index))).collect())
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
        let locks = self.locks().await?;
        Ok(locks.into_iter().map(|(address, (owner, _))| (address, owner)).collect())
    }

    /// All locked addresses, to whom, and the versions of their nodes.
    async fn locks(&self) -> Result<BTreeMap<IpAddr, (HostId, i32)>> {
        let addresses: Vec<IpAddr> =
            self.locked().await?.iter().filter_map(|name| name.parse().ok()).collect();
        let path = |address: &IpAddr| self.place.tree.path(&format!("overlays/{address}"));
        let paths: Vec<String> = addresses.iter().map(path).collect();
        let mut all = BTreeMap::new();
        reading::each(&self.place.link, self.client, &paths, |index, answer| {
            let owner = answer.ok().flatten();
            let lock = owner.and_then(|(owner, stat)| {
                Some((String::from_utf8(owner).ok()?.parse().ok()?, stat.version))
            });
            if let Some(lock) = lock {
                all.insert(addresses[index], lock);
            }
        })
        .await?;
        Ok(all)
    }

    /// Unlocks the addresses of host `id`, of which there must be no record.
    pub async fn release(&self, id: &HostId) -> Result<Addresses> {
        let Place { link, tree } = self.place;
        let is_member = |path: &str| {
            RegistryError::Other(anyhow!(
                "{}: host {id} is a member of the fleet; end its neti, and release it when it is \
                 gone",
                link.place(path)
            ))
        };
        let locks = self.locks().await?.into_iter().filter(|(_, (owner, _))| owner == id);
        let locks: Vec<(IpAddr, i32)> =
            locks.map(|(address, (_, version))| (address, version)).collect();
        let owned: Vec<IpAddr> = locks.iter().map(|(address, _)| *address).collect();
        if let Some(record) = member::standing(self.place, self.client, id, &owned).await?.first() {
            return Err(is_member(&record.path));
        }
        let overlay = |(address, version): &(IpAddr, i32)| {
            (tree.path(&format!("overlays/{address}")), *version)
        };
        let mut nodes: Vec<(String, i32)> = locks.iter().map(overlay).collect();
        for family in IpFamily::ALL {
            let path = tree.path(&host_key(family, id));
            if let Some((_, stat)) = reading::one(link, self.client, &path).await? {
                nodes.push((path, stat.version));
            }
        }
        let Some((first, _)) = nodes.first() else { return Ok(Addresses::default()) };
        // Whoever has started since we looked is a member or has made its locks anew. A classic
        // member's name is not known before it is there.
        let record = tree.path(&format!("members/{id}"));
        let proves_absence = tree.layout == Layout::Neti;
        let removed = async {
            let mut writer = self.client.new_multi_writer();
            if proves_absence {
                writer.add_create(&record, b"", &tree.own(CreateMode::Persistent))?;
                writer.add_delete(&record, None)?;
            }
            for (path, version) in &nodes {
                writer.add_delete(path, Some(*version))?;
            }
            match writer.commit().await {
                Ok(_) => Ok(true),
                Err(MultiWriteError::OperationFailed { index: 0, source: Error::NodeExists })
                    if proves_absence =>
                {
                    Ok(false)
                }
                Err(MultiWriteError::OperationFailed { source: Error::NoNode, .. }) => {
                    Err(Error::BadVersion)
                }
                Err(error) => Err(Error::from(error)),
            }
        };
        if !link.ask(first, removed).await? {
            return Err(is_member(&record));
        }
        let mut released = Addresses::default();
        for address in owned {
            released.insert(address);
        }
        Ok(released)
    }
}
