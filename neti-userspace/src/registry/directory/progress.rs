//! Whether the thread that observes the tree gets on: a file system may hold it up for as long as it
//! likes, and the fleet is to hear of that.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::watch, time::sleep};

use super::roster::Roster;
use crate::membership::Membership;

/// What the observer and its watchdog share.
pub struct Observed {
    /// What the log calls the registry.
    pub name: String,
    pub to: watch::Sender<Arc<Membership>>,
    roster: Mutex<Roster>,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// When the step began that the observer is at; `None` between looks.
    step: Option<Instant>,
    /// The watchdog has said that it takes too long.
    told: bool,
}

impl Observed {
    pub fn new(name: String, mut roster: Roster) -> Self {
        let (to, _) = watch::channel(roster.roll.snapshot());
        Self { name, to, roster: roster.into(), progress: Mutex::default() }
    }

    /// Locked for what is known only, never while a file is looked at.
    pub fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn publish(&self) {
        let mut roster = self.roster();
        self.to.send_replace(roster.roll.snapshot());
    }

    /// Notes that the observer goes on to look at something.
    pub fn step(&self) {
        self.progress().step = Some(Instant::now());
    }

    /// Notes that the observer has looked. Answers whether that took so long that it was told.
    pub fn rest(&self) -> bool {
        std::mem::take(&mut *self.progress()).told
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that nothing is heard where a step takes longer than `patience`.
    fn complain(&self, patience: Duration) {
        // Held until it is said: who goes on after that sees that it was.
        let mut progress = self.progress();
        if progress.told || progress.step.is_none_or(|step| step.elapsed() < patience) {
            return;
        }
        progress.told = true;
        let why = format!("the file system has not answered for {:.0} s", patience.as_secs_f64());
        let mut roster = self.roster();
        if roster.roll.outage(&self.name, why) {
            self.to.send_replace(roster.roll.snapshot());
        }
    }
}

/// Watches over the observer until nobody listens any more.
pub async fn watchdog(observed: Arc<Observed>, patience: Duration) {
    loop {
        tokio::select! {
            () = observed.to.closed() => return,
            () = sleep(patience / 10) => observed.complain(patience),
        }
    }
}
