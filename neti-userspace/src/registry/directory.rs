//! The registry as a directory that all hosts share, with the tree that the servers' registries
//! have: `fleet`, `members/<id>`, `overlays/<address>` (content: the id), `hosts/<id>` and
//! `hosts6/<id>` (content: the IPv4 and the IPv6 address).
//!
//! A host shows that it is alive by touching its own record. Who looks compares modification times
//! with those that it saw before, never with its own clock: the hosts' clocks may differ.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tokio::{sync::watch, task::spawn_blocking};

use super::{Registration, Registry};
use crate::{
    addresses::{Addresses, IpFamily},
    fleet::FleetSettings,
    membership::{HostId, MemberRecord, Membership},
};

mod claim;
mod files;
mod heartbeat;
mod observer;
mod roster;
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
    members: PathBuf,
    overlays: PathBuf,
    hosts: PathBuf,
    hosts6: PathBuf,
}

impl Directory {
    /// Opens the registry in `root`, which must hold the fleet settings. A host is gone after `ttl`
    /// without a sign of life, so `ttl` should be the same on all hosts.
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
            members: under("members"),
            overlays: under("overlays"),
            hosts: under("hosts"),
            hosts6: under("hosts6"),
        };
        // A directory without settings is no registry, perhaps a volume that is not mounted:
        // nothing must be made in it.
        tree.fleet()?;
        Ok(Self { tree, ttl })
    }
}

impl Tree {
    fn fleet(&self) -> Result<FleetSettings> {
        let file = self.fleet.display();
        let bytes = std::fs::read(&self.fleet).with_context(|| {
            format!("{file}: cannot be read; must be the fleet's settings, like {EXAMPLE}")
        })?;
        Ok(FleetSettings::parse(&file.to_string(), &bytes)?)
    }

    /// Where it stands which overlay address of `family` each host has.
    fn hosts(&self, family: IpFamily) -> &Path {
        match family {
            IpFamily::V4 => &self.hosts,
            IpFamily::V6 => &self.hosts6,
        }
    }

    /// Makes the directories that are missing: the operator writes only the settings.
    fn complete(&self) -> Result<()> {
        for directory in [&self.members, &self.overlays, &self.hosts, &self.hosts6] {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("{}: cannot be made", directory.display()))?;
        }
        Ok(())
    }
}

const EXAMPLE: &str = r#"{"overlay": ["100.64.0.0/16"]}"#;

impl Registry for Directory {
    async fn fleet(&self) -> Result<FleetSettings> {
        let tree = self.tree.clone();
        spawn_blocking(move || tree.fleet()).await?
    }

    async fn claim(
        &self,
        id: &HostId,
        fleet: &FleetSettings,
        families: &[IpFamily],
    ) -> Result<Addresses> {
        let (tree, id, fleet) = (self.tree.clone(), id.clone(), fleet.clone());
        let families = families.to_vec();
        spawn_blocking(move || {
            tree.complete()?;
            let claims =
                families.into_iter().map(|family| claim::claim(&tree, &id, &fleet, family));
            Ok(Addresses::collect(claims.collect::<Result<Vec<_>>>()?)?)
        })
        .await?
    }

    async fn register(&self, record: &MemberRecord) -> Result<Registration> {
        let (tree, record) = (self.tree.clone(), record.clone());
        let announce = move || {
            tree.complete()?;
            heartbeat::announce(&tree.members, record)
        };
        let own = spawn_blocking(announce).await??;
        let period = self.ttl / 3;
        Ok(Registration::start(|withdrawn| heartbeat::keep(own, period, withdrawn)))
    }

    async fn watch(&self) -> Result<watch::Receiver<Arc<Membership>>> {
        let (tree, ttl) = (self.tree.clone(), self.ttl);
        spawn_blocking(move || {
            tree.complete()?;
            observer::start(tree, ttl)
        })
        .await?
    }
}

#[cfg(test)]
mod tests;
