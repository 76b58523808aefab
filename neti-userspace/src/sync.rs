//! Keeps a store in step with the fleet: snapshot -> view -> state -> difference -> store.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use anyhow::Result;
use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use crate::{
    diff::diff,
    membership::{Held, HostId, Membership, Problem, Stale},
    state::{MapState, state},
    store::Store,
    view::{Me, view},
};

/// When to try again what the store has refused.
const RETRY: Duration = Duration::from_secs(5);

/// What the last round came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Of the snapshot in force.
    pub revision: u64,
    /// How many peers are in the maps.
    pub peers: usize,
    /// Those of them that have overlay addresses here, by these.
    pub names: BTreeMap<IpAddr, HostId>,
    pub stale: Option<Stale>,
    /// Members that have vanished and are held.
    pub held: Option<Held>,
    /// What is left out of the fleet, and why.
    pub problems: Vec<Problem>,
}

/// Brings `store` from `have`, which is what it holds, to what `me` must see of `membership`.
/// After an error `have` is unchanged and may not be what the store holds.
pub fn step(
    me: &Me,
    membership: &Membership,
    have: &mut MapState,
    store: &mut impl Store,
) -> Result<Status> {
    let view = view(me, membership);
    let want = state(me, &membership.fleet, &view);
    let changes = diff(have, &want);
    if !changes.is_empty() {
        store.apply(&changes)?;
        info!(
            revision = membership.revision,
            peers = view.peers.len(),
            put = changes.v4.put_members.len() + changes.v6.put_members.len(),
            removed = changes.v4.remove_members.len() + changes.v6.remove_members.len(),
            "maps changed"
        );
        *have = want;
    }
    let names = view
        .peers
        .iter()
        .flat_map(|(id, peer)| peer.overlays.iter().map(move |overlay| (*overlay, id.clone())));
    Ok(Status {
        revision: membership.revision,
        peers: view.peers.len(),
        names: names.collect(),
        stale: membership.stale.clone(),
        held: membership.held.clone(),
        problems: membership.problems.iter().cloned().chain(view.problems.clone()).collect(),
    })
}

/// Follows `me` and `membership` until one of their senders is gone; nothing is done before there is
/// a membership. An error of the first round
/// ends it, for the caller must not go on with maps that were never right; a later one is reported
/// as a problem of the key `maps` and tried again.
pub async fn run(
    mut me: watch::Receiver<Me>,
    mut membership: watch::Receiver<Option<Arc<Membership>>>,
    mut store: impl Store,
    status: watch::Sender<Status>,
) -> Result<()> {
    if membership.wait_for(Option::is_some).await.is_err() {
        return Ok(());
    }
    let mut have = store.read()?;
    let mut first = true;
    loop {
        let own = me.borrow_and_update().clone();
        let Some(snapshot) = membership.borrow_and_update().clone() else { return Ok(()) };
        let result = step(&own, &snapshot, &mut have, &mut store);
        let retry = match result {
            Ok(done) => {
                report(&status, done);
                false
            }
            Err(error) if first => return Err(error),
            Err(error) => {
                let what = format!("{error:#}; trying again in {} s", RETRY.as_secs());
                warn!("maps: {what}");
                status.send_modify(|status| {
                    status.problems.retain(|problem| problem.key != MAPS);
                    status.problems.push(Problem { key: MAPS.to_owned(), what });
                });
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
        if retry {
            // A part of the changes may have been made.
            match store.read() {
                Ok(read) => have = read,
                Err(error) => warn!("maps: {error:#}"),
            }
        }
    }
}

/// The key of problems that are the store's.
const MAPS: &str = "maps";

/// Publishes a status, and logs the problems that the one before did not have.
fn report(status: &watch::Sender<Status>, done: Status) {
    for problem in &done.problems {
        if !status.borrow().problems.contains(problem) {
            warn!("{}: {}", problem.key, problem.what);
        }
    }
    status.send_if_modified(|status| {
        let changed = *status != done;
        *status = done;
        changed
    });
}

#[cfg(test)]
mod tests;
