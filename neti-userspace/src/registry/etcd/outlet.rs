//! Publishes snapshots: a single change at once, and of changes that come in streams one snapshot in
//! a while, since each costs whoever listens. During an outage nothing but that it is one.

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
    /// There is an outage.
    held: bool,
}

impl<'a> Outlet<'a> {
    pub fn new(to: &'a watch::Sender<Arc<Membership>>, gap: Duration) -> Self {
        Self { to, gap, last: None, due: None, held: false }
    }

    /// Notes that there is something to publish, if it has `changed`.
    pub fn note(&mut self, changed: bool) {
        if changed && self.due.is_none() {
            let now = Instant::now();
            self.due = Some(self.last.map_or(now, |last| now.max(last + self.gap)));
        }
    }

    /// Publishes that there is an outage, and nothing more before its end: the fleet as it is told
    /// in between may be that of a store which goes away again. Answers whether that is news.
    pub fn outage(&mut self, roll: &mut Roll, registry: &str, why: String) -> bool {
        let news = roll.outage(registry, why);
        if news {
            self.publish(roll);
        }
        self.held = true;
        news
    }

    /// Notes that the registry is followed again.
    pub fn reached(&mut self, roll: &mut Roll, registry: &str) {
        self.held = false;
        self.note(roll.reached(registry));
    }

    /// When it is time to publish; `None` if there is nothing to.
    pub fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.held)
    }

    /// Publishes if it is time to.
    pub fn publish_due(&mut self, roll: &mut Roll) {
        if self.due().is_some_and(|due| due <= Instant::now()) {
            self.publish(roll);
        }
    }

    /// Publishes what has changed, if anything has.
    pub fn flush(&mut self, roll: &mut Roll) {
        if self.due().is_some() {
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

    #[tokio::test(start_paused = true)]
    async fn an_outage_goes_out_at_once_and_changes_after_it() {
        let mut roll = Roll::new("fleet", br#"{"overlay": ["100.64.0.0/16"]}"#).unwrap();
        let (to, receiver) = watch::channel(roll.snapshot());
        let mut outlet = Outlet::new(&to, Duration::from_millis(10));
        assert!(outlet.outage(&mut roll, "etcd", "gone".to_owned()));
        assert_eq!((receiver.borrow().revision, receiver.borrow().stale.is_some()), (2, true));
        assert!(!outlet.outage(&mut roll, "etcd", "gone".to_owned()), "that is no news");
        outlet.note(true);
        advance(Duration::from_secs(1)).await;
        outlet.publish_due(&mut roll);
        outlet.flush(&mut roll);
        assert_eq!((receiver.borrow().revision, outlet.due()), (2, None));
        outlet.reached(&mut roll, "etcd");
        outlet.publish_due(&mut roll);
        assert_eq!((receiver.borrow().revision, receiver.borrow().stale.is_some()), (3, false));
    }
}
