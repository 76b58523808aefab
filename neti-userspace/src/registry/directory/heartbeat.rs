//! Our own record: written, kept alive by touching it, removed at the end.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
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

use super::files;
use crate::{
    membership::{MemberRecord, MemberState},
    registry::{self, say, taken},
};

/// A record as it was written.
#[derive(Debug, Clone)]
pub struct Own {
    members: PathBuf,
    name: String,
    record: MemberRecord,
}

/// Sees to it that no other host keeps a record of our id alive.
pub async fn alone(members: &Path, record: &MemberRecord, ttl: Duration) -> Result<()> {
    let Some(other) = other(members, record)? else { return Ok(()) };
    let path = members.join(record.id.as_str());
    let touched = || std::fs::metadata(&path).and_then(|metadata| metadata.modified()).ok();
    let before = touched();
    // Its heartbeats come three times per ttl.
    let deadline = Instant::now() + ttl / 2;
    while Instant::now() < deadline {
        sleep((ttl / 20).min(Duration::from_millis(200))).await;
        if touched() != before && self::other(members, record)?.is_some() {
            bail!("{}: {}", path.display(), taken(record, &other));
        }
    }
    Ok(())
}

/// The record of our id, if it names other real addresses than ours.
fn other(members: &Path, record: &MemberRecord) -> Result<Option<MemberRecord>> {
    let name = record.id.as_str();
    let text = files::read(members, name)?;
    let other = text.and_then(|text| MemberRecord::parse(name, text.as_bytes()).ok());
    Ok(other.filter(|other| other.real_addresses() != record.real_addresses()))
}

/// Writes `record` with the time from which it holds its addresses.
pub fn announce(members: &Path, mut record: MemberRecord) -> Result<Own> {
    let name = record.id.to_string();
    let before = files::read(members, &name)?
        .and_then(|text| MemberRecord::parse(&name, text.as_bytes()).ok())
        .filter(|before| before.real_addresses() == record.real_addresses());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = now.as_millis() as u64;
    record.since = before.map_or(now, |before| before.since.min(now));

    let own = Own { members: members.to_owned(), name, record };
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
                let leave = own.clone();
                spawn_blocking(move || leave.leave()).await??;
                sleep(registry::LEAVING).await;
                return spawn_blocking(move || files::remove(&own.members, &own.name)).await?;
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
        files::write(&self.members, &self.name, &serde_json::to_vec(&self.record)?)
    }

    /// Says that the record is about to be removed.
    fn leave(self) -> Result<()> {
        let record = MemberRecord { state: MemberState::Leaving, ..self.record.clone() };
        Self { record, ..self }.write()
    }

    /// Touches the record; writes it again if somebody has removed it.
    fn touch(&self) -> Result<()> {
        let path = self.members.join(&self.name);
        let now = TimeSpec::UTIME_NOW;
        match utimensat(AT_FDCWD, &path, &now, &now, UtimensatFlags::FollowSymlink) {
            Ok(()) => Ok(()),
            Err(Errno::ENOENT) => self.write(),
            Err(errno) => {
                Err(errno).with_context(|| format!("{}: cannot be touched", path.display()))
            }
        }
    }
}
