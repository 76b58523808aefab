//! Our own record: a node that ends with our session.
//!
//! A node of an older session of this host, which was killed and started again, is deleted and made
//! anew in one transaction: overwritten, it would end with that session. Where the parent's ACL
//! forbids that it is overwritten all the same, and made anew when it ends.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, anyhow};
use tokio::time::{Instant, sleep};
use zookeeper_client::{Client, CreateMode, Error, MultiWriteError, Stat};

use super::{
    Place,
    classic::Member,
    member::{self, Standing},
    reading,
};
use crate::{
    config::Layout,
    membership::{MemberRecord, MemberState},
    registry::{RegistryError, Result, taken},
};

/// Looks whether another host's record of our id ends come at this distance.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub struct Own {
    pub place: Arc<Place>,
    record: MemberRecord,
    pub path: String,
    data: Vec<u8>,
    /// The session that our node ends with.
    owner: i64,
}

/// How an attempt to write our node came out.
enum Written {
    Done,
    /// What was there is something else meanwhile.
    Again,
}

impl Own {
    pub fn new(place: Arc<Place>, record: MemberRecord) -> Result<Self> {
        let mut own = Self { place, record, path: String::new(), data: Vec::new(), owner: 0 };
        own.name()?;
        Ok(own)
    }

    /// Announces the record in the session of `client`. Where a host with other real addresses has
    /// one of our id, that may be gone in `patience`.
    pub async fn announce(&mut self, client: &Client, patience: Duration) -> Result<()> {
        let session = client.session_id().0;
        if self.owner != session {
            self.name()?;
        }
        self.keeps_its_addresses(client).await?;
        let deadline = Instant::now() + patience;
        loop {
            let id = &self.record.id;
            let found = member::standing(&self.place, client, id, &self.record.overlays).await?;
            if let Some((node, other)) = found.iter().find_map(|node| self.stranger(node)) {
                if Instant::now() >= deadline {
                    let what = taken(&self.record, other);
                    let place = self.place.link.place(&node.path);
                    return Err(RegistryError::Other(anyhow!("{place}: {what}")));
                }
                sleep(LOOK).await;
                continue;
            }
            self.date(&found)?;
            if let Written::Done = self.write(client, session, &found).await? {
                return Ok(());
            }
        }
    }

    /// Whether this is the node that we have written last.
    pub fn is_ours(&self, stat: &Stat) -> bool {
        stat.ephemeral_owner == self.owner
    }

    /// What is written before our node is removed; the original's nodes cannot tell.
    pub fn leaving(&self) -> Option<Vec<u8>> {
        let record = MemberRecord { state: MemberState::Leaving, ..self.record.clone() };
        match self.place.tree.layout {
            Layout::Neti => serde_json::to_vec(&record).ok(),
            Layout::Classic => None,
        }
    }

    /// Fails if an overlay address of ours is another host's: one that was released while we were
    /// not to be seen comes back with us no more.
    async fn keeps_its_addresses(&self, client: &Client) -> Result<()> {
        let Place { link, tree } = &*self.place;
        for address in &self.record.overlays {
            let key = format!("overlays/{address}");
            let Some((owner, _)) = reading::one(link, client, &tree.path(&key)).await? else {
                continue;
            };
            let owner = String::from_utf8_lossy(&owner);
            if owner != self.record.id.as_str() {
                return Err(RegistryError::Other(anyhow!(
                    "{}: overlay address {address} belongs to {owner} by {key}; start neti again",
                    link.name()
                )));
            }
        }
        Ok(())
    }

    /// A node that another host keeps alive.
    fn stranger<'a>(&self, node: &'a Standing) -> Option<(&'a Standing, &'a MemberRecord)> {
        let record = node.record.as_ref().filter(|_| node.owner != 0)?;
        (record.real_addresses() != self.record.real_addresses()).then_some((node, record))
    }

    /// Chooses the node's name and content.
    fn name(&mut self) -> Result<()> {
        let tree = &self.place.tree;
        self.path = match tree.layout {
            Layout::Neti => tree.path(&format!("members/{}", self.record.id)),
            Layout::Classic => tree.path(&format!("members/{}", Member::of(&self.record)?.name())),
        };
        self.owner = 0;
        Ok(())
    }

    /// Sets since when we have held our addresses: once, and not later than a record of ours says.
    fn date(&mut self, found: &[Standing]) -> Result<()> {
        if self.place.tree.layout == Layout::Classic || !self.data.is_empty() {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = now.as_millis() as u64;
        let before = found.iter().filter_map(|node| node.record.as_ref());
        let before =
            before.filter(|before| before.real_addresses() == self.record.real_addresses());
        self.record.since = before.map(|before| before.since).fold(now, u64::min);
        self.data = serde_json::to_vec(&self.record).context("writing our record")?;
        Ok(())
    }

    /// Makes our node in the place of those that were found.
    async fn write(
        &mut self,
        client: &Client,
        session: i64,
        found: &[Standing],
    ) -> Result<Written> {
        let ours = found.iter().find(|node| node.path == self.path && node.owner == session);
        if let Some(node) = ours {
            self.owner = session;
            return if node.data == self.data {
                Ok(Written::Done)
            } else {
                self.set(client, node).await
            };
        }
        let made = async {
            let mut writer = client.new_multi_writer();
            for node in found {
                writer.add_delete(&node.path, Some(node.version))?;
            }
            let options = self.place.tree.own(CreateMode::Ephemeral);
            writer.add_create(&self.path, &self.data, &options)?;
            match writer.commit().await {
                Ok(_) => Ok(Some(Written::Done)),
                Err(MultiWriteError::OperationFailed { index, source: Error::NoAuth })
                    if index < found.len() =>
                {
                    Ok(None)
                }
                Err(MultiWriteError::OperationFailed {
                    index,
                    source: Error::NodeExists | Error::NoNode | Error::BadVersion,
                }) if index < found.len() => Ok(Some(Written::Again)),
                Err(MultiWriteError::OperationFailed { source: Error::NodeExists, .. }) => {
                    Ok(Some(Written::Again))
                }
                Err(error) => Err(Error::from(error)),
            }
        };
        let written = self.place.link.ask(&self.path, made).await?;
        match (written, found.iter().find(|node| node.path == self.path)) {
            (Some(written), _) => {
                self.owner = session;
                Ok(written)
            }
            // We may not delete what an older session has left.
            (None, Some(node)) => {
                self.owner = node.owner;
                self.set(client, node).await
            }
            // Ours has another name than that.
            (None, None) => {
                let options = self.place.tree.own(CreateMode::Ephemeral);
                let create = client.create(&self.path, &self.data, &options);
                self.place.link.ask(&self.path, create).await?;
                self.owner = session;
                Ok(Written::Done)
            }
        }
    }

    async fn set(&self, client: &Client, node: &Standing) -> Result<Written> {
        let set = async {
            match client.set_data(&self.path, &self.data, Some(node.version)).await {
                Ok(_) => Ok(Written::Done),
                Err(Error::NoNode | Error::BadVersion) => Ok(Written::Again),
                Err(error) => Err(error),
            }
        };
        self.place.link.ask(&self.path, set).await
    }
}
