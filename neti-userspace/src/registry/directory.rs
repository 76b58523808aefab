//! The registry as a directory that all hosts share.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, bail};
use tokio::sync::watch;

use super::{Registration, Registry};
use crate::{
    fleet::FleetSettings,
    membership::{HostId, MemberRecord, Membership},
};

#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
    ttl: Duration,
}

impl Directory {
    pub fn open(root: &Path, ttl: Duration) -> Result<Self> {
        Ok(Self { root: root.to_owned(), ttl })
    }
}

impl Registry for Directory {
    async fn fleet(&self) -> Result<FleetSettings> {
        bail!("{}: not readable {:?}", self.root.display(), self.ttl)
    }

    async fn claim(&self, id: &HostId, _fleet: &FleetSettings) -> Result<Ipv4Addr> {
        bail!("{id}")
    }

    async fn register(&self, _record: &MemberRecord) -> Result<Registration> {
        bail!("")
    }

    async fn watch(&self) -> Result<watch::Receiver<Arc<Membership>>> {
        bail!("")
    }
}
