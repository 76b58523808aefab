//! Keeps our record alive: by the session that owns it, or by a new one when that has ended.

use std::{convert::Infallible, time::Duration};

use anyhow::{Context, Result};
use backon::Retryable;
use rand::Rng;
use tokio::{
    sync::{oneshot, watch},
    time::{sleep, timeout},
};
use zookeeper_client::{Client, Error, EventType, SessionInfo, SessionState, StateWatcher};

use super::{
    connection::{Link, backoff},
    record::Own,
};
use crate::registry::{self, LEAVING, RegistryError, say};

/// How long a removal may take.
const REMOVAL: Duration = Duration::from_secs(3);

/// How long a client may try to connect again.
const RECONNECTION: Duration = Duration::from_secs(1);

/// A record, and the session that owns it.
pub struct Kept {
    own: Own,
    pub session: SessionInfo,
    client: Option<Client>,
}

/// Announces a record for the first time.
pub async fn begin(mut own: Own, client: Client) -> registry::Result<Kept> {
    // What is alive of another host with our id is so by its session.
    let patience = client.session_timeout() + Duration::from_secs(2);
    own.announce(&client, patience).await?;
    Ok(Kept { own, session: client.session().clone(), client: Some(client) })
}

/// Keeps the record alive, as [`registry::Registration::start`] has it.
pub async fn keep(
    mut kept: Kept,
    withdrawn: oneshot::Receiver<()>,
    tell: watch::Sender<Option<String>>,
) -> Result<()> {
    let withdrawn = tokio::select! {
        withdrawn = withdrawn => withdrawn.is_ok(),
        never = kept.stay(&tell) => match never {},
    };
    if withdrawn { kept.leave().await } else { Ok(()) }
}

impl Kept {
    async fn stay(&mut self, tell: &watch::Sender<Option<String>>) -> Infallible {
        let mut waits = backoff();
        let mut told = false;
        loop {
            let mut well = false;
            let error = match self.hold(&mut well, tell).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            if well {
                (waits, told) = (backoff(), false);
            }
            // Of an outage the first word is enough; each try has another.
            let outage = matches!(error, RegistryError::Unreachable(_));
            if !(outage && told) {
                say(tell, Some(format!("cannot be kept alive: {error}")));
            }
            told = outage;
            // The session goes on without its client.
            self.client = None;
            if let Some(wait) = waits.next() {
                sleep(wait).await;
            }
        }
    }

    /// Sees to it that our node is there, until the connection is lost.
    async fn hold(
        &mut self,
        well: &mut bool,
        tell: &watch::Sender<Option<String>>,
    ) -> registry::Result<Infallible> {
        let place = self.own.place.clone();
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                let client = place.link.hold(Some(self.session.clone())).await?;
                self.session = client.session().clone();
                self.own.announce(&client, Duration::ZERO).await?;
                client
            }
        };
        let client = self.client.insert(client);
        let trouble = other_timeout(&place.link, client.session_timeout());
        let mut state = client.state_watcher();
        loop {
            let path = self.own.path.clone();
            let (stat, changed) = place.link.ask(&path, client.check_and_watch_stat(&path)).await?;
            if !stat.is_some_and(|stat| self.own.is_ours(&stat)) {
                // Two processes that take one record from each other must not do so all the time.
                if stat.is_some() {
                    let pause = rand::rng().random_range(500..1500);
                    sleep(Duration::from_millis(pause)).await;
                }
                self.own.announce(client, Duration::ZERO).await?;
                continue;
            }
            *well = true;
            say(tell, trouble.clone());
            tokio::select! {
                event = changed.changed() => {
                    if event.event_type == EventType::NodeDataChanged {
                        self.own.announce(client, Duration::ZERO).await?;
                    }
                }
                left = state.changed() => {
                    let back = timeout(RECONNECTION, again(left, &mut state)).await;
                    back.unwrap_or(Err(Error::ConnectionLoss))
                        .map_err(|error| place.link.error(&path, error))?;
                }
            }
        }
    }

    /// Says that the host leaves, and removes the record.
    async fn leave(self) -> Result<()> {
        let place = self.own.place.clone();
        let (link, path) = (&place.link, self.own.path.as_str());
        let removal = async {
            if let Some(client) = self.client
                && remove(client, &self.own).await
            {
                return Ok(());
            }
            // The parent's ACL may not let us delete it. It ends with its session, and nothing of
            // anybody else's does.
            let close = || link.close(self.session.clone());
            close.retry(backoff()).sleep(sleep).await
        };
        let removed = timeout(REMOVAL, removal).await;
        let what = || format!("{}: our record is left to expire", link.place(path));
        removed.with_context(what)?.with_context(what)
    }
}

/// Says that the host leaves by its node, if that is its own, and removes it; whether it is gone.
/// The client ends with this: two for one session take it from each other.
async fn remove(client: Client, own: &Own) -> bool {
    let stat = match client.check_stat(&own.path).await {
        Ok(Some(stat)) if own.is_ours(&stat) => stat,
        found => return found == Ok(None),
    };
    let mut version = stat.version;
    if let Some(leaving) = own.leaving()
        && let Ok(stat) = client.set_data(&own.path, &leaving, Some(version)).await
    {
        version = stat.version;
        sleep(LEAVING).await;
    }
    matches!(client.delete(&own.path, Some(version)).await, Ok(()) | Err(Error::NoNode))
}

/// Waits until a client that is in this state has its connection again. It soon tries too seldom,
/// so that another client does better; but one that is given up goes on trying for a while, and a
/// session has one connection only.
async fn again(
    mut state: SessionState,
    states: &mut StateWatcher,
) -> std::result::Result<(), Error> {
    loop {
        match state {
            SessionState::SyncConnected => return Ok(()),
            SessionState::AuthFailed => return Err(Error::AuthFailed),
            SessionState::Expired => return Err(Error::SessionExpired),
            SessionState::Closed => return Err(Error::ClientClosed),
            SessionState::Disconnected | SessionState::ConnectedReadOnly => {}
        }
        state = states.changed().await;
    }
}

/// What there is to say of a session timeout that is not the one asked for.
fn other_timeout(link: &Link, granted: Duration) -> Option<String> {
    let asked = link.ttl();
    (granted.as_millis() != asked.as_millis()).then(|| {
        format!(
            "{}: the server grants a session timeout of {} s where ttl = {} s was asked for; it \
             takes minSessionTimeout to maxSessionTimeout of its configuration, by default 2 to 20 \
             times its tickTime",
            link.name(),
            granted.as_secs_f64(),
            asked.as_secs_f64(),
        )
    })
}
