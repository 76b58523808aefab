//! The registry as a directory that all hosts share, with the tree that the servers' registries
//! have: `fleet`, `members/<id>`, `overlays/<address>` (content: the id), `hosts/<id>` and
//! `hosts6/<id>` (content: the IPv4 and the IPv6 address).
//!
//! A host shows that it is alive by touching its own record. Who looks compares modification times
//! with those that it saw before, never with its own clock: the hosts' clocks may differ.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Error, Result};
use tokio::{sync::watch, task::spawn_blocking};

use super::{Registration, Registry, RegistryError, Settings, roll::Roll};
use crate::{
    addresses::{Addresses, IpFamily},
    fleet::FleetSettings,
    membership::{Confirmation, HostId, MemberRecord, Membership},
    registry,
};

mod claim;
mod errors;
mod files;
mod heartbeat;
mod observer;
mod progress;
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
    /// Whether it is there is seen by the first call that needs it.
    pub fn open(root: &Path, ttl: Duration) -> Result<Self> {
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
        std::fs::read(&self.fleet).map_err(|error| {
            let what = format!(
                "{file}: cannot be read; must be the fleet's settings, like {EXAMPLE}, which \
                 `neti fleet set` writes"
            );
            match error.kind() {
                io::ErrorKind::NotFound => {
                    RegistryError::Settings(format!("{what}: {error}")).into()
                }
                _ => Error::new(error).context(what),
            }
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

/// How long it may take to look at one file before nobody is said to answer.
const LONGEST_STEP: Duration = Duration::from_secs(5);

impl Directory {
    /// Works on the tree where a file system that blocks holds up nobody.
    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tree) -> Result<T> + Send + 'static,
    ) -> registry::Result<T> {
        let tree = self.tree.clone();
        let work = move || {
            errors::check(&tree.root)?;
            work(&tree).map_err(errors::classify)
        };
        spawn_blocking(work).await.context("a look at the registry")?
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
        heartbeat::alone(self, record).await?;
        let (record, ttl) = (record.clone(), self.ttl);
        let announce = move |tree: &Tree| {
            tree.complete()?;
            heartbeat::announce(tree, record)
        };
        let own = self.work(announce).await?;
        Ok(Registration::start(|withdrawn, tell| heartbeat::keep(own, ttl / 3, withdrawn, tell)))
    }

    async fn watch(&self) -> registry::Result<watch::Receiver<Arc<Membership>>> {
        let ttl = self.ttl;
        let start = move |tree: &Tree| {
            tree.complete()?;
            observer::start(tree.clone(), ttl)
        };
        let (observed, receiver) = self.work(start).await?;
        tokio::spawn(progress::watchdog(observed, LONGEST_STEP.max(ttl / 3)));
        Ok(receiver)
    }

    async fn settings(&self) -> registry::Result<Option<Settings>> {
        self.work(settings::read).await
    }

    async fn set_settings(&self, text: &str, version: Option<u64>) -> registry::Result<()> {
        let text = text.to_owned();
        self.work(move |tree| settings::write(tree, &text, version)).await
    }

    async fn claims(&self) -> registry::Result<BTreeMap<IpAddr, HostId>> {
        self.work(claim::all).await
    }

    async fn release(&self, id: &HostId) -> registry::Result<Addresses> {
        let fresh = {
            let (id, ttl) = (id.clone(), self.ttl);
            self.work(move |tree| claim::is_fresh(tree, &id, ttl)).await?
        };
        // A stamp says nothing where hosts' clocks set it; that it changes says that somebody lives.
        if fresh || heartbeat::is_kept_alive(self, id).await? {
            return Err(claim::lives(&self.tree, id).into());
        }
        let id = id.clone();
        self.work(move |tree| claim::release(tree, &id)).await
    }

    async fn confirm(&self, confirmation: &Confirmation) -> registry::Result<()> {
        let text = serde_json::to_vec(confirmation).context("writing the confirmation")?;
        self.work(move |tree| files::write(&tree.root, "confirmed", &text)).await
    }
}

#[cfg(test)]
mod tests;
