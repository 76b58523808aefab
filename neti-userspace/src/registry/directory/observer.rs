//! Watches the tree and publishes what the fleet is. A thread of its own, because a file system may
//! block; it ends when nobody listens any more.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::sync::watch;

use super::{
    Tree, files,
    roster::{Now, Roster, Stamp},
    watching::{Touched, Watching},
};
use crate::membership::Membership;

/// A record takes a few hundred bytes.
const LARGEST_RECORD: u64 = 64 * 1024;

/// Starts to observe, and publishes the first snapshot. It fails where that cannot be complete.
pub fn start(tree: Tree, ttl: Duration) -> Result<watch::Receiver<Arc<Membership>>> {
    let watching = Watching::start(&tree)?;
    let mut observer = Observer {
        fleet_stamp: None,
        confirmed_stamp: None,
        roster: Roster::new(ttl, tree.roll()?),
        name: format!("registry {}", tree.root.display()),
        tree,
    };
    observer.list()?;
    observer.look_at_fleet();
    let (sender, receiver) = watch::channel(observer.roster.roll.snapshot());
    thread::Builder::new()
        .name("registry".to_owned())
        .spawn(move || observer.run(ttl, watching, &sender))
        .context("cannot start the thread that observes the registry")?;
    Ok(receiver)
}

struct Observer {
    tree: Tree,
    /// What the log calls the registry.
    name: String,
    fleet_stamp: Option<Stamp>,
    confirmed_stamp: Option<Stamp>,
    roster: Roster,
}

impl Observer {
    fn run(mut self, ttl: Duration, watching: Watching, to: &watch::Sender<Arc<Membership>>) {
        let tick = (ttl / 10).clamp(Duration::from_millis(50), Duration::from_secs(1));
        let relist = ttl / 3;
        let mut watching = Some(watching);
        let (mut listed, mut expired) = (Instant::now(), Instant::now());
        loop {
            let touched = match &watching {
                Some(watching) => watching.wait(tick),
                None => {
                    thread::sleep(tick);
                    Touched { everything: true, ..Touched::default() }
                }
            };
            if to.is_closed() {
                return;
            }
            let looked = if touched.everything || listed.elapsed() >= relist {
                listed = Instant::now();
                self.relist(&mut watching)
            } else {
                self.look(&touched)
            };
            let changed = match looked {
                // Only after looking: when this thread was held up, signs of life are waiting.
                Ok(changed) if expired.elapsed() >= tick => {
                    expired = Instant::now();
                    changed | self.roster.expire(Now::get())
                }
                Ok(changed) => changed,
                Err(error) => {
                    watching = None;
                    self.roster.roll.outage(&self.name, format!("cannot be read: {error:#}"))
                }
            };
            if changed {
                to.send_replace(self.roster.roll.snapshot());
            }
        }
    }

    /// Looks at everything, with a watch on what is there. The watch comes first: what changes
    /// between the two is then seen twice, not missed.
    fn relist(&mut self, watching: &mut Option<Watching>) -> Result<bool> {
        let current = match watching {
            Some(watching) => watching.is_current()?,
            None => false,
        };
        if !current {
            *watching = Some(Watching::start(&self.tree)?);
        }
        let mut changed = self.list()?;
        if stamp(&self.tree.fleet).ok() != self.fleet_stamp
            || stamp(&self.tree.confirmed).ok() != self.confirmed_stamp
        {
            changed |= self.look_at_fleet();
        }
        if self.roster.roll.reached(&self.name) {
            self.roster.forgive(Now::get());
            return Ok(true);
        }
        Ok(changed)
    }

    fn list(&mut self) -> Result<bool> {
        let names = files::names(&self.tree.members)?;
        let mut changed = self.roster.keep(&names.iter().map(String::as_str).collect());
        for name in &names {
            let known = stamp(&self.tree.members.join(name))
                .is_ok_and(|stamp| self.roster.is_known(name, stamp));
            if !known {
                changed |= self.look_at(name)?;
            }
        }
        Ok(changed)
    }

    fn look(&mut self, touched: &Touched) -> Result<bool> {
        let mut changed = touched.fleet && self.look_at_fleet();
        for name in &touched.members {
            changed |= self.look_at(name)?;
        }
        Ok(changed)
    }

    /// Reads one member file. A file that cannot be read is that member's problem; a file system
    /// that cannot be read is an outage.
    fn look_at(&mut self, name: &str) -> Result<bool> {
        let path = self.tree.members.join(name);
        match read(&path) {
            Ok((stamp, content)) => Ok(self.roster.seen(name, stamp, content, Now::get())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(self.roster.gone(name)),
            Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
        }
    }

    /// Reads the settings and the last confirmation.
    fn look_at_fleet(&mut self) -> bool {
        self.fleet_stamp = stamp(&self.tree.fleet).ok();
        self.confirmed_stamp = stamp(&self.tree.confirmed).ok();
        let file = self.tree.fleet.display().to_string();
        let text = self.tree.settings().map_err(|error| format!("{error:#}"));
        let changed = self.roster.roll.settings(&file, text.as_deref().map_err(String::clone));
        // One that cannot be read confirms nothing.
        let confirmed = std::fs::read(&self.tree.confirmed).ok();
        self.roster.roll.confirmation(confirmed.as_deref()) | changed
    }
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    Ok(Stamp { inode: metadata.ino(), modified: metadata.modified()? })
}

/// The file's stamp, and its content or why it can be no record.
fn read(path: &Path) -> io::Result<(Stamp, Result<Vec<u8>, String>)> {
    // The stamp comes first: what is written in between makes another event.
    let metadata = std::fs::metadata(path)?;
    let stamp = Stamp { inode: metadata.ino(), modified: metadata.modified()? };
    // To open a pipe would block.
    if !metadata.is_file() {
        return Ok((stamp, Err("not a file".to_owned())));
    }
    if metadata.len() > LARGEST_RECORD {
        return Ok((stamp, Err(format!("larger than {LARGEST_RECORD} bytes"))));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    match File::open(path).and_then(|file| file.take(LARGEST_RECORD).read_to_end(&mut bytes)) {
        Ok(_) => Ok((stamp, Ok(bytes))),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Ok((stamp, Err(error.to_string())))
        }
        Err(error) => Err(error),
    }
}
