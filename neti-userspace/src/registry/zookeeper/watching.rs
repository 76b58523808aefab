//! Which nodes of the tree change. Watches are set before what they watch is read. They do not
//! outlive their connection: the client does not renew them, and events in between are lost anyway.

use std::net::Ipv4Addr;

use futures_util::{
    FutureExt, StreamExt,
    stream::{self, BoxStream, SelectAll},
};
use zookeeper_client::{Client, Error, EventType, PersistentWatcher, SessionState, WatchedEvent};

use super::{Place, roster::Touched};
use crate::registry::Result;

/// What has happened since it was asked last.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub touched: Touched,
    /// The settings, the threshold or the confirmation.
    pub settings: bool,
    /// Anything may have changed.
    pub everything: bool,
}

pub struct Watching {
    events: SelectAll<BoxStream<'static, WatchedEvent>>,
    members: String,
    overlays: String,
}

impl Watching {
    pub async fn start(place: &Place, client: &Client) -> Result<Self> {
        let mut events = SelectAll::new();
        for (path, mode) in place.tree.watched() {
            let watcher = place.link.ask(&path, client.watch(&path, mode)).await?;
            events.push(happenings(watcher).boxed());
        }
        let (members, overlays) = (place.tree.path("members"), place.tree.path("overlays"));
        Ok(Self { events, members, overlays })
    }

    /// Waits for a change.
    ///
    /// # Errors
    /// If the connection is lost, and with it the watches.
    pub async fn next(&mut self, changes: &mut Changes) -> std::result::Result<(), Error> {
        match self.events.next().await {
            Some(event) => self.note(&event, changes),
            None => Err(Error::ConnectionLoss),
        }
    }

    /// Notes the changes that are at hand.
    pub fn drain(&mut self, changes: &mut Changes) -> std::result::Result<(), Error> {
        while let Some(Some(event)) = self.events.next().now_or_never() {
            self.note(&event, changes)?;
        }
        Ok(())
    }

    fn note(&self, event: &WatchedEvent, changes: &mut Changes) -> std::result::Result<(), Error> {
        if event.event_type == EventType::Session {
            return match event.session_state {
                SessionState::SyncConnected => Ok(()),
                SessionState::AuthFailed => Err(Error::AuthFailed),
                SessionState::Expired => Err(Error::SessionExpired),
                _ => Err(Error::ConnectionLoss),
            };
        }
        let child = |parent: &str| event.path.strip_prefix(parent)?.strip_prefix('/');
        if event.path == self.members {
            // Its own children are events of their own.
            changes.everything |= event.event_type != EventType::NodeChildrenChanged;
        } else if let Some(name) = child(&self.members) {
            // What is below a member is none.
            if !name.contains('/') {
                changes.touched.members.insert(name.to_owned());
            }
        } else if let Some(name) = child(&self.overlays) {
            if let Ok(overlay) = name.parse::<Ipv4Addr>() {
                changes.touched.overlays.insert(overlay);
            }
        } else if event.path != self.overlays {
            changes.settings = true;
        }
        Ok(())
    }
}

/// A watcher's events, up to the one that ends its session: to ask it for more would panic.
fn happenings(watcher: PersistentWatcher) -> impl stream::Stream<Item = WatchedEvent> {
    stream::unfold(Some(watcher), async |watcher| {
        let mut watcher = watcher?;
        let event = watcher.changed().await;
        let ends = event.event_type == EventType::Session && event.session_state.is_terminated();
        Some((event, (!ends).then_some(watcher)))
    })
}
