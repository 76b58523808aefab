//! Following the registry while the dataplane runs: what it tells goes through the guard, and our
//! own record is announced and kept.

use std::{
    cell::OnceCell,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tokio::{
    sync::watch,
    time::{sleep, sleep_until},
};

use super::join;
use crate::{
    addresses::Addresses,
    config::Config,
    guard::{Guard, SETTLING},
    membership::{MemberRecord, Membership},
    registry::{Backend, Registration, Registry, retry},
};

/// What is in force; `None` while only the pinned maps know.
pub type Snapshot = Option<Arc<Membership>>;

/// What a running host follows, and what it announces.
pub struct Following<'a> {
    pub config: &'a Config,
    pub registry: &'a Backend,
    pub overlays: Addresses,
    /// `None`: the registry has not been reached yet.
    pub watch: Option<watch::Receiver<Arc<Membership>>>,
    pub guard: Guard,
    pub record: MemberRecord,
    /// Ours, once it is there.
    pub registration: &'a OnceCell<Registration>,
}

/// Publishes what is to be in force, and what is wrong with our record. It ends with an error only.
pub async fn follow(
    following: Following<'_>,
    publish: &watch::Sender<Snapshot>,
    trouble: &watch::Sender<Option<String>>,
) -> Result<()> {
    let Following { config, registry, overlays, watch, guard, record, registration } = following;
    let joined = async {
        let (watch, guard) = match watch {
            Some(watch) => (watch, guard),
            None => {
                let watch = join::late(config, registry, overlays).await?;
                if guard.knows_nobody() {
                    // Only the pinned maps know who was there: the others have time to come back
                    // before they are replaced.
                    sleep(SETTLING).await;
                }
                (watch, guard.settling(Instant::now()))
            }
        };
        pass(watch, guard, publish).await
    };
    tokio::select! {
        ended = joined => ended,
        // Whoever cannot follow, because the settings are broken, is a member all the same.
        () = announce(registry, &record, registration, trouble) => bail!("our record ended"),
    }
}

/// Passes snapshots on through the guard.
async fn pass(
    mut watch: watch::Receiver<Arc<Membership>>,
    mut guard: Guard,
    publish: &watch::Sender<Snapshot>,
) -> Result<()> {
    loop {
        let snapshot = watch.borrow_and_update().clone();
        let now = Instant::now();
        publish.send_replace(Some(guard.pass(&snapshot, now)));
        let again = guard.again(now);
        tokio::select! {
            changed = watch.changed() => if changed.is_err() {
                bail!("the registry's watch ended; start neti again");
            },
            () = sleep_until(again.unwrap_or(now).into()), if again.is_some() => {}
        }
    }
}

/// Announces our record, if that has not been done, and tells what is wrong with it.
async fn announce(
    registry: &Backend,
    record: &MemberRecord,
    registration: &OnceCell<Registration>,
    trouble: &watch::Sender<Option<String>>,
) {
    let mut waits = retry::backoff_up_to(RETRY);
    while registration.get().is_none() {
        match registry.register(record).await {
            Ok(registered) => {
                // Nobody else sets it.
                let _ = registration.set(registered);
            }
            Err(error) => {
                tell(trouble, Some(format!("cannot be announced: {error:#}")));
                sleep(waits.next().unwrap_or_default()).await;
            }
        }
    }
    let Some(registration) = registration.get() else { return };
    let mut told = registration.trouble();
    loop {
        let wrong = told.borrow_and_update().clone();
        tell(trouble, wrong);
        // The task that keeps the record has ended: what it said last is still true.
        if told.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Between two tries to announce our record, at most, but for as much again at random.
const RETRY: Duration = Duration::from_secs(1);

/// Says what is wrong with our record when that changes, in the log too.
fn tell(trouble: &watch::Sender<Option<String>>, wrong: Option<String>) {
    trouble.send_if_modified(|told| {
        match (&*told, &wrong) {
            (Some(before), Some(wrong)) if alike(before, wrong) => {}
            (_, Some(wrong)) => tracing::warn!("our record: {wrong}"),
            (Some(_), None) => tracing::info!("our record: all is well again"),
            (None, None) => {}
        }
        let changed = *told != wrong;
        *told = wrong;
        changed
    });
}

/// Whether two troubles are one to a reader of the log: in an outage each try fails in its own words.
fn alike(one: &str, other: &str) -> bool {
    let kind = |text: &str| text.split(':').next().map(str::to_owned);
    kind(one) == kind(other)
}
