//! The member files as they were last seen, and which of them show signs of life: those are on the
//! roll. Without I/O: the observer tells it what it saw, and when.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant, SystemTime},
};

use crate::{membership::MemberRecord, registry::roll::Roll};

/// What changes whenever a file is written, replaced or touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub inode: u64,
    pub modified: SystemTime,
}

/// The clocks at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub monotonic: Instant,
    pub wall: SystemTime,
}

impl Now {
    pub fn get() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }
}

#[derive(Debug)]
pub struct Roster {
    pub roll: Roll,
    ttl: Duration,
    entries: BTreeMap<String, Entry>,
    /// Until then nobody expires: whoever shows a sign of life expires later.
    quiet: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    stamp: Stamp,
    /// When it is counted as gone; `None` when it is.
    expires: Option<Instant>,
    /// A hash of the file, or of why it was not read.
    content: u64,
    /// It holds no record.
    broken: bool,
}

impl Roster {
    pub fn new(ttl: Duration, roll: Roll) -> Self {
        Self { roll, ttl, entries: BTreeMap::new(), quiet: None }
    }

    /// Whether the file is as it was when last seen, so that it need not be read.
    pub fn is_known(&self, name: &str, stamp: Stamp) -> bool {
        self.entries.get(name).is_some_and(|entry| entry.stamp == stamp)
    }

    /// Notes a file. Answers whether that changes the fleet, as all of these do.
    pub fn seen(
        &mut self,
        name: &str,
        stamp: Stamp,
        content: Result<Vec<u8>, String>,
        now: Now,
    ) -> bool {
        let hash = hash(&content);
        let alive = Some(now.monotonic + self.ttl);
        let expires = match self.entries.get_mut(name) {
            Some(entry) if entry.content == hash && entry.stamp == stamp => return false,
            Some(entry) if entry.content == hash && entry.expires.is_some() => {
                (entry.stamp, entry.expires) = (stamp, alive);
                return false;
            }
            Some(_) => alive,
            // Whose last sign of life is older than the ttl at first sight was gone before we came.
            // If that is only a clock that is off, its next heartbeat will tell.
            None => {
                let age = now.wall.duration_since(stamp.modified).unwrap_or_default();
                alive.filter(|_| age <= self.ttl)
            }
        };
        let record = parse(name, content);
        let broken = record.is_err();
        self.entries.insert(name.to_owned(), Entry { stamp, expires, content: hash, broken });
        (expires.is_some() || broken) && self.roll.told(name, record)
    }

    /// Notes that there is no such file.
    pub fn gone(&mut self, name: &str) -> bool {
        self.entries.remove(name);
        self.roll.gone(name)
    }

    /// Notes that there are no files but these.
    pub fn keep(&mut self, names: &HashSet<&str>) -> bool {
        self.entries.retain(|name, _| names.contains(name.as_str()));
        self.roll.keep(names)
    }

    /// Counts those as gone who showed no sign of life for too long.
    pub fn expire(&mut self, now: Now) -> bool {
        if self.quiet.is_some_and(|until| now.monotonic < until) {
            return false;
        }
        let mut quiet = now.monotonic + self.ttl;
        let mut changed = false;
        for (name, entry) in &mut self.entries {
            match entry.expires {
                Some(expires) if expires <= now.monotonic => {
                    entry.expires = None;
                    // What is broken stays reported until it is mended or removed.
                    changed |= !entry.broken && self.roll.gone(name);
                }
                Some(expires) => quiet = quiet.min(expires),
                None => {}
            }
        }
        self.quiet = Some(quiet);
        changed
    }

    /// Gives everybody who is not gone the full time again: nobody could show a sign of life while
    /// the registry was away.
    pub fn forgive(&mut self, now: Now) {
        for expires in self.entries.values_mut().filter_map(|entry| entry.expires.as_mut()) {
            *expires = now.monotonic + self.ttl;
        }
    }
}

fn parse(name: &str, content: Result<Vec<u8>, String>) -> Result<MemberRecord, String> {
    MemberRecord::parse(name, &content?).map_err(|error| error.to_string())
}

fn hash(content: &Result<Vec<u8>, String>) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
