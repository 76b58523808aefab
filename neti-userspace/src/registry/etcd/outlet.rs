//! Publishes snapshots: a single change at once, and of changes that come in streams one snapshot in
//! a while, since each costs whoever listens.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::{membership::Membership, registry::roll::Roll};

pub struct Outlet<'a> {
    to: &'a watch::Sender<Arc<Membership>>,
    /// At least so much lies between two snapshots.
    gap: Duration,
    last: Option<Instant>,
    /// When what has changed since is to be published.
    due: Option<Instant>,
}

impl<'a> Outlet<'a> {
    pub fn new(to: &'a watch::Sender<Arc<Membership>>, gap: Duration) -> Self {
        Self { to, gap, last: None, due: None }
    }

    /// Notes that there is something to publish, if it has `changed`.
    pub fn note(&mut self, changed: bool) {
        if changed && self.due.is_none() {
            let now = Instant::now();
            self.due = Some(self.last.map_or(now, |last| now.max(last + self.gap)));
        }
    }

    /// When it is time to publish; `None` if there is nothing to.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Publishes if it is time to.
    pub fn publish_due(&mut self, roll: &mut Roll) {
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.publish(roll);
        }
    }

    /// Publishes what has changed, if anything has.
    pub fn flush(&mut self, roll: &mut Roll) {
        if self.due.is_some() {
            self.publish(roll);
        }
    }

    fn publish(&mut self, roll: &mut Roll) {
        self.to.send_replace(roll.snapshot());
        self.last = Some(Instant::now());
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_single_change_goes_out_at_once_and_a_stream_in_few_snapshots() {
        let mut roll = Roll::new("fleet", br#"{"overlay": ["100.64.0.0/16"]}"#).unwrap();
        let (to, receiver) = watch::channel(roll.snapshot());
        let mut outlet = Outlet::new(&to, Duration::from_millis(10));
        let revision = || receiver.borrow().revision;
        outlet.note(false);
        outlet.publish_due(&mut roll);
        assert_eq!(revision(), 1);

        outlet.note(true);
        outlet.publish_due(&mut roll);
        assert_eq!(revision(), 2);
        for _ in 0..9 {
            advance(Duration::from_millis(1)).await;
            outlet.note(true);
            outlet.publish_due(&mut roll);
            assert_eq!(revision(), 2);
        }
        advance(Duration::from_millis(1)).await;
        outlet.publish_due(&mut roll);
        assert_eq!(revision(), 3);
        outlet.flush(&mut roll);
        assert_eq!(revision(), 3, "nothing has changed since");
        outlet.note(true);
        outlet.flush(&mut roll);
        assert_eq!(revision(), 4);
    }
}
