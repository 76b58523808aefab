//! Brings a store to what one host must see of each snapshot, at the cost of what changes.
//!
//! What must be there is defined by the pure functions [`view`] and [`state`] for the whole fleet. A
//! snapshot differs from the one before in few members, so the view is made again of those whom the
//! difference may matter to, and the maps are changed by what that comes to: the same as if
//! everything were made again, which the tests hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use tracing::{info, warn};

use super::{Names, PROBLEMS, Status, claimants::Claimants};
use crate::{
    diff::{Changes, diff},
    fleet::{self, FleetSettings},
    membership::{HostId, Members, Membership, Problem},
    reverse::ReversePath,
    state::{FilterState, peers, state},
    store::Store,
    view::{Me, View, is_rerouted, key, view},
};

/// A store, and what was seen of the fleet when it was last brought in step.
#[derive(Debug)]
pub struct Follower<S> {
    store: S,
    seen: Option<Seen>,
    /// Whether the store holds what was seen.
    in_step: bool,
    /// The registry's problems of which the log has heard.
    told: Vec<Problem>,
    /// The last membership's revision: it may come again, because something else has changed.
    revision: u64,
}

/// When a step has begun, and when this host has heard of what it is about.
#[derive(Debug, Clone, Copy)]
struct Times {
    begun: Instant,
    heard: Option<Instant>,
}

/// The fleet as one host sees it.
#[derive(Debug)]
struct Seen {
    me: Me,
    fleet: Arc<FleetSettings>,
    filter: Arc<FilterState>,
    members: Members,
    claimants: Claimants,
    view: View,
    names: Names,
}

impl<S: Store> Follower<S> {
    /// Begins with whatever `store` holds.
    pub fn new(store: S) -> Self {
        Self { store, seen: None, in_step: false, told: Vec::new(), revision: 0 }
    }

    /// Goes on with what the store holds while nobody tells what the fleet is: only who we are on the
    /// uplink is brought in step.
    pub fn adopt(&mut self, me: &Me) -> Result<Status> {
        let have = self.store.read()?;
        let want = have.clone().of_host(me);
        self.store.apply(&diff(&have, &want))?;
        Ok(Status { peers: want.peers(), ..Status::default() })
    }

    /// Brings the store to what `me` must see of `membership`. After an error a part of the changes
    /// may have been made; the next step begins with what the store then holds.
    pub fn step(&mut self, me: &Me, membership: &Membership) -> Result<Status> {
        let before = mem::replace(&mut self.revision, membership.revision);
        let heard = membership.heard.filter(|_| before != membership.revision);
        let times = Times { begun: Instant::now(), heard };
        self.tell(&membership.problems);
        let in_step = mem::replace(&mut self.in_step, false);
        let seen = match &mut self.seen {
            Some(seen) if in_step && seen.is_of(me) && seen.fleet == membership.fleet => {
                seen.follow(me, membership, times, &mut self.store)?;
                seen
            }
            before => {
                let have = match before {
                    Some(Seen { me, fleet, filter, view, .. }) if in_step => {
                        state(me, fleet, filter, view)
                    }
                    _ => self.store.read()?,
                };
                let Membership { fleet, members, .. } = membership;
                let changed = before.as_ref().is_none_or(|before| before.fleet != *fleet);
                let filter = filter(me, fleet, before.as_ref());
                let view = own_view(me, fleet, members);
                let known = before.take().map(|before| before.view.problems).unwrap_or_default();
                warn_of(view.problems.difference(&known));
                let want = state(me, fleet, &filter, &view);
                let applied =
                    apply(&mut self.store, &diff(&have, &want), membership.revision, times);
                // What it takes to go on from there can wait until it is in force.
                let seen = before.insert(Seen::of(me, membership, filter, view));
                applied?;
                if changed {
                    for warning in fleet::warnings(&seen.fleet, &seen.members) {
                        warn!("fleet: {warning}");
                    }
                }
                seen
            }
        };
        self.in_step = true;
        Ok(seen.status(membership))
    }

    /// Tells the log of those problems of the registry that it has not heard of.
    fn tell(&mut self, problems: &[Problem]) {
        if self.told != problems {
            let told: BTreeSet<&Problem> = self.told.iter().collect();
            warn_of(problems.iter().filter(|problem| !told.contains(problem)));
            self.told = problems.to_vec();
        }
    }
}

impl Seen {
    fn of(me: &Me, membership: &Membership, filter: Arc<FilterState>, view: View) -> Self {
        let Membership { fleet, members, .. } = membership;
        Self {
            me: me.clone(),
            fleet: fleet.clone(),
            filter,
            members: members.clone(),
            claimants: Claimants::of(me, fleet, members),
            names: in_order(names(&view)).collect(),
            view,
        }
    }

    /// Whether it is what `me` sees, whatever the routes.
    fn is_of(&self, me: &Me) -> bool {
        self.me == Me { reverse: self.me.reverse.clone(), ..me.clone() }
    }

