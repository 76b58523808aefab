//! Watches the tree and publishes what the fleet is. A thread of its own, because a file system may
//! block; it ends when nobody listens any more.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    os::unix::fs::MetadataExt,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use tokio::sync::watch;

use super::{
    Tree, errors, files,
    progress::Observed,
    roster::{Now, Roster, Stamp},
    watching::{Touched, Watching},
};
use crate::membership::Membership;

/// A record takes a few hundred bytes.
const LARGEST_RECORD: u64 = 64 * 1024;

/// Starts to observe, and has the first snapshot. It fails where that cannot be complete.
pub fn start(tree: Tree, ttl: Duration) -> Result<(Arc<Observed>, Receiver)> {
    let watching = Watching::start(&tree)?;
    let name = format!("registry {}", tree.root.display());
    let observed = Arc::new(Observed::new(name, Roster::new(ttl, tree.roll()?)));
    let mut observer =
        Observer { fleet_stamp: None, confirmed_stamp: None, observed: observed.clone(), tree };
    observer.list()?;
    observer.look_at_fleet();
    observed.rest();
    observed.publish();
    let receiver = observed.to.subscribe();
    thread::Builder::new()
        .name("registry".to_owned())
        .spawn(move || observer.run(ttl, watching))
        .context("cannot start the thread that observes the registry")?;
    Ok((observed, receiver))
}

type Receiver = watch::Receiver<Arc<Membership>>;

struct Observer {
    tree: Tree,
    fleet_stamp: Option<Stamp>,
    confirmed_stamp: Option<Stamp>,
    observed: Arc<Observed>,
}

impl Observer {
    fn run(mut self, ttl: Duration, watching: Watching) {
        let tick = (ttl / 10).clamp(Duration::from_millis(50), Duration::from_secs(1));
        let relist = ttl / 3;
        let mut watching = Some(watching);
        let (mut listed, mut expired) = (Instant::now(), Instant::now());
        let mut held_up = false;
        loop {
            let touched = match &watching {
                Some(watching) => watching.wait(tick),
                None => {
                    thread::sleep(tick);
                    Touched { everything: true, ..Touched::default() }
                }
            };
            if self.observed.to.is_closed() {
                return;
            }
            self.observed.step();
            let looked = if held_up || touched.everything || listed.elapsed() >= relist {
                listed = Instant::now();
                self.relist(&mut watching)
            } else {
                self.look(&touched)
            };
            held_up = self.observed.rest();
            let changed = match looked {
                // Only after looking: when this thread was held up, signs of life are waiting.
                Ok(changed) if !held_up && expired.elapsed() >= tick => {
                    expired = Instant::now();
                    changed | self.observed.roster().expire(Now::get())
                }
                Ok(changed) => changed,
                Err(error) => {
                    watching = None;
                    let why = format!("cannot be read: {error:#}");
                    self.observed.roster().roll.outage(&self.observed.name, why)
                }
            };
            if changed {
                if let Some(heard) = touched.heard {
                    self.observed.roster().roll.heard(heard);
                }
                self.observed.publish();
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
        self.observed.step();
        if stamp(&self.tree.fleet).ok() != self.fleet_stamp
            || stamp(&self.tree.confirmed).ok() != self.confirmed_stamp
        {
            changed |= self.look_at_fleet();
        }
        let mut roster = self.observed.roster();
        if roster.roll.reached(&self.observed.name) {
            roster.forgive(Now::get());
            return Ok(true);
        }
        Ok(changed)
    }

    fn list(&mut self) -> Result<bool> {
        let names = files::names(&self.tree.members)?;
        let mut changed = self.observed.roster().keep(&names.iter().map(String::as_str).collect());
        for name in &names {
            self.observed.step();
            let known = stamp(&self.tree.members.join(name))
                .is_ok_and(|stamp| self.observed.roster().is_known(name, stamp));
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

    /// Reads one member file. A file that cannot be read is that member's problem; a directory or a
    /// file system that cannot be is an outage.
    fn look_at(&mut self, name: &str) -> Result<bool> {
        self.observed.step();
        let path = self.tree.members.join(name);
        let (stamp, content) = match read(&path) {
            Ok((stamp, content)) => (stamp, content),
            Err(error) if errors::is_outage(&error) => {
                return Err(error).with_context(|| format!("{}: cannot be read", path.display()));
            }
            Err(error) => {
                // Who may not pass the directory, or finds none, learns nothing of what is in it.
                let members = &self.tree.members;
                std::fs::metadata(members.join("."))
                    .with_context(|| format!("{}: cannot be read", members.display()))?;
                if error.kind() == ErrorKind::NotFound {
                    return Ok(self.observed.roster().gone(name));
                }
                (NO_STAMP, Err(error.to_string()))
            }
        };
        Ok(self.observed.roster().seen(name, stamp, content, Now::get()))
    }

    /// Reads the settings and the last confirmation.
    fn look_at_fleet(&mut self) -> bool {
        self.fleet_stamp = stamp(&self.tree.fleet).ok();
        self.confirmed_stamp = stamp(&self.tree.confirmed).ok();
        let file = self.tree.fleet.display().to_string();
        let text = self.tree.settings().map_err(|error| format!("{error:#}"));
        // One that cannot be read confirms nothing.
        let confirmed = std::fs::read(&self.tree.confirmed).ok();
        let roll = &mut self.observed.roster().roll;
        let changed = roll.settings(&file, text.as_deref().map_err(String::clone));
        roll.confirmation(confirmed.as_deref()) | changed
    }
}

/// Of a file that lets nobody look at it.
const NO_STAMP: Stamp = Stamp { inode: 0, modified: SystemTime::UNIX_EPOCH };

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
