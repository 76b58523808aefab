//! What the parts of a running daemon report, put together in its status file.

use std::future::pending;

use tokio::sync::watch;

use crate::{membership::Problem, status::Status, sync};

/// What they report.
pub struct Reports {
    /// What synchronising has come to.
    pub synced: watch::Receiver<sync::Status>,
    /// The interfaces that are not guarded.
    pub unguarded: watch::Receiver<Vec<Problem>>,
    /// What is wrong with our record.
    pub trouble: watch::Receiver<Option<String>>,
}

impl Reports {
    /// Writes the status file whenever one of them has changed.
    pub async fn write(mut self, instance: &str, mut status: Status) {
        loop {
            let changed = tokio::select! {
                changed = self.synced.changed() => changed,
                changed = self.unguarded.changed() => changed,
                changed = self.trouble.changed() => changed,
            };
            if changed.is_err() {
                // The senders are gone with those who report, whose ends are the ones to tell of.
                pending::<()>().await;
            }
            let unguarded = self.unguarded.borrow_and_update();
            status.update(&self.synced.borrow_and_update(), &unguarded);
            status.registration.clone_from(&self.trouble.borrow_and_update());
            drop(unguarded);
            if let Err(error) = status.write(instance) {
                tracing::warn!("{error:#}");
            }
        }
    }
}
