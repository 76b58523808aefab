//! The member files as they were last seen, and which of them show signs of life. Without I/O: the
//! observer tells it what it saw, and when.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use crate::membership::{HostId, MemberRecord, Problem};

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
    ttl: Duration,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    stamp: Stamp,
    /// When it is counted as gone; `None` when it is.
    expires: Option<Instant>,
    /// The file as it was read, or why it was not.
    content: Result<Vec<u8>, String>,
    record: Result<MemberRecord, String>,
}

impl Roster {
    pub fn new(ttl: Duration) -> Self {
        Self { ttl, entries: BTreeMap::new() }
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
        let expires = Some(now.monotonic + self.ttl);
        let Some(entry) = self.entries.get_mut(name) else {
            // Whose last sign of life is older than the ttl at first sight was gone before we came.
            // If that is only a clock that is off, its next heartbeat will tell.
            let age = now.wall.duration_since(stamp.modified).unwrap_or_default();
            let expires = expires.filter(|_| age <= self.ttl);
            let record = parse(name, &content);
            let changes = expires.is_some() || record.is_err();
            self.entries.insert(name.to_owned(), Entry { stamp, expires, content, record });
            return changes;
        };
        let mut changed = false;
        if entry.content != content {
            entry.record = parse(name, &content);
            entry.content = content;
            changed = true;
        }
        if changed || entry.stamp != stamp {
            changed |= entry.expires.is_none();
            entry.stamp = stamp;
            entry.expires = expires;
        }
        changed
    }

    /// Notes that there is no such file.
    pub fn gone(&mut self, name: &str) -> bool {
        self.entries.remove(name).is_some()
    }

    /// Notes that there are no files but those that `exists` knows.
    pub fn keep(&mut self, exists: impl Fn(&str) -> bool) -> bool {
        let before = self.entries.len();
        self.entries.retain(|name, _| exists(name));
        self.entries.len() != before
    }

    /// Counts those as gone who showed no sign of life for too long.
    pub fn expire(&mut self, now: Now) -> bool {
        let mut changed = false;
        for entry in self.entries.values_mut() {
            if entry.expires.is_some_and(|expires| expires <= now.monotonic) {
                entry.expires = None;
                changed = true;
            }
        }
        changed
    }

    /// Gives everybody who is not gone the full time again: nobody could show a sign of life while
    /// the registry was away.
    pub fn forgive(&mut self, now: Now) {
        for expires in self.entries.values_mut().filter_map(|entry| entry.expires.as_mut()) {
            *expires = now.monotonic + self.ttl;
        }
    }

    /// The members that are alive.
    pub fn members(&self) -> BTreeMap<HostId, MemberRecord> {
        let alive = self.entries.values().filter(|entry| entry.expires.is_some());
        let records = alive.filter_map(|entry| entry.record.as_ref().ok());
        records.map(|record| (record.id.clone(), record.clone())).collect()
    }

    /// The files that hold no record.
    pub fn problems(&self) -> Vec<Problem> {
        let broken = |(name, entry): (&String, &Entry)| {
            let what = format!("skipped: {}", entry.record.as_ref().err()?);
            Some(Problem { key: format!("members/{name}"), what })
        };
        self.entries.iter().filter_map(broken).collect()
    }
}

fn parse(name: &str, content: &Result<Vec<u8>, String>) -> Result<MemberRecord, String> {
    let bytes = content.as_ref().map_err(String::clone)?;
    MemberRecord::parse(name, bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
