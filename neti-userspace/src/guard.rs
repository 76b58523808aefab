//! Holds back removals. A host that is alive may lose its record for a moment, and all of them may
//! while a registry is away; and a registry that suddenly knows far fewer members than before is
//! more likely broken than right. Who is removed is cut off by all others.
//!
//! - A member that says that it leaves need not be waited for.
//! - A record that vanishes without that word is waited for: [`GRACE`], and after an outage of the
//!   registry, in which nobody could show a sign of life, [`SETTLING`].
//! - Members that stay away or leave are let go as long as few do ([`limit`]) within [`WINDOW`], those
//!   who are still waited for included. Otherwise they are held until they come back, an operator
//!   confirms that they are meant to go, or the settings allow it.
//!
//! Whoever is not let go stays in the fleet as it was, while whatever else changes is taken. Pure: the
//! caller tells the time.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use imbl::ordmap::DiffItem;
use tracing::{info, warn};

use crate::membership::{Held, HostId, MemberRecord, MemberState, Members, Membership};

/// How long a record that vanished is waited for.
pub const GRACE: Duration = Duration::from_millis(500);

/// How long records are waited for after an outage.
pub const SETTLING: Duration = Duration::from_secs(10);

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
    /// Members that have vanished and are waited for or held, and since when.
    missing: BTreeMap<HostId, Instant>,
    /// Members that were let go within the window, and when.
    gone: BTreeMap<HostId, Instant>,
    held: Option<Held>,
    /// How many were held when the log last heard of it.
    told: usize,
    /// Outages that were settled after, and until when the last one is.
    outages: u64,
    settled: Option<Instant>,
    /// The last confirmation that was looked at.
    confirmed: Option<String>,
}

impl Guard {
    /// Begins with what is in force: `passed` members, and the last confirmation they rest on. Our
    /// own host is never held.
    pub fn new(me: HostId, passed: Members, confirmed: Option<String>) -> Self {
        Self {
            me,
            passed,
            missing: BTreeMap::new(),
            gone: BTreeMap::new(),
            held: None,
            told: 0,
            outages: 0,
            settled: None,
            confirmed,
        }
    }

    /// Whether it cannot tell who vanishes.
    pub fn knows_nobody(&self) -> bool {
        self.passed.is_empty()
    }

    /// Begins at `now` after an outage.
    pub fn settling(self, now: Instant) -> Self {
        Self { settled: Some(now + SETTLING), ..self }
    }

    /// What of `snapshot` is to be in force: members that are not let go as they were, and without
    /// those that leave.
    pub fn pass(&mut self, snapshot: &Arc<Membership>, now: Instant) -> Arc<Membership> {
        self.note_outage(snapshot, now);
        let mut members = present(snapshot, &self.passed);
        let (mut kept, mut going) = (Vec::new(), Vec::new());
        for (id, record, leaves) in self.vanished(snapshot) {
            let since = *self.missing.entry(id.clone()).or_insert(now);
            // Nobody can be missed by a registry that is away.
            if leaves || snapshot.stale.is_none() && self.until(since) <= now {
                going.push((id, record));
            } else {
                kept.push((id, record));
            }
        }
        let waited = kept.len() + going.len();
        self.missing.retain(|id, _| members.get(id).is_none());
        self.gone.retain(|id, at| now.duration_since(*at) < WINDOW && !members.contains_key(id));

        let limit = limit(snapshot.fleet.max_removals, self.passed.len() + self.gone.len());
        let confirmed = self.confirms(snapshot, waited);
        let vanished = self.gone.len() + waited;
        self.held = if confirmed || vanished <= limit || going.is_empty() {
            for (id, _) in going.drain(..) {
                self.missing.remove(&id);
                if !confirmed {
                    self.gone.insert(id, now);
                }
            }
            self.release()
        } else {
            let names = going.iter().take(NAMED).map(|(id, _)| id.clone()).collect();
            let since = self.held.take().map_or_else(SystemTime::now, |held| held.since);
            Some(self.tell(Held { count: going.len(), vanished, limit, since, names }))
        };
        if confirmed {
            kept.clear();
            self.missing.clear();
        }
        members.extend(kept.into_iter().chain(going));
        self.passed = members.clone();
        let held = self.held.clone();
        Arc::new(Membership { members, held, ..Membership::clone(snapshot) })
    }

    /// When to look at the same snapshot again, because somebody may be let go by then.
    pub fn again(&self, now: Instant) -> Option<Instant> {
        let waits = self.missing.values().map(|since| self.until(*since));
        let windows = self.gone.values().map(|at| *at + WINDOW).filter(|_| self.held.is_some());
        waits.chain(windows).filter(|at| *at > now).min()
    }

    /// Members in force that `snapshot` lacks, or in which they leave (then true), as they were.
    fn vanished(&self, snapshot: &Membership) -> Vec<(HostId, Arc<MemberRecord>, bool)> {
        let differs = self.passed.diff(&snapshot.members);
        let vanished = differs.filter_map(|item| match item {
            DiffItem::Remove(id, record) => Some((id, record, false)),
            DiffItem::Update { old: (id, record), new: (_, new) } => {
                (new.state == MemberState::Leaving).then_some((id, record, true))
            }
            DiffItem::Add(..) => None,
        });
        vanished
            .filter(|(id, ..)| **id != self.me)
            .map(|(id, record, leaves)| (id.clone(), record.clone(), leaves))
            .collect()
    }

    fn note_outage(&mut self, snapshot: &Membership, now: Instant) {
        if snapshot.stale.is_none() && snapshot.outages != self.outages {
            self.outages = snapshot.outages;
            self.settled = Some(now + SETTLING);
        }
    }

    /// Until when a member that has been missing since then is waited for.
    fn until(&self, since: Instant) -> Instant {
        self.settled.map_or(since + GRACE, |settled| settled.max(since + GRACE))
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

    fn release(&mut self) -> Option<Held> {
        if let Some(held) = self.held.take() {
            info!("no removals are held any more: {} members were", held.count);
        }
        self.told = 0;
        None
    }

    /// Says it when it begins and whenever twice as many are held.
    fn tell(&mut self, held: Held) -> Held {
        if held.count >= self.told.saturating_mul(2) {
            self.told = held.count;
            warn!("{held}");
        }
        held
    }
}

/// The members of `snapshot` without those that leave, which are among what differs from `passed`.
fn present(snapshot: &Membership, passed: &Members) -> Members {
    let leaving = passed.diff(&snapshot.members).filter_map(|item| match item {
        DiffItem::Add(id, record) | DiffItem::Update { new: (id, record), .. } => {
            (record.state == MemberState::Leaving).then_some(id)
        }
        DiffItem::Remove(..) => None,
    });
    let mut members = snapshot.members.clone();
    for id in leaving {
        members.remove(id);
    }
    members
}

#[cfg(test)]
mod tests;
