//! Follows the fleet and publishes what it is, over outages too, until nobody listens any more.
//!
//! A list is of one revision, and the watch begins behind it: nothing falls in between.

use std::{borrow::Cow, sync::Arc, time::Duration};

use etcd_client::{EventType, KeyValue, WatchResponse};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    audit::{Audit, Part},
    connection::Connection,
    errors::{Failure, Kind},
    followed::{Followed, Single, missing},
    outlet::Outlet,
    pace::Pace,
    pages::{Head, Pages, Store, head},
    stream::{Stream, Watched},
};
use crate::{
    membership::Membership,
    registry::{RegistryError, Result, retry, roll::Roll},
};

/// A stream that has lasted so long was no failure: another is opened at once.
const LASTED: Duration = Duration::from_secs(5);
/// Where that takes longer, it is an outage.
const GRACE: Duration = Duration::from_secs(1);
/// Of a list that compaction overtakes.
const ATTEMPTS: usize = 3;

const ANOTHER_STORE: &str = "the store was replaced or put back to what it was: it is read anew";

/// Starts to follow, and publishes the first snapshot. It fails where that cannot be complete.
pub async fn start(
    connection: Arc<Connection>,
    pace: Pace,
) -> Result<watch::Receiver<Arc<Membership>>> {
    let members = connection.key("members/");
    let fleet_key = format!("{}: {}", connection.name(), connection.key("fleet"));
    let asked = connection.what(&format!("listing {members}"));
    let error = |failure: Failure| failure.error(&asked);
    let mut begun = head(&connection).await.map_err(error)?;
    let Some(fleet) = &begun.fleet else {
        return Err(RegistryError::Settings(missing(&fleet_key)));
    };
    let roll = Roll::new(&fleet_key, fleet.value())?;
    let followed = Followed::new(roll, fleet_key);
    let (store, revision) = (begun.store, begun.revision);
    let mut follower =
        Follower { connection, pace, members, followed, store, revision, from: None };
    for attempt in 1.. {
        match follower.list(begun).await {
            Ok(_) => break,
            Err(failure) if failure.kind == Kind::Compacted && attempt < ATTEMPTS => {}
            Err(failure) => return Err(error(failure)),
        }
        begun = head(&follower.connection).await.map_err(error)?;
    }
    let (to, receiver) = watch::channel(follower.followed.roll.snapshot());
    tokio::spawn(async move {
        tokio::select! {
            () = to.closed() => {}
            () = follower.run(&to) => {}
        }
    });
    Ok(receiver)
}

struct Follower {
    connection: Arc<Connection>,
    pace: Pace,
    /// What the members' keys begin with.
    members: String,
    followed: Followed,
    store: Store,
    /// The latest that was seen.
    revision: i64,
    /// From where events of members may be missing; `None`: they are to be listed.
    from: Option<i64>,
}

impl Follower {
    async fn run(mut self, to: &watch::Sender<Arc<Membership>>) {
        let mut out = Outlet::new(to, self.pace.gap);
        let longest = self.pace.retry;
        let mut waits = retry::backoff_up_to(longest);
        let mut grace = false;
        loop {
            let resumes = self.from.is_some();
            let (failure, lasted) = self.follow(grace, &mut out).await;
            self.followed.abandon();
            grace = lasted >= LASTED;
            if grace {
                waits = retry::backoff_up_to(longest);
            }
            if failure.kind == Kind::Compacted {
                self.from = None;
            }
            let relists = failure.kind == Kind::Compacted && resumes;
            out.flush(&mut self.followed.roll);
            if !grace && !relists {
                out.outage(&mut self.followed.roll, self.connection.name(), failure.why);
                sleep(waits.next().unwrap_or(longest)).await;
            }
        }
    }

    /// Follows until something fails, and tells for how long.
    async fn follow(&mut self, grace: bool, out: &mut Outlet<'_>) -> (Failure, Duration) {
        let watched = match self.catch_up(grace, out).await {
            Ok(watched) => watched,
            Err(failure) => return (failure, Duration::ZERO),
        };
        let session = match self.connection.session().await {
            Ok(session) => session,
            Err(failure) => return (failure, Duration::ZERO),
        };
        let begun = Instant::now();
        let failure = match Stream::open(&session.client, &watched, self.pace.silence).await {
            Ok(stream) => self.read(stream, out).await,
            Err(failure) => failure,
        };
        self.connection.leave(&session, failure.kind).await;
        (failure, begun.elapsed())
    }

    /// Takes up what a watch will not tell, and answers with what is to be watched.
    async fn catch_up(
        &mut self,
        grace: bool,
        out: &mut Outlet<'_>,
    ) -> std::result::Result<Vec<Watched>, Failure> {
        let head = match grace {
            true => timeout(GRACE, head(&self.connection)).await,
            false => Ok(head(&self.connection).await),
        };
        let head = head.map_err(|_| Failure::silence(GRACE))??;
        if self.is_another(&head, self.revision) {
            // However soon it answers: what it lacks may be there again once all have registered.
            let (name, why) = (self.connection.name(), ANOTHER_STORE);
            if !out.outage(&mut self.followed.roll, name, why.to_owned()) {
                tracing::warn!("{name}: {why}");
            }
            self.followed.another_store();
            (self.store, self.revision, self.from) = (head.store, 0, None);
        }
        self.store = head.store;
        let behind = head.revision + 1;
        let changed = match self.from {
            Some(_) => self.singles(&head),
            None => self.list(head).await?,
        };
        out.note(changed);
        let watched = |key, prefix, from| Watched { key, prefix, from };
        Ok(vec![
            watched(self.members.clone(), true, self.from.unwrap_or(behind)),
            watched(self.connection.key("fleet"), false, behind),
            watched(self.connection.key("confirmed"), false, behind),
        ])
    }

