//! What etcd has told of the fleet so far, and at which revision. Without I/O.
//!
//! A revision orders all writes. Events and lists overlap, and a list takes time: what is told twice
//! or too late is known by its revision and changes nothing, so that the view never goes back.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use crate::{
    membership::MemberRecord,
    registry::{packed::unpack, roll::Roll},
};

/// One of the keys beside the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Single {
    Fleet,
    Confirmed,
}

#[derive(Debug)]
pub struct Followed {
    pub roll: Roll,
    /// What the settings' key is called in messages.
    fleet_key: String,
    /// The revision at which each member was last written.
    written: HashMap<Box<str>, i64>,
    /// While a list is under way: those that were deleted since, which it may have still.
    deleted: Option<HashMap<Box<str>, i64>>,
    /// The revision of the last list: what happened to members until then is known by it.
    floor: i64,
    fleet: i64,
    confirmed: i64,
}

/// The pages of a list so far.
#[derive(Debug)]
pub struct Listing {
    revision: i64,
    members: Vec<Listed>,
}

#[derive(Debug)]
struct Listed {
    name: Box<str>,
    revision: i64,
    /// `None`: as it is known.
    record: Option<Result<MemberRecord, String>>,
}

impl Listing {
    /// Notes the revision that is listed.
    pub fn at(&mut self, revision: i64) {
        self.revision = revision;
    }
}

impl Followed {
    pub fn new(roll: Roll, fleet_key: String) -> Self {
        let written = HashMap::new();
        Self { roll, fleet_key, written, deleted: None, floor: 0, fleet: 0, confirmed: 0 }
    }

    /// Notes that `members/<name>` was written. Answers whether that changes the fleet, as all of
    /// these do.
    pub fn written(&mut self, name: &str, revision: i64, value: &[u8]) -> bool {
        if self.known(name) >= revision {
            return false;
        }
        self.written.insert(name.into(), revision);
        self.roll.seen(name, value)
    }

    /// Notes that `members/<name>` was deleted.
    pub fn deleted(&mut self, name: &str, revision: i64) -> bool {
        if self.known(name) >= revision {
            return false;
        }
        self.written.remove(name);
        if let Some(deleted) = &mut self.deleted {
            deleted.insert(name.into(), revision);
        }
        self.roll.gone(name)
    }

    /// Notes what stands, or does not, under a key beside the members since `revision`.
    pub fn single(&mut self, key: Single, revision: i64, value: Option<&[u8]>) -> bool {
        let known = match key {
            Single::Fleet => &mut self.fleet,
            Single::Confirmed => &mut self.confirmed,
        };
        if *known >= revision {
            return false;
        }
        *known = revision;
        match key {
            Single::Fleet => {
                let text = value.map(unpack).ok_or_else(|| missing(&self.fleet_key));
                self.roll.settings(&self.fleet_key, text.as_deref().map_err(Clone::clone))
            }
            Single::Confirmed => self.roll.confirmation(value),
        }
    }

    /// Begins a list, of a revision that comes from now on.
    pub fn list(&mut self) -> Listing {
        self.deleted = Some(HashMap::new());
        Listing { revision: 0, members: Vec::new() }
    }

    /// Notes that the list that was begun will not be taken up.
    pub fn abandon(&mut self) {
        self.deleted = None;
    }

    /// Notes a page of a list: which members there are, since which revision. Nothing changes yet.
    pub fn page<'a>(
        &self,
        listing: &mut Listing,
        page: impl Iterator<Item = (Cow<'a, str>, i64, &'a [u8])>,
    ) {
        listing.members.extend(page.map(|(name, revision, value)| {
            let parse = || MemberRecord::parse(&name, value).map_err(|error| error.to_string());
            let record = (self.known(&name) < revision).then(parse);
            Listed { name: (*name).into(), revision, record }
        }));
    }

    /// Takes up a list that is complete.
    pub fn listed(&mut self, listing: Listing) -> bool {
        // What was written since is not in the list.
        let since = self.written.iter().filter(|(_, written)| **written > listing.revision);
        let listed = listing.members.iter().map(|listed| &listed.name);
        let names: HashSet<&str> =
            since.map(|(name, _)| name).chain(listed).map(|name| &**name).collect();
        let mut changed = self.roll.keep(&names);
        let gone = self.written.keys().filter(|name| !names.contains(&***name));
        for name in gone.cloned().collect::<Vec<_>>() {
            self.written.remove(&name);
        }
        for Listed { name, revision, record } in listing.members {
            if let Some(record) = record
                && self.known(&name) < revision
            {
                changed |= self.roll.told(&name, record);
                self.written.insert(name, revision);
            }
        }
        self.deleted = None;
        self.floor = self.floor.max(listing.revision);
        changed
    }

    /// Notes that revisions count anew: this is another store, or one that was put back to what it
    /// was. What is known stays until a list comes.
    pub fn another_store(&mut self) {
        self.written.clear();
        self.deleted = None;
        (self.floor, self.fleet, self.confirmed) = (0, 0, 0);
    }

    /// How many members are known, those with a broken record among them.
    pub fn count(&self) -> usize {
        self.written.len()
    }

    /// The revision of the last that is known of a member.
    fn known(&self, name: &str) -> i64 {
        let deleted = || self.deleted.as_ref()?.get(name);
        self.written.get(name).or_else(deleted).copied().unwrap_or(0).max(self.floor)
    }
}

/// What is wrong where there are no settings.
pub fn missing(key: &str) -> String {
    format!("{key}: there are no fleet settings; `neti fleet set --file` writes them")
}

#[cfg(test)]
mod tests;
