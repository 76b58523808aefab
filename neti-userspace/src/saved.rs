//! What a host knows of its fleet, kept in a file, so that it comes up after a reboot while the
//! registry cannot be reached.
//!
//! The first line is a [`Header`], each other one a member's record, all JSON.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::spawn_blocking, time::sleep};

use crate::{
    addresses::Addresses,
    fleet::FleetSettings,
    membership::{Confirmation, FORMAT, HostId, MemberRecord, Members, Membership, unix_seconds},
};

/// Holds a file per instance.
pub const DIRECTORY: &str = "/var/lib/neti/state";

/// A state that was read back.
#[derive(Debug)]
pub struct Saved {
    pub overlays: Addresses,
    pub membership: Membership,
    /// When it was written.
    pub at: SystemTime,
}

/// Whose state it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub instance: String,
    pub host: HostId,
    /// The fleet, by the registry's kind and tree.
    pub fleet: String,
}

/// The first line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    format: u32,
    host: HostId,
    fleet: String,
    #[serde(with = "unix_seconds")]
    at: SystemTime,
    overlays: Addresses,
    settings: String,
    confirmed: Option<Confirmation>,
    /// How many lines follow.
    members: usize,
}

/// The state of `owner`; `None` if there is none, or it is another host's or fleet's.
pub fn read(owner: &Owner) -> Result<Option<Saved>> {
    read_file(&path(&owner.instance), owner)
}

/// Removes the state of an instance. Idempotent.
pub fn remove(instance: &str) -> Result<()> {
    let path = path(instance);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Writes whatever becomes of the fleet, some time after it has changed: soon in a small fleet, and
/// in a large one so seldom that it does not matter. It never ends.
pub async fn keep(
    owner: Owner,
    overlays: Addresses,
    mut membership: watch::Receiver<Option<Arc<Membership>>>,
) {
    membership.mark_changed();
    let mut failing = false;
    while membership.changed().await.is_ok() {
        let begun = Instant::now();
        let snapshot = membership.borrow_and_update().clone();
        // What an earlier state has told is no news.
        if let Some(snapshot) = snapshot.filter(|snapshot| snapshot.stale.is_none()) {
            let owner = owner.clone();
            let written = spawn_blocking(move || write(&owner, overlays, &snapshot)).await;
            let written = written.context("writing the state").flatten();
            match &written {
                Err(error) if !failing => {
                    tracing::warn!("{error:#}; after a reboot this host needs the registry");
                }
                _ => {}
            }
            failing = written.is_err();
        }
        sleep((begun.elapsed() * 100).max(PERIOD)).await;
    }
    std::future::pending().await
}

/// At least so long between two writings.
const PERIOD: Duration = Duration::from_secs(1);

/// Replaces the state of `owner`.
pub fn write(owner: &Owner, overlays: Addresses, snapshot: &Membership) -> Result<()> {
    write_file(&path(&owner.instance), owner, overlays, snapshot)
}

fn path(instance: &str) -> PathBuf {
    Path::new(DIRECTORY).join(format!("{instance}.jsonl"))
}

fn write_file(
    path: &Path,
    owner: &Owner,
    overlays: Addresses,
    snapshot: &Membership,
) -> Result<()> {
    let header = Header {
        format: FORMAT,
        host: owner.host.clone(),
        fleet: owner.fleet.clone(),
        at: SystemTime::now(),
        overlays,
        settings: snapshot.fleet_text.to_string(),
        confirmed: snapshot.confirmed.clone(),
        members: snapshot.members.len(),
    };
    let directory = path.parent().context("a state file is in a directory")?;
    let write = || -> io::Result<()> {
        fs::create_dir_all(directory)?;
        let file = tempfile::Builder::new().prefix(".").tempfile_in(directory)?;
        let mut out = BufWriter::new(file);
        serde_json::to_writer(&mut out, &header)?;
        for record in snapshot.members.values() {
            out.write_all(b"\n")?;
            serde_json::to_writer(&mut out, &**record)?;
        }
        out.write_all(b"\n")?;
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        File::open(directory)?.sync_all()
    };
    write().with_context(|| format!("{}: cannot be written", path.display()))
}

fn read_file(path: &Path, owner: &Owner) -> Result<Option<Saved>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
    };
    let saved = parse(BufReader::new(file), owner);
    saved.with_context(|| format!("{}: cannot be used", path.display()))
}

fn parse(file: impl BufRead, owner: &Owner) -> Result<Option<Saved>> {
    let mut lines = file.lines();
    let first = lines.next().context("it is empty")??;
    let header: Header = serde_json::from_str(&first).context("line 1")?;
    if header.format > FORMAT {
        bail!("format = {}: of a later neti; this one reads up to {FORMAT}", header.format);
    }
    if header.host != owner.host || header.fleet != owner.fleet {
        return Ok(None);
    }
    let mut members = Members::new();
    for (line, number) in lines.zip(2..) {
        let record = serde_json::from_str::<MemberRecord>(&line?);
        let record = record.with_context(|| format!("line {number}"))?;
        members.insert(record.id.clone(), Arc::new(record));
    }
    if members.len() != header.members {
        bail!("it has {} members, not {}", members.len(), header.members);
    }
    let fleet = FleetSettings::parse("settings", header.settings.as_bytes())?;
    let membership = Membership {
        revision: 0,
        heard: None,
        fleet: Arc::new(fleet),
        fleet_text: header.settings.into(),
        members,
        problems: Vec::new(),
        stale: None,
        outages: 0,
        confirmed: header.confirmed,
        held: None,
    };
    Ok(Some(Saved { overlays: header.overlays, membership, at: header.at }))
}

#[cfg(test)]
mod tests;
