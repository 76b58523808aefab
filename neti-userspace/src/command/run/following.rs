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
    registry::{Backend, Registration, Registry, retry, say},
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
    let mut log = Log::default();
    while registration.get().is_none() {
        match registry.register(record).await {
            Ok(registered) => {
                // Nobody else sets it.
                let _ = registration.set(registered);
            }
            Err(error) => {
                tell(trouble, &mut log, Some(format!("cannot be announced: {error:#}")));
                sleep(waits.next().unwrap_or_default()).await;
            }
        }
    }
    let Some(registration) = registration.get() else { return };
    let mut told = registration.trouble();
    loop {
        let wrong = told.borrow_and_update().clone();
        tell(trouble, &mut log, wrong);
        // The task that keeps the record has ended: what it said last is still true.
        if told.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Between two tries to announce our record, at most, but for as much again at random.
const RETRY: Duration = Duration::from_secs(1);

/// What the log has heard of our record.
#[derive(Default)]
struct Log(Option<(String, Instant)>);

/// In an outage each try may fail in its own words: the log hears of others no sooner than this.
const PAUSE: Duration = Duration::from_secs(60);

impl Log {
    /// Whether the log is to hear of this now.
    fn takes(&mut self, wrong: &str, now: Instant) -> bool {
        let takes = match &self.0 {
            Some((before, at)) => before != wrong && now.duration_since(*at) >= PAUSE,
            None => true,
        };
        if takes {
            self.0 = Some((wrong.to_owned(), now));
        }
        takes
    }
}

/// Says what is wrong with our record when that changes, in the log too.
fn tell(trouble: &watch::Sender<Option<String>>, log: &mut Log, wrong: Option<String>) {
    match &wrong {
        Some(wrong) if log.takes(wrong, Instant::now()) => tracing::warn!("our record: {wrong}"),
        Some(_) => {}
        None => {
            if log.0.take().is_some() {
                tracing::info!("our record: all is well again");
            }
        }
    }
    say(trouble, wrong);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_hears_of_an_outage_once_and_of_what_follows_it() {
        let (mut log, now) = (Log::default(), Instant::now());
        assert!(log.takes("refused", now));
        assert!(!log.takes("refused", now + PAUSE * 9));
        assert!(!log.takes("no answer", now + PAUSE / 2));
        assert!(log.takes("the id is in use", now + PAUSE));
        log.0 = None;
        assert!(log.takes("refused", now + PAUSE));
    }
}
