//! Our own record: written, kept alive by touching it, removed at the end. Whatever stands in its
//! place is looked at first: another host's is none of ours.

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use nix::{
    fcntl::AT_FDCWD,
    sys::{
        stat::{UtimensatFlags, utimensat},
        time::TimeSpec,
    },
};
use tokio::{
    sync::{oneshot, watch},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::{Directory, Tree, files};
use crate::{
    membership::{HostId, MemberRecord, MemberState},
    registry::{self, say, taken},
};

/// A record as it was written.
#[derive(Debug, Clone)]
pub struct Own {
    tree: Tree,
    name: String,
    record: MemberRecord,
}

/// What stands in the place of our record.
enum Standing {
    Ours,
    /// Nothing, or nothing that holds: an older one of this host, or no record.
    Void,
    /// The record of another host.
    Other(Box<MemberRecord>),
}

/// Sees to it that no other host keeps a record of our id alive.
pub async fn alone(directory: &Directory, record: &MemberRecord) -> registry::Result<()> {
    let ask = || {
        let record = record.clone();
        directory.work(move |tree| other(&tree.members, &record))
    };
    let Some(before) = ask().await? else { return Ok(()) };
    if is_kept_alive(directory, &record.id).await? && ask().await?.is_some() {
        let path = directory.tree.members.join(record.id.as_str());
        return Err(anyhow::anyhow!("{}: {}", path.display(), taken(record, &before)).into());
    }
    Ok(())
}

/// Whether somebody keeps the record of this id alive: its file changes while we look. No clock but
/// our own counts, which need not be right.
pub async fn is_kept_alive(directory: &Directory, id: &HostId) -> registry::Result<bool> {
    let touched = || {
        let id = id.clone();
        directory.work(move |tree| Ok(touched(&tree.members.join(id.as_str()))))
    };
    let Some(before) = touched().await? else { return Ok(false) };
    // Its heartbeats come three times per ttl. Looks are counted and not the time, which passes without any while this
    // machine is held up.
    let pause = (directory.ttl / 20).min(Duration::from_millis(200));
    for _ in 0..directory.ttl.div_duration_f64(pause * 2).ceil() as u32 {
        sleep(pause).await;
        match touched().await? {
            None => return Ok(false),
            Some(now) if now != before => return Ok(true),
            Some(_) => {}
        }
    }
    Ok(false)
}

fn touched(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// The record of our id, if it names other real addresses than ours.
fn other(members: &Path, record: &MemberRecord) -> Result<Option<MemberRecord>> {
    let name = record.id.as_str();
    let text = files::read(members, name)?;
    let other = text.and_then(|text| MemberRecord::parse(name, text.as_bytes()).ok());
    Ok(other.filter(|other| other.real_addresses() != record.real_addresses()))
}

/// Writes `record` with the time from which it holds its addresses.
pub fn announce(tree: &Tree, mut record: MemberRecord) -> Result<Own> {
    let name = record.id.to_string();
    let before = files::read(&tree.members, &name)?
        .and_then(|text| MemberRecord::parse(&name, text.as_bytes()).ok())
        .filter(|before| before.real_addresses() == record.real_addresses());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = now.as_millis() as u64;
    record.since = before.map_or(now, |before| before.since.min(now));

    let own = Own { tree: tree.clone(), name, record };
    own.check_overlays()?;
    own.write()?;
    Ok(own)
}

/// Keeps the record alive, as [`super::Registration::start`] has it.
pub async fn keep(
    own: Own,
    period: Duration,
    mut withdrawn: oneshot::Receiver<()>,
    tell: watch::Sender<Option<String>>,
) -> Result<()> {
    loop {
        let own = own.clone();
        match timeout(period, &mut withdrawn).await {
            Ok(Ok(())) => {
                let Some(leaving) = spawn_blocking(move || own.leave()).await?? else {
                    return Ok(());
                };
                sleep(registry::LEAVING).await;
                return spawn_blocking(move || leaving.remove()).await?;
            }
            Ok(Err(_dropped)) => return Ok(()),
            Err(_elapsed) => {}
        }
        let touched = spawn_blocking(move || own.touch()).await?;
        let trouble = touched.err().map(|error| format!("cannot be kept alive: {error:#}"));
        say(&tell, trouble);
    }
}

impl Own {
    fn write(&self) -> Result<()> {
        files::write(&self.tree.members, &self.name, &serde_json::to_vec(&self.record)?)
    }

    fn standing(&self) -> Result<Standing> {
        let text = files::read_bytes(&self.tree.members, &self.name)?;
        let record = text.and_then(|text| MemberRecord::parse(&self.name, &text).ok());
        Ok(match record {
            Some(record) if record == self.record => Standing::Ours,
            Some(record) if record.real_addresses() != self.record.real_addresses() => {
                Standing::Other(Box::new(record))
            }
            _ => Standing::Void,
        })
    }

    /// Says that the record is about to be removed, unless it is no longer there, or not this one:
    /// another process of this host may have taken it over.
    fn leave(self) -> Result<Option<Self>> {
        if !matches!(self.standing()?, Standing::Ours) {
            return Ok(None);
        }
        let record = MemberRecord { state: MemberState::Leaving, ..self.record.clone() };
        let leaving = Self { record, ..self };
        leaving.write()?;
        Ok(Some(leaving))
    }

    fn remove(&self) -> Result<()> {
        match self.standing()? {
            Standing::Ours => files::remove(&self.tree.members, &self.name),
            Standing::Void | Standing::Other(_) => Ok(()),
        }
    }

    /// Touches the record; writes it again if it is no longer there. It leaves another host's alone,
    /// and comes back with no address that was given to another host.
    fn touch(&self) -> Result<()> {
        self.check_overlays()?;
        let path = self.tree.members.join(&self.name);
        match self.standing()? {
            Standing::Other(other) => bail!("{}: {}", path.display(), taken(&self.record, &other)),
            Standing::Void => self.write(),
            Standing::Ours => {
                let now = TimeSpec::UTIME_NOW;
                utimensat(AT_FDCWD, &path, &now, &now, UtimensatFlags::FollowSymlink)
                    .with_context(|| format!("{}: cannot be touched", path.display()))
            }
        }
    }

    /// Fails where one of our overlay addresses is locked to another host, as when it was released
    /// while this host was away.
    fn check_overlays(&self) -> Result<()> {
        for address in &self.record.overlays {
            let owner = files::read(&self.tree.overlays, &address.to_string())?;
            if let Some(owner) = owner.filter(|owner| *owner != self.name) {
                bail!(
                    "{}: overlay address {address} belongs to {owner:?} by overlays/{address}; \
                     start neti again",
                    self.tree.members.join(&self.name).display(),
                );
            }
        }
        Ok(())
    }
}
