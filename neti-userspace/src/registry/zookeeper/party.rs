//! The members of a classic fleet: their nodes' names, and whose overlay addresses are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::Ipv4Addr,
};

use super::classic::{Member, stand_in};
use crate::membership::{HostId, MemberRecord};

/// What there is to tell of the names under `members`: a record, why it is none, or that it is gone.
pub type Told = Vec<(String, Option<Result<MemberRecord, String>>)>;

#[derive(Debug, Default)]
pub struct Party {
    /// The nodes of each overlay address: more than one while an older session of a host has not
    /// ended.
    nodes: BTreeMap<Ipv4Addr, BTreeSet<String>>,
    /// Whose the addresses are.
    owners: HashMap<Ipv4Addr, HostId>,
    /// By which ids they have been told.
    told: HashMap<Ipv4Addr, HostId>,
    /// And the addresses of those.
    holders: HashMap<HostId, Ipv4Addr>,
    /// Nodes whose address a newer one with other real addresses has.
    outdone: HashMap<Ipv4Addr, BTreeSet<String>>,
    /// Whose nodes or owner have changed since they were told.
    changed: BTreeSet<Ipv4Addr>,
    /// About nodes that are no members'.
    problems: Told,
}

impl Party {
    /// Notes that there is a node.
    pub fn joined(&mut self, name: &str) {
        match Member::parse(name) {
            Ok(member) => {
                self.nodes.entry(member.overlay).or_default().insert(name.to_owned());
                self.changed.insert(member.overlay);
            }
            Err(why) => self.problems.push((name.to_owned(), Some(Err(why)))),
        }
    }

    /// Notes that there is none.
    pub fn left(&mut self, name: &str) {
        let Ok(member) = Member::parse(name) else {
            self.problems.push((name.to_owned(), None));
            return;
        };
        if let Some(nodes) = self.nodes.get_mut(&member.overlay) {
            nodes.remove(name);
            if nodes.is_empty() {
                self.nodes.remove(&member.overlay);
            }
            self.changed.insert(member.overlay);
        }
    }

    /// Notes that the owner of an address may have changed.
    pub fn touched(&mut self, overlay: Ipv4Addr) {
        self.changed.insert(overlay);
    }

    /// The addresses whose owners must be read before [`tell`](Self::tell).
    pub fn changed(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.changed.iter().copied()
    }

    /// Those of them that have a member and no owner, and will be told by a stand-in.
    pub fn lacking(&self) -> impl Iterator<Item = Ipv4Addr> {
        let lacks = |overlay: &Ipv4Addr| {
            self.nodes.contains_key(overlay)
                && !self.owners.contains_key(overlay)
                && self.told.get(overlay) != stand_in(*overlay).as_ref()
        };
        self.changed().filter(lacks)
    }

    /// Notes whose an address is.
    pub fn owned(&mut self, overlay: Ipv4Addr, owner: Option<HostId>) {
        match owner {
            Some(owner) => self.owners.insert(overlay, owner),
            None => self.owners.remove(&overlay),
        };
    }

    /// The nodes of changed addresses that say different things, which must be told apart by age.
    pub fn disputed(&self) -> Vec<String> {
        let nodes = self.changed.iter().filter_map(|overlay| self.nodes.get(overlay));
        let differ = |names: &&BTreeSet<String>| {
            let said: BTreeSet<_> =
                names.iter().map(|name| name.split_once('-')).map(said).collect();
            said.len() > 1
        };
        nodes.filter(differ).flatten().cloned().collect()
    }

    /// What has changed. `age` orders disputed nodes, the newest last.
    pub fn tell(&mut self, age: &HashMap<String, i64>) -> Told {
        let changed = std::mem::take(&mut self.changed);
        let mut before = BTreeSet::new();
        for overlay in &changed {
            if let Some(id) = self.told.remove(overlay) {
                self.holders.remove(&id);
                before.insert(id);
            }
        }
        let mut members = Told::new();
        for overlay in changed {
            self.tell_outdone(overlay, age);
            let Some(names) = self.nodes.get(&overlay) else { continue };
            let Some(member) = newest(names, age).and_then(|name| Member::parse(name).ok()) else {
                continue;
            };
            // An id that has another address already names one member only.
            let owner = self.owners.get(&overlay).filter(|id| !self.holders.contains_key(*id));
            let Some(id) = owner.cloned().or_else(|| stand_in(overlay)) else { continue };
            before.remove(&id);
            self.told.insert(overlay, id.clone());
            self.holders.insert(id.clone(), overlay);
            members.push((id.to_string(), Some(Ok(member.record(id)))));
        }
        let gone = before.into_iter().map(|id| (id.to_string(), None));
        let problems = std::mem::take(&mut self.problems);
        gone.chain(problems).chain(members).collect()
    }

