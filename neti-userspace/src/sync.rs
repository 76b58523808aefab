//! Keeps a store in step with the fleet: snapshot -> view -> state -> difference -> store.

mod claimants;
mod follower;

use std::{net::IpAddr, sync::Arc, time::Duration};

use anyhow::Result;
use imbl::OrdMap;
use tokio::{sync::watch, time::sleep};
use tracing::warn;

pub use self::follower::Follower;
use crate::{
    membership::{Held, HostId, Membership, Problem, Stale},
    store::Store,
    view::Me,
};

/// When to try again what the store has refused.
const RETRY: Duration = Duration::from_secs(5);

/// How many problems are told one by one; a broken fleet can have one for each member.
pub const PROBLEMS: usize = 100;

/// Whose the overlay addresses are. Clones share what they have in common.
pub type Names = OrdMap<IpAddr, HostId>;

/// What the last round came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Of the snapshot in force.
    pub revision: u64,
    /// How many peers are in the maps.
    pub peers: usize,
    pub stale: Option<Stale>,
    /// Members that have vanished and are held.
    pub held: Option<Held>,
    /// What is left out of the fleet, and why: the first [`PROBLEMS`] of them.
    pub problems: Vec<Problem>,
    /// How many there are.
    pub problem_count: usize,
    /// The peers that have overlay addresses here, by these.
    pub names: Names,
}

impl Status {
    /// Puts a problem of our own before the others, in the place of those with its key.
    fn put(&mut self, problem: Problem) {
        let before = self.problems.len();
        self.problems.retain(|other| other.key != problem.key);
        self.problem_count = self.problem_count + 1 - (before - self.problems.len());
        self.problems.insert(0, problem);
        self.problems.truncate(PROBLEMS);
    }
}

/// Follows `me` and `membership` until one of their senders is gone; nothing is done before there is
/// a membership. An error of the first round ends it, for the caller must not go on with maps that
/// were never right; a later one is reported as a problem of the key `maps` and tried again.
pub async fn run(
    mut follower: Follower<impl Store>,
    mut me: watch::Receiver<Me>,
    mut membership: watch::Receiver<Option<Arc<Membership>>>,
    status: watch::Sender<Status>,
) -> Result<()> {
    if membership.wait_for(Option::is_some).await.is_err() {
        return Ok(());
    }
    let mut first = true;
    loop {
        let own = me.borrow_and_update().clone();
        let Some(snapshot) = membership.borrow_and_update().clone() else { return Ok(()) };
        let retry = match follower.step(&own, &snapshot) {
            Ok(done) => {
                status.send_if_modified(|status| {
                    let changed = *status != done;
                    *status = done;
                    changed
                });
                false
            }
            Err(error) if first => return Err(error),
            Err(error) => {
                let what = format!("{error:#}; trying again in {} s", RETRY.as_secs());
                let problem = Problem { key: MAPS.to_owned(), what };
                if !status.borrow().problems.contains(&problem) {
                    warn!("{}: {}", problem.key, problem.what);
                    status.send_modify(|status| status.put(problem));
                }
                true
            }
        };
        first = false;
        let changed = tokio::select! {
            changed = me.changed() => changed,
            changed = membership.changed() => changed,
            () = sleep(RETRY), if retry => Ok(()),
        };
        if changed.is_err() {
            return Ok(());
        }
    }
}

/// The key of problems that are the store's.
const MAPS: &str = "maps";

#[cfg(test)]
mod tests;