    /// Sees again those members whom the difference between the snapshots may matter to, or that
    /// between the routes.
    fn follow(
        &mut self,
        me: &Me,
        membership: &Membership,
        times: Times,
        store: &mut impl Store,
    ) -> Result<()> {
        let rerouted = self.reroute(&me.reverse, &membership.members);
        let affected = self.claimants.note(&self.members, &membership.members, rerouted);
        if affected.is_empty() {
            return Ok(());
        }
        let part = affected.iter().chain([&self.me.id]);
        let part = part.filter_map(|id| membership.members.get_key_value(id));
        let part: Members = part.map(|(id, member)| (id.clone(), member.clone())).collect();
        let now = view(&self.me, &self.fleet, &part);
        let before = take(&mut self.view, &affected);
        let changes = diff(&peers(&self.me, &before), &peers(&self.me, &now));
        warn_of(now.problems.difference(&before.problems));
        rename(&mut self.names, &before, &now);
        self.view.peers.extend(now.peers);
        self.view.problems.extend(now.problems);
        self.members = membership.members.clone();
        apply(store, &changes, membership.revision, times)
    }

    /// Takes over where the routes lead, and answers with those whom that matters to.
    fn reroute(&mut self, reverse: &Arc<ReversePath>, members: &Members) -> Vec<HostId> {
        let before = mem::replace(&mut self.me.reverse, reverse.clone());
        if before == *reverse {
            return Vec::new();
        }
        let rerouted = members.iter().filter(|(_, member)| is_rerouted(&before, reverse, member));
        rerouted.map(|(id, _)| id.clone()).collect()
    }

    fn status(&self, membership: &Membership) -> Status {
        let problems = membership.problems.iter().chain(&self.view.problems);
        Status {
            revision: membership.revision,
            peers: self.view.peers.len(),
            stale: membership.stale.clone(),
            held: membership.held.clone(),
            problems: problems.take(PROBLEMS).cloned().collect(),
            problem_count: membership.problems.len() + self.view.problems.len(),
            names: self.names.clone(),
        }
    }
}

/// What the filter must hold: as before, if it comes from the same.
fn filter(me: &Me, fleet: &Arc<FleetSettings>, before: Option<&Seen>) -> Arc<FilterState> {
    let same = before.filter(|before| before.fleet == *fleet && before.me.role == me.role);
    same.map_or_else(|| FilterState::of(me, fleet), |before| before.filter.clone())
}

/// The whole view, and what is wrong with ourselves, which is none of a member's problems: it stays when a
/// part of the view is made again.
fn own_view(me: &Me, fleet: &FleetSettings, members: &Members) -> View {
    let mut view = view(me, fleet, members);
    if let Err(what) = fleet.policy.check_role(&me.role) {
        view.problems.insert(Problem { key: "role".to_owned(), what });
    }
    view
}

/// Applies what there is to apply, and tells how long it took since it was `begun` and since this host heard of it.
fn apply(
    store: &mut impl Store,
    changes: &Changes,
    revision: u64,
    Times { begun, heard }: Times,
) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    store.apply(changes)?;
    info!(
        revision,
        put = changes.v4.put_members.len() + changes.v6.put_members.len(),
        removed = changes.v4.remove_members.len() + changes.v6.remove_members.len(),
        took_ms = milliseconds(begun.elapsed()),
        heard_ms = heard.map(|heard| milliseconds(heard.elapsed())),
        "maps changed"
    );
    Ok(())
}

/// To the microsecond.
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

/// Takes the part of a view out of it that is about these members.
fn take(view: &mut View, ids: &BTreeSet<HostId>) -> View {
    let mut taken = View::default();
    for id in ids {
        taken.peers.extend(view.peers.remove_entry(id));
        let from = Problem { key: key(id), what: String::new() };
        let about = view.problems.range(&from..).take_while(|problem| problem.key == from.key);
        taken.problems.extend(about.cloned());
    }
    for problem in &taken.problems {
        view.problems.remove(problem);
    }
    taken
}

/// Whose the overlay addresses are.
fn names(view: &View) -> impl Iterator<Item = (IpAddr, HostId)> {
    let peers = view.peers.iter();
    peers.flat_map(|(id, peer)| peer.overlays.iter().map(move |overlay| (*overlay, id.clone())))
}

/// In ascending order: a map that is made so does not look all over itself.
fn in_order<T: Ord>(items: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.into_iter()
}

/// Changes the names from those of one part of the view to those of another. What stays as it is
/// goes on being shared with those who have the names from before.
fn rename(all: &mut Names, before: &View, now: &View) {
    let now: BTreeMap<IpAddr, HostId> = names(now).collect();
    for (overlay, _) in names(before).filter(|(overlay, _)| !now.contains_key(overlay)) {
        all.remove(&overlay);
    }
    for (overlay, id) in now {
        if all.get(&overlay) != Some(&id) {
            all.insert(overlay, id);
        }
    }
}

/// Tells the log of some problems, and how many more there are.
fn warn_of<'a>(mut problems: impl Iterator<Item = &'a Problem>) {
    for Problem { key, what } in problems.by_ref().take(PROBLEMS) {
        warn!("{key}: {what}");
    }
    let more = problems.count();
    if more > 0 {
        warn!("and {more} more problems");
    }
}

#[cfg(test)]
mod tests;
