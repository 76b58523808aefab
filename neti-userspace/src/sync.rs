//! Keeps a store in step with the fleet: snapshot -> view -> state -> difference -> store.

use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

use anyhow::Result;
use tokio::sync::watch;

use crate::{
    membership::{HostId, Membership, Problem, Stale},
    state::MapState,
    store::Store,
    view::Me,
};

/// What the last round came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Of the snapshot in force.
    pub revision: u64,
    /// Peers in the maps, by their overlay addresses.
    pub names: BTreeMap<Ipv4Addr, HostId>,
    /// How many peers are in the maps.
    pub peers: usize,
    pub stale: Option<Stale>,
    pub problems: Vec<Problem>,
}

/// Brings `store` from `have`, which is what it holds, to what `me` must see of `membership`.
pub fn step(
    me: &Me,
    membership: &Membership,
    have: &mut MapState,
    store: &mut impl Store,
) -> Result<Status> {
    let _ = (me, membership, have, store);
    Ok(Status::default())
}

/// Follows `me` and `membership` until one of their senders is gone. The first round's error ends
/// it; a later one is reported in the status and tried again.
pub async fn run(
    me: watch::Receiver<Me>,
    membership: watch::Receiver<Arc<Membership>>,
    store: impl Store,
    status: watch::Sender<Status>,
) -> Result<()> {
    let _ = (me, membership, store, status);
    Ok(())
}