    /// Whether revisions count anew in a store that was read when `revision` was reached. A watch
    /// from a revision that is yet to come would be silent.
    fn is_another(&self, head: &Head, revision: i64) -> bool {
        !head.store.continues(&self.store) || head.revision < revision
    }

    /// Lists what there is at the revision of `head`. What fails half-way changes nothing.
    async fn list(&mut self, head: Head) -> std::result::Result<bool, Failure> {
        let mut listing = self.followed.list();
        listing.at(head.revision);
        let mut pages = Pages::new(&self.members, head.revision, self.pace.page);
        while let Some(page) = pages.next(&self.connection).await? {
            self.followed.page(&mut listing, entries(&self.members, &page));
        }
        let changed = self.followed.listed(listing) | self.singles(&head);
        self.from = Some(head.revision + 1);
        self.revision = self.revision.max(head.revision);
        Ok(changed)
    }

    /// Takes up what stands beside the members.
    fn singles(&mut self, head: &Head) -> bool {
        let value = |kv: &Option<KeyValue>| kv.as_ref().map(|kv| kv.value().to_vec());
        let (fleet, confirmed) = (value(&head.fleet), value(&head.confirmed));
        self.followed.single(Single::Fleet, head.revision, fleet.as_deref())
            | self.followed.single(Single::Confirmed, head.revision, confirmed.as_deref())
    }

    /// Takes up what a stream tells until it ends.
    async fn read(&mut self, mut stream: Stream, out: &mut Outlet<'_>) -> Failure {
        let mut audit = None;
        // The revision before the list. Events may be ahead of the list by the time that it comes.
        let mut begun = 0;
        let mut relist = Instant::now() + self.pace.next_relist(self.followed.count());
        loop {
            out.publish_due(&mut self.followed.roll);
            let due = out.due();
            tokio::select! {
                response = stream.next() => {
                    let heard = Instant::now();
                    let changed = match response {
                        Ok(response) => self.take_up(&response),
                        Err(failure) => return failure,
                    };
                    if changed {
                        self.followed.roll.heard(heard.into_std());
                    }
                    out.note(changed);
                    if stream.is_open() {
                        out.reached(&mut self.followed.roll, self.connection.name());
                    }
                }
                part = Audit::next(&mut audit) => match part {
                    Ok(Part::Head(head)) if self.is_another(&head, begun) => {
                        return Failure::new(Kind::Unreachable, "another store answers");
                    }
                    Ok(Part::Head(head)) => out.note(self.singles(&head)),
                    Ok(Part::Page(page)) => {
                        if let Some(audit) = &mut audit {
                            self.followed.page(&mut audit.listing, entries(&self.members, &page));
                        }
                    }
                    Ok(Part::End) => {
                        if let Some(audit) = audit.take() {
                            out.note(self.followed.listed(audit.listing));
                        }
                    }
                    // As long as the stream goes on this is no outage.
                    Err(failure) => {
                        tracing::debug!("{}: listing: {}", self.connection.name(), failure.why);
                        self.followed.abandon();
                        audit = None;
                    }
                },
                () = sleep_until(due.unwrap_or(relist)), if due.is_some() => {}
                () = sleep_until(relist), if audit.is_none() => {
                    relist = Instant::now() + self.pace.next_relist(self.followed.count());
                    begun = self.revision;
                    let listing = self.followed.list();
                    let pages = (self.members.clone(), self.pace.page);
                    audit = Some(Audit::start(self.connection.clone(), pages, listing));
                }
            }
        }
    }

    /// Takes up what has changed.
    fn take_up(&mut self, response: &WatchResponse) -> bool {
        let fleet = self.connection.key("fleet");
        let mut changed = false;
        for event in response.events() {
            let Some(kv) = event.kv() else { continue };
            let revision = kv.mod_revision();
            let value = (event.event_type() == EventType::Put).then(|| kv.value());
            self.revision = self.revision.max(revision);
            let Some(name) = name(&self.members, kv) else {
                let single = match kv.key() == fleet.as_bytes() {
                    true => Single::Fleet,
                    false => Single::Confirmed,
                };
                changed |= self.followed.single(single, revision, value);
                continue;
            };
            changed |= match value {
                Some(value) => self.followed.written(&name, revision, value),
                None => self.followed.deleted(&name, revision),
            };
            // What one transaction did may come in several responses: its revision is not done with.
            self.from = self.from.max(Some(revision));
        }
        changed
    }
}

/// The name of a member's key.
fn name<'a>(members: &str, kv: &'a KeyValue) -> Option<Cow<'a, str>> {
    kv.key().strip_prefix(members.as_bytes()).map(String::from_utf8_lossy)
}

/// What a page of members tells.
fn entries<'a>(
    members: &str,
    page: &'a [KeyValue],
) -> impl Iterator<Item = (Cow<'a, str>, i64, &'a [u8])> {
    page.iter().filter_map(move |kv| Some((name(members, kv)?, kv.mod_revision(), kv.value())))
}
