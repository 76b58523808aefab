//! The registry as a directory that all hosts share, with the tree that the servers' registries
//! have: `fleet`, `members/<id>`, `overlays/<address>` (content: the id), `hosts/<id>` and
//! `hosts6/<id>` (content: the IPv4 and the IPv6 address).
//!
//! A host shows that it is alive by touching its own record. Who looks compares modification times
//! with those that it saw before, never with its own clock: the hosts' clocks may differ.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{sync::watch, task::spawn_blocking};

use super::{Registration, Registry, Settings, roll::Roll};
use crate::{
    addresses::{Addresses, IpFamily},
    fleet::FleetSettings,
    membership::{Confirmation, HostId, MemberRecord, Membership},
    registry,
};

mod claim;
mod files;
mod heartbeat;
mod observer;
mod roster;
mod settings;
mod watching;

#[derive(Debug, Clone)]
pub struct Directory {
    tree: Tree,
    ttl: Duration,
}

/// Where things are.
#[derive(Debug, Clone)]
struct Tree {
    root: PathBuf,
    fleet: PathBuf,
    confirmed: PathBuf,
    members: PathBuf,
    overlays: PathBuf,
    hosts: PathBuf,
    hosts6: PathBuf,
}

impl Directory {
    /// Opens the registry in `root`. A host is gone after `ttl` without a sign of life, so `ttl`
    /// should be the same on all hosts.
    pub fn open(root: &Path, ttl: Duration) -> Result<Self> {
        if !root.is_dir() {
            bail!(
                "{}: no such directory; make it and put the fleet's settings into it",
                root.display()
            );
        }
        let under = |name| root.join(name);
        let tree = Tree {
            root: root.to_owned(),
            fleet: under("fleet"),
            confirmed: under("confirmed"),
            members: under("members"),
            overlays: under("overlays"),
            hosts: under("hosts"),
            hosts6: under("hosts6"),
        };
        Ok(Self { tree, ttl })
    }
}

impl Tree {
    /// The settings as they stand there.
    fn settings(&self) -> Result<Vec<u8>> {
        let file = self.fleet.display();
        std::fs::read(&self.fleet).with_context(|| {
            format!("{file}: cannot be read; must be the fleet's settings, like {EXAMPLE}")
        })
    }

    fn fleet(&self) -> Result<FleetSettings> {
        Ok(FleetSettings::parse(&self.fleet.display().to_string(), &self.settings()?)?)
    }

    /// A roll with the settings.
    fn roll(&self) -> Result<Roll> {
        Ok(Roll::new(&self.fleet.display().to_string(), &self.settings()?)?)
    }

    /// Where it stands which overlay address of `family` each host has.
    fn hosts(&self, family: IpFamily) -> &Path {
        match family {
            IpFamily::V4 => &self.hosts,
            IpFamily::V6 => &self.hosts6,
        }
    }

    /// Makes the directories that are missing: the operator writes only the settings. A directory
    /// without them is no registry, perhaps a volume that is not mounted: nothing is made in it.
    fn complete(&self) -> Result<()> {
        self.fleet()?;
        for directory in [&self.members, &self.overlays, &self.hosts, &self.hosts6] {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("{}: cannot be made", directory.display()))?;
        }
        Ok(())
    }
}

const EXAMPLE: &str = r#"{"overlay": ["100.64.0.0/16"]}"#;

impl Directory {
    /// Works on the tree where a file system that blocks holds up nobody.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tree) -> Result<T> + Send + 'static,
    ) -> registry::Result<T> {
        let tree = self.tree.clone();
        let done = spawn_blocking(move || work(&tree)).await.context("a look at the registry")?;
        Ok(done?)
    }
}

impl Registry for Directory {
    async fn fleet(&self) -> registry::Result<FleetSettings> {
        self.work(Tree::fleet).await
    }

    async fn claim(
        &self,
        id: &HostId,
        fleet: &FleetSettings,
        families: &[IpFamily],
    ) -> registry::Result<Addresses> {
        let (id, fleet, families) = (id.clone(), fleet.clone(), families.to_vec());
        self.work(move |tree| {
            tree.complete()?;
            let claims = families.into_iter().map(|family| claim::claim(tree, &id, &fleet, family));
            Ok(Addresses::collect(claims.collect::<Result<Vec<_>>>()?)?)
        })
        .await
    }

    async fn register(&self, record: &MemberRecord) -> registry::Result<Registration> {
        let (record, ttl) = (record.clone(), self.ttl);
        heartbeat::alone(&self.tree.members, &record, ttl).await?;
        let announce = move |tree: &Tree| {
            tree.complete()?;
            heartbeat::announce(&tree.members, record)
        };
        let own = self.work(announce).await?;
        Ok(Registration::start(|withdrawn, tell| heartbeat::keep(own, ttl / 3, withdrawn, tell)))
    }

    async fn watch(&self) -> registry::Result<watch::Receiver<Arc<Membership>>> {
        let ttl = self.ttl;
        self.work(move |tree| {
            tree.complete()?;
            observer::start(tree.clone(), ttl)
        })
        .await
    }

    async fn settings(&self) -> registry::Result<Option<Settings>> {
        self.work(settings::read).await
    }

    async fn set_settings(&self, text: &str, version: Option<u64>) -> registry::Result<()> {
        let (tree, text) = (self.tree.clone(), text.to_owned());
        let write = spawn_blocking(move || settings::write(&tree, &text, version));
        write.await.context("writing the settings")?
    }

    async fn claims(&self) -> registry::Result<BTreeMap<IpAddr, HostId>> {
        self.work(claim::all).await
    }

    async fn release(&self, id: &HostId) -> registry::Result<Addresses> {
        let (id, ttl) = (id.clone(), self.ttl);
        self.work(move |tree| claim::release(tree, &id, ttl)).await
    }

    async fn confirm(&self, confirmation: &Confirmation) -> registry::Result<()> {
        let text = serde_json::to_vec(confirmation).context("writing the confirmation")?;
        self.work(move |tree| files::write(&tree.root, "confirmed", &text)).await
    }
}

#[cfg(test)]
mod tests;
