//! Keeps `neti_guard` on every interface of the network namespace but `lo` and the uplink, whenever
//! they come and go.
//!
//! The uplink of another instance is guarded too: its programs know their own fleet's ranges and not
//! ours. It stands behind our guard there ([`attach`](crate::loader::attach)).

mod links;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use tokio::{
    sync::watch,
    task::yield_now,
    time::{Duration, MissedTickBehavior, interval},
};
use tracing::warn;

use self::links::{Change, Links};
use crate::{loader::attach::Guard, membership::Problem, uplink::LOOPBACK};

/// When to try again what the kernel has refused.
const RETRY: Duration = Duration::from_secs(5);

/// The interfaces of this network namespace.
pub struct Interfaces {
    links: Links,
    guarded: Guarded,
}

impl Interfaces {
    /// Puts the guard onto all there are, or swaps it where it stands already, and takes it off those
    /// that are gone. An interface that cannot take it is a problem, and no failure.
    pub async fn guard(guard: Guard, uplink: u32) -> Result<Self> {
        // What comes while they are listed is told of.
        let links = Links::subscribe()?;
        let on = BTreeSet::new();
        let mut guarded = Guarded { guard, uplink, on, wrong: BTreeMap::new() };
        guarded.all().await?;
        Ok(Self { links, guarded })
    }

    /// Those that are not guarded.
    pub fn problems(&self) -> Vec<Problem> {
        self.guarded.wrong.values().cloned().collect()
    }

    /// Follows what comes and goes, and publishes which are not guarded. It ends with an error only, such as
    /// that the uplink is gone: its programs went with it, and those of the next one are the next start's.
    pub async fn follow(mut self, publish: &watch::Sender<Vec<Problem>>) -> Result<()> {
        let mut again = interval(RETRY);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let changes = tokio::select! {
                changes = self.links.changes() => changes?,
                _ = again.tick(), if !self.guarded.wrong.is_empty() => {
                    Some(self.guarded.wrong.keys().map(|index| Change::Comes(*index)).collect())
                }
            };
            match changes {
                Some(changes) => self.guarded.follow(&changes).await?,
                None => self.guarded.all().await?,
            }
            let problems = self.problems();
            publish.send_if_modified(|told| {
                let changed = *told != problems;
                *told = problems;
                changed
            });
        }
    }
}

/// Where the guard stands, and where it should and cannot.
///
/// The kernel takes milliseconds to attach a program, and does so for one after the other. In between
/// others have their turn, a signal above all; and not in a thread beside them, which would go on while
/// somebody takes everything back.
struct Guarded {
    guard: Guard,
    uplink: u32,
    on: BTreeSet<u32>,
    wrong: BTreeMap<u32, Problem>,
}

impl Guarded {
    /// Makes it stand on all interfaces there are and nowhere else, whatever was known before.
    async fn all(&mut self) -> Result<()> {
        let pinned = self.guard.pinned()?;
        let listed: BTreeSet<u32> = links::list()?.into_keys().collect();
        ensure!(listed.contains(&self.uplink), self.uplink_is_gone());
        self.on.clear();
        self.wrong.retain(|index, _| listed.contains(index));
        self.change(&pinned - &listed, listed).await;
        Ok(())
    }

    async fn follow(&mut self, changes: &[Change]) -> Result<()> {
        let (gone, come) = links::settle(changes);
        ensure!(!gone.contains(&self.uplink), self.uplink_is_gone());
        self.change(gone, come).await;
        Ok(())
    }

    fn uplink_is_gone(&self) -> String {
        format!(
            "the uplink (interface {}) is gone, and with it the programs that were attached to it; start neti again when \
             there is an uplink",
            self.uplink
        )
    }

    /// What has gone comes first: it may have taken the guard along to a container.
    async fn change(&mut self, gone: BTreeSet<u32>, come: BTreeSet<u32>) {
        for index in gone {
            self.goes(index);
            yield_now().await;
        }
        for index in come {
            self.comes(index);
            yield_now().await;
        }
    }

    fn comes(&mut self, index: u32) {
        // By `lo` goes what the host's own sockets say to each other, by overlay addresses too.
        if [LOOPBACK, self.uplink].contains(&index) || self.on.contains(&index) {
            return;
        }
        match self.guard.put_on(index) {
            Ok(there) => {
                self.wrong.remove(&index);
                if there {
                    self.on.insert(index);
                }
            }
            Err(error) => {
                let problem = problem(index, &error);
                if self.wrong.get(&index) != Some(&problem) {
                    warn!("{}: {}", problem.key, problem.what);
                    self.wrong.insert(index, problem);
                }
            }
        }
    }

    fn goes(&mut self, index: u32) {
        self.on.remove(&index);
        self.wrong.remove(&index);
        if let Err(error) = self.guard.take_off(index) {
            warn!("interface {index}, which is gone: {error:#}");
        }
    }
}

fn problem(index: u32, error: &anyhow::Error) -> Problem {
    let name = links::list().ok().and_then(|mut listed| listed.remove(&index));
    Problem {
        key: format!("interfaces/{}", name.unwrap_or_else(|| index.to_string())),
        what: format!(
            "the guard is not attached: {error:#}; who is behind it can forge overlay addresses; \
             trying again every {} s",
            RETRY.as_secs()
        ),
    }
}
