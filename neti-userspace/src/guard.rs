//! Holds mass removals: a registry that suddenly knows far fewer members than a moment ago is
//! more likely broken than right, and the hosts it forgets would be cut off by all others.
//!
//! Members that vanish are let go as long as they are few ([`limit`]) within [`WINDOW`]. More than
//! that are held: they stay in the fleet as they were, while whatever else changes is taken, until
//! they come back, an operator confirms that they are meant to go, or the settings allow it. Pure:
//! the caller tells the time.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use imbl::ordmap::DiffItem;
use tracing::{info, warn};

use crate::membership::{Held, HostId, MemberRecord, Members, Membership};

/// Removals within this time are counted together: servers forget many hosts one by one.
pub const WINDOW: Duration = Duration::from_secs(60);

/// Fleets up to this size have no limit but the settings'.
const SMALL: usize = 50;

/// How many held members are named.
const NAMED: usize = 10;

/// How many members of a fleet of `size` may vanish within [`WINDOW`]: what the settings say, and of
/// a fleet of more than 50 never more than a fifth.
pub fn limit(max_removals: usize, size: usize) -> usize {
    if size > SMALL { max_removals.min(size / 5) } else { max_removals }
}

/// What was let through so far.
pub struct Guard {
    me: HostId,
    passed: Members,
    /// Members that were let go within the window, and when.
    gone: BTreeMap<HostId, Instant>,
    held: Option<Held>,
    /// How many were held when the log last heard of it.
    told: usize,
    /// The last confirmation that was looked at.
    confirmed: Option<String>,
}

impl Guard {
    /// Begins with what is in force: `passed` members, and the last confirmation they rest on. Our
    /// own host is never held.
    pub fn new(me: HostId, passed: Members, confirmed: Option<String>) -> Self {
        Self { me, passed, gone: BTreeMap::new(), held: None, told: 0, confirmed }
    }

    /// What of `snapshot` is to be in force: the same if nothing is held, else with the held members
    /// as they were.
    pub fn pass(&mut self, snapshot: &Arc<Membership>, now: Instant) -> Arc<Membership> {
        self.gone.retain(|id, at| {
            now.duration_since(*at) < WINDOW && !snapshot.members.contains_key(id)
        });
        let vanished: Vec<(HostId, Arc<MemberRecord>)> = self
            .passed
            .diff(&snapshot.members)
            .filter_map(|item| match item {
                DiffItem::Remove(id, record) if *id != self.me => {
                    Some((id.clone(), record.clone()))
                }
                _ => None,
            })
            .collect();
        let limit = limit(snapshot.fleet.max_removals, self.passed.len() + self.gone.len());
        let confirmed = self.confirms(snapshot, vanished.len());
        if confirmed || self.gone.len() + vanished.len() <= limit {
            if !confirmed {
                self.gone.extend(vanished.into_iter().map(|(id, _)| (id, now)));
            }
            self.release();
            self.passed = snapshot.members.clone();
            return snapshot.clone();
        }
        let mut members = snapshot.members.clone();
        let names = vanished.iter().take(NAMED).map(|(id, _)| id.clone()).collect();
        let since = self.held.take().map_or_else(SystemTime::now, |held| held.since);
        let held = Held { count: vanished.len(), limit, since, names };
        members.extend(vanished);
        self.tell(&held);
        self.held = Some(held.clone());
        self.passed = members.clone();
        Arc::new(Membership { members, held: Some(held), ..Membership::clone(snapshot) })
    }

    /// When to look at the same snapshot again, for what is held may be few enough by then.
    pub fn again(&self) -> Option<Instant> {
        let first = self.gone.values().min()?;
        self.held.as_ref().map(|_| *first + WINDOW)
    }

    /// Whether an operator has confirmed, since the last look, that so many may vanish.
    fn confirms(&mut self, snapshot: &Membership, vanished: usize) -> bool {
        let Some(confirmation) = &snapshot.confirmed else { return false };
        if self.confirmed.as_ref() == Some(&confirmation.id) {
            return false;
        }
        self.confirmed = Some(confirmation.id.clone());
        let enough = vanished <= confirmation.removals;
        if !enough {
            warn!(
                "an operator has confirmed {} removals, but {vanished} members have vanished: they \
                 are held; look at them and confirm again",
                confirmation.removals
            );
        }
        enough
    }

    fn release(&mut self) {
        if let Some(held) = self.held.take() {
            info!("no removals are held any more: {} members were", held.count);
        }
        self.told = 0;
    }

    /// Says it when it begins and whenever twice as many are held.
    fn tell(&mut self, held: &Held) {
        if held.count < self.told.saturating_mul(2) {
            return;
        }
        self.told = held.count;
        warn!("{held}");
    }
}

#[cfg(test)]
mod tests;