    /// Notes which nodes of an address are left out for a newer one, and which are no more.
    fn tell_outdone(&mut self, overlay: Ipv4Addr, age: &HashMap<String, i64>) {
        let names = self.nodes.get(&overlay);
        let newest = names.and_then(|names| newest(names, age));
        let differs = |name: &&String| {
            newest.is_some_and(|newest| said(name.split_once('-')) != said(newest.split_once('-')))
        };
        let outdone: BTreeSet<String> =
            names.into_iter().flatten().filter(differs).cloned().collect();
        let before = self.outdone.remove(&overlay).unwrap_or_default();
        let over = before.difference(&outdone).map(|name| (name.clone(), None));
        self.problems.extend(over);
        if let Some(newest) = newest.filter(|_| !outdone.is_empty()) {
            let what = format!("overlay = {overlay}: is that of {newest} too, which is newer");
            let told = outdone.iter().map(|name| (name.clone(), Some(Err(what.clone()))));
            self.problems.extend(told);
            self.outdone.insert(overlay, outdone);
        }
    }
}

fn newest<'a>(names: &'a BTreeSet<String>, age: &HashMap<String, i64>) -> Option<&'a String> {
    names.iter().max_by_key(|name| age.get(*name))
}

/// What a name says, without what makes it its own.
fn said<'a>(name: Option<(&'a str, &'a str)>) -> &'a str {
    name.map_or("", |(_, said)| said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::sample::id;

    const OVERLAY: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 9);

    fn name(uuid: &str, private: &str) -> String {
        format!("{uuid}-54.0.0.9|{private}|{OVERLAY}|1")
    }

    /// What is told, in short.
    fn told(party: &mut Party, age: &[(&str, i64)]) -> Vec<String> {
        let age = age.iter().map(|(name, age)| ((*name).to_owned(), *age)).collect();
        let short = |(name, what): (String, Option<Result<MemberRecord, String>>)| match what {
            None => format!("{name} gone"),
            Some(Ok(record)) => format!("{name} at {}", record.private),
            Some(Err(why)) => format!("{name}: {why}"),
        };
        party.tell(&age).into_iter().map(short).collect()
    }

    #[test]
    fn a_member_has_the_id_that_its_address_belongs_to() {
        let mut party = Party::default();
        party.joined(&name("a", "10.0.0.9"));
        assert_eq!(party.changed().collect::<Vec<_>>(), [OVERLAY]);
        assert_eq!(party.lacking().collect::<Vec<_>>(), [OVERLAY]);
        assert_eq!(told(&mut party, &[]), ["classic-100.64.0.9 at 10.0.0.9"]);
        party.touched(OVERLAY);
        assert_eq!(party.lacking().count(), 0, "it is told so already");
        // The daemon's second create comes after.
        party.touched(OVERLAY);
        party.owned(OVERLAY, Some(id("i-9")));
        assert_eq!(told(&mut party, &[]), ["classic-100.64.0.9 gone", "i-9 at 10.0.0.9"]);
        party.left(&name("a", "10.0.0.9"));
        assert_eq!(told(&mut party, &[]), ["i-9 gone"]);
        assert!(told(&mut party, &[]).is_empty());
    }

    #[test]
    fn the_newest_node_of_an_address_counts() {
        let mut party = Party::default();
        party.owned(OVERLAY, Some(id("i-9")));
        let (old, new) = (name("b", "10.0.0.8"), name("a", "10.0.0.9"));
        party.joined(&old);
        told(&mut party, &[]);
        party.joined(&name("c", "10.0.0.8"));
        assert!(party.disputed().is_empty(), "both say the same");
        party.left(&name("c", "10.0.0.8"));
        party.joined(&new);
        assert_eq!(party.disputed(), [new.clone(), old.clone()]);
        let what = format!("{old}: overlay = {OVERLAY}: is that of {new} too, which is newer");
        assert_eq!(told(&mut party, &[(&old, 1), (&new, 2)]), [&what, "i-9 at 10.0.0.9"]);
        party.left(&old);
        assert_eq!(told(&mut party, &[]), [&format!("{old} gone"), "i-9 at 10.0.0.9"]);
    }

    #[test]
    fn an_id_names_one_member() {
        let mut party = Party::default();
        party.joined(&name("a", "10.0.0.9"));
        party.joined("b-54.0.0.8|10.0.0.8|100.64.0.8|0");
        party.owned(OVERLAY, Some(id("i-9")));
        party.owned(Ipv4Addr::new(100, 64, 0, 8), Some(id("i-9")));
        assert_eq!(told(&mut party, &[]), ["i-9 at 10.0.0.8", "classic-100.64.0.9 at 10.0.0.9"]);
    }

    #[test]
    fn what_is_no_member_is_told_until_it_is_gone() {
        let mut party = Party::default();
        party.joined("lock");
        assert!(told(&mut party, &[])[0].starts_with("lock: no -; must be"));
        party.left("lock");
        assert_eq!(told(&mut party, &[]), ["lock gone"]);
    }
}
