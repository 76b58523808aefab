use std::sync::Mutex;

use anyhow::bail;

use super::*;
use crate::{
    diff::Changes,
    membership::{
        MemberRecord,
        sample::{ip, me, membership, record},
    },
    state::MapState,
    store::memory::MemoryStore,
};

/// A store that the test can look into, and that fails on demand after half of the work.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    memory: MemoryStore,
    failing: bool,
    applied: usize,
}

impl Store for Shared {
    fn read(&mut self) -> Result<MapState> {
        self.0.lock().unwrap().memory.read()
    }

    fn apply(&mut self, changes: &Changes) -> Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.applied += 1;
        if inner.failing {
            let mut half = changes.clone();
            half.v4.put_members.clear();
            inner.memory.apply(&half)?;
            bail!("members4: full");
        }
        inner.memory.apply(changes)
    }
}

impl Shared {
    fn set_failing(&self, failing: bool) {
        self.0.lock().unwrap().failing = failing;
    }

    fn members(&self) -> Vec<[u8; 4]> {
        self.0.lock().unwrap().memory.state.v4.members.keys().copied().collect()
    }

    fn applied(&self) -> usize {
        self.0.lock().unwrap().applied
    }
}

struct Bench {
    store: Shared,
    me: watch::Sender<Me>,
    membership: watch::Sender<Option<Arc<Membership>>>,
    status: watch::Receiver<Status>,
    run: tokio::task::JoinHandle<Result<()>>,
}

fn start(store: Shared, first: Membership) -> Bench {
    let (me, me_receiver) = watch::channel(me());
    let (membership, membership_receiver) = watch::channel(Some(Arc::new(first)));
    let (status_sender, status) = watch::channel(Status::default());
    let run = tokio::spawn(run(
        Follower::new(store.clone()),
        me_receiver,
        membership_receiver,
        status_sender,
    ));
    Bench { store, me, membership, status, run }
}

fn sierra() -> MemberRecord {
    record("sierra", "100.64.0.2", "ec2").private("10.0.0.11")
}

#[tokio::test(start_paused = true)]
async fn the_store_follows_members_and_ourselves() {
    let mut bench = start(Shared::default(), membership([sierra()]));
    bench.status.changed().await.unwrap();
    assert_eq!(bench.store.members(), [[10, 0, 0, 11]]);
    assert_eq!(bench.status.borrow().names[&ip("100.64.0.2")].as_str(), "sierra");
    assert_eq!(bench.status.borrow().peers, 1);

    let walden = record("walden", "100.64.0.3", "vpc").private("10.0.0.12");
    bench.membership.send_replace(Some(Arc::new(Membership {
        revision: 2,
        ..membership([sierra(), walden.clone()])
    })));
    bench.status.wait_for(|status| status.revision == 2).await.unwrap();
    assert_eq!(bench.store.members(), [[10, 0, 0, 11]]);
    let key = bench.status.borrow().problems[0].key.clone();
    assert_eq!(key, "members/walden");

    bench.me.send_modify(|me| me.network = "vpc".to_owned());
    bench.status.wait_for(|status| status.names.contains_key(&ip("100.64.0.3"))).await.unwrap();
    assert_eq!(bench.store.members(), [[10, 0, 0, 12]]);

    drop(bench.membership);
    bench.run.await.unwrap().unwrap();
    assert_eq!(bench.store.members(), [[10, 0, 0, 12]], "the maps outlive us");
}

#[tokio::test(start_paused = true)]
async fn what_is_there_already_is_not_written_again() {
    let store = Shared::default();
    let snapshot = membership([sierra()]);
    Follower::new(store.clone()).step(&me(), &snapshot).unwrap();
    let mut bench = start(store, snapshot);
    bench.status.changed().await.unwrap();
    assert_eq!(bench.store.applied(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_told_and_changes_nothing() {
    let mut bench = start(Shared::default(), membership([sierra()]));
    bench.status.changed().await.unwrap();
    let stale = Stale { since: std::time::SystemTime::now(), why: "gone".to_owned() };
    let stale = Some(stale);
    bench.membership.send_replace(Some(Arc::new(Membership {
        stale: stale.clone(),
        ..membership([sierra()])
    })));
    bench.status.wait_for(|status| status.stale == stale).await.unwrap();
    assert_eq!((bench.store.members().len(), bench.store.applied()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_first_error_ends_it() {
    let store = Shared::default();
    store.set_failing(true);
    let bench = start(store, membership([sierra()]));
    assert_eq!(bench.run.await.unwrap().unwrap_err().to_string(), "members4: full");
}

#[tokio::test(start_paused = true)]
async fn a_later_error_is_told_and_tried_again() {
    let mut bench = start(Shared::default(), membership([]));
    bench.status.changed().await.unwrap();
    bench.store.set_failing(true);
    bench.membership.send_replace(Some(Arc::new(membership([sierra()]))));
    bench.status.wait_for(|status| !status.problems.is_empty()).await.unwrap();
    let problem = bench.status.borrow().problems[0].clone();
    assert_eq!(problem.key, "maps");
    assert_eq!(problem.what, "members4: full; trying again in 5 s");

    bench.store.set_failing(false);
    bench.status.wait_for(|status| status.problems.is_empty()).await.unwrap();
    assert_eq!(bench.store.members(), [[10, 0, 0, 11]]);
}
