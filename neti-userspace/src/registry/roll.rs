//! The fleet as a registry has told it so far. Without I/O: whoever follows a registry tells it what
//! it read, and publishes the snapshots.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Instant, SystemTime},
};

use tracing::{info, warn};

use crate::{
    fleet::{FleetError, FleetSettings},
    membership::{Confirmation, HostId, MemberRecord, Members, Membership, Problem, Stale},
};

#[derive(Debug)]
pub struct Roll {
    fleet: Arc<FleetSettings>,
    fleet_text: Arc<str>,
    members: Members,
    /// By key.
    problems: BTreeMap<String, String>,
    stale: Option<Stale>,
    outages: u64,
    confirmed: Option<Confirmation>,
    revision: u64,
    heard: Option<Instant>,
}

impl Roll {
    /// Begins with these settings, which `file` names in errors, and no member.
    pub fn new(file: &str, settings: &[u8]) -> Result<Self, FleetError> {
        Ok(Self {
            fleet: Arc::new(FleetSettings::parse(file, settings)?),
            fleet_text: String::from_utf8_lossy(settings).into(),
            members: Members::new(),
            problems: BTreeMap::new(),
            stale: None,
            outages: 0,
            confirmed: None,
            revision: 0,
            heard: None,
        })
    }

    /// Notes the record under `members/<name>`. Like the others, answers whether that changes the
    /// fleet.
    pub fn seen(&mut self, name: &str, record: &[u8]) -> bool {
        self.told(name, MemberRecord::parse(name, record).map_err(|error| error.to_string()))
    }

    /// Notes what there is under `members/<name>`: a record, or why it is none.
    pub fn told(&mut self, name: &str, record: Result<MemberRecord, String>) -> bool {
        let key = key(name);
        match record {
            Ok(record) => {
                let mended = self.problems.remove(&key).is_some();
                if self.members.get(&record.id).is_some_and(|known| **known == record) {
                    return mended;
                }
                self.members.insert(record.id.clone(), Arc::new(record));
                true
            }
            Err(why) => {
                let what = format!("skipped: {why}");
                let news = self.problems.get(&key) != Some(&what);
                self.problems.insert(key, what);
                self.forget(name) | news
            }
        }
    }

    /// Notes that there is no `members/<name>`.
    pub fn gone(&mut self, name: &str) -> bool {
        self.problems.remove(&key(name)).is_some() | self.forget(name)
    }

    /// Notes that there is nothing under `members` but these.
    pub fn keep(&mut self, names: &HashSet<&str>) -> bool {
        let members = self.members.keys().map(HostId::as_str);
        let broken = self.problems.keys().filter_map(|key| key.strip_prefix(MEMBERS));
        let gone = members.chain(broken).filter(|name| !names.contains(name));
        let gone: Vec<String> = gone.map(str::to_owned).collect();
        gone.iter().fold(false, |changed, name| self.gone(name) | changed)
    }

    /// Notes the settings, or that they cannot be had. The last good ones are kept in place of
    /// broken ones, which are reported.
    pub fn settings(&mut self, file: &str, settings: Result<&[u8], String>) -> bool {
        let parsed = settings.and_then(|text| {
            FleetSettings::parse(file, text)
                .map(|fleet| (fleet, text))
                .map_err(|error| error.to_string())
        });
        match parsed {
            Ok((fleet, text)) => {
                let mended = self.problems.remove(FLEET).is_some();
                self.fleet_text = String::from_utf8_lossy(text).into();
                if *self.fleet == fleet {
                    return mended;
                }
                self.fleet = Arc::new(fleet);
                true
            }
            Err(why) => {
                let what = format!("{why}; the settings before are kept");
                let news = self.problems.get(FLEET) != Some(&what);
                self.problems.insert(FLEET.to_owned(), what);
                news
            }
        }
    }

    /// Notes the last confirmation of removals; one that cannot be read is none.
    pub fn confirmation(&mut self, text: Option<&[u8]>) -> bool {
        let parsed = text.map(serde_json::from_slice::<Confirmation>).transpose();
        let problem = parsed.as_ref().err().map(|error| format!("no confirmation: {error}"));
        let news = self.problems.get(CONFIRMED) != problem.as_ref();
        match problem {
            Some(problem) => self.problems.insert(CONFIRMED.to_owned(), problem),
            None => self.problems.remove(CONFIRMED),
        };
        let confirmed = parsed.ok().flatten();
        let changed = confirmed.is_some() && confirmed != self.confirmed;
        if changed {
            self.confirmed = confirmed;
        }
        changed | news
    }

    /// Notes that the registry cannot be followed: what is known is kept. Logged once, however often
    /// it is tried again; the last reason is kept. `registry` is what the log calls it.
    pub fn outage(&mut self, registry: &str, why: String) -> bool {
        if let Some(stale) = &mut self.stale {
            let news = stale.why != why;
            stale.why = why;
            return news;
        }
        warn!("{registry}: {why}; the last known fleet is kept");
        self.stale = Some(Stale { since: SystemTime::now(), why });
        self.outages += 1;
        true
    }

    /// Notes that the registry is followed again.
    pub fn reached(&mut self, registry: &str) -> bool {
        let stale = self.stale.take();
        if let Some(stale) = &stale {
            let outage = stale.since.elapsed().unwrap_or_default();
            info!("{registry}: followed again, after {:.1} s", outage.as_secs_f64());
        }
        stale.is_some()
    }

    /// Notes when this host heard of something that has changed the fleet.
    pub fn heard(&mut self, at: Instant) {
        self.heard.get_or_insert(at);
    }

    /// The settings in force.
    pub fn fleet(&self) -> &Arc<FleetSettings> {
        &self.fleet
    }

    /// What is known, as the next revision.
    pub fn snapshot(&mut self) -> Arc<Membership> {
        self.revision += 1;
        let problem =
            |(key, what): (&String, &String)| Problem { key: key.clone(), what: what.clone() };
        Arc::new(Membership {
            revision: self.revision,
            heard: self.heard.take(),
            fleet: self.fleet.clone(),
            fleet_text: self.fleet_text.clone(),
            members: self.members.clone(),
            problems: self.problems.iter().map(problem).collect(),
            stale: self.stale.clone(),
            outages: self.outages,
            confirmed: self.confirmed.clone(),
            held: None,
        })
    }

    fn forget(&mut self, name: &str) -> bool {
        self.members.remove(name).is_some()
    }
}

const MEMBERS: &str = "members/";
const FLEET: &str = "fleet";
const CONFIRMED: &str = "confirmed";

fn key(name: &str) -> String {
    format!("{MEMBERS}{name}")
}

#[cfg(test)]
mod tests;
