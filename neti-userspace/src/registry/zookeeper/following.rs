//! Follows the fleet: publishes snapshots of it until nobody listens. Whenever the connection is
//! lost a new session begins from the start, with watches and a list.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tracing::debug;
use zookeeper_client::Client;

use super::{
    Place,
    connection::backoff,
    locks::Ledger,
    party::Told,
    reading::{self, Answer},
    roster::Roster,
    settings::{self, Standing},
    watching::{Changes, Watching},
};
use crate::{
    membership::Membership,
    registry::{RegistryError, Result, roll::Roll},
};

/// The tree is listed so often, should an event have been lost; each host at another time.
const RELIST: Duration = Duration::from_secs(600);

/// A fleet of more members is listed less often, so that lists cost no more per time.
const SMALL: usize = 10_000;

/// Snapshots come at least so far apart, so that many changes make few.
const APART: Duration = Duration::from_millis(10);

/// A session, what is watched in it, and what must be remembered of what it has told.
struct Following {
    client: Client,
    watching: Watching,
    roster: Roster,
}

/// What has been read and not been told yet: all of it, or nothing if reading fails.
#[derive(Default)]
struct News {
    settings: Option<Settings>,
    members: Told,
    /// Whether there are no other members.
    all: bool,
}

struct Settings {
    text: std::result::Result<Vec<u8>, String>,
    /// What a start goes by, whatever is wrong with the text.
    usable: Vec<u8>,
    confirmed: Option<Vec<u8>>,
}

/// Reads the fleet and goes on following it.
pub async fn start(place: Arc<Place>) -> Result<watch::Receiver<Arc<Membership>>> {
    let (following, settings, members) = begin(&place).await?;
    let mut roll = Roll::new(&settings::name(&place), &settings.usable)?;
    News::all(settings, members).tell(&place, &mut roll);
    let (publish, fleet) = watch::channel(roll.snapshot());
    tokio::spawn(follow(place, following, roll, publish));
    Ok(fleet)
}

async fn follow(
    place: Arc<Place>,
    mut following: Following,
    mut roll: Roll,
    publish: watch::Sender<Arc<Membership>>,
) {
    loop {
        let lost = tokio::select! {
            () = publish.closed() => return,
            lost = keep_up(&place, &mut following, &mut roll, &publish) => lost,
        };
        outage(&place, &mut roll, &publish, lost);
        let mut waits = backoff();
        following = loop {
            let again = tokio::select! {
                () = publish.closed() => return,
                again = begin(&place) => again,
            };
            match again {
                Ok((following, settings, members)) => {
                    News::all(settings, members).tell(&place, &mut roll);
                    roll.reached(place.link.name());
                    publish.send_replace(roll.snapshot());
                    break following;
                }
                Err(error) => {
                    debug!("{error}");
                    outage(&place, &mut roll, &publish, error);
                }
            }
            let wait = waits.next().unwrap_or_default();
            tokio::select! {
                () = publish.closed() => return,
                () = sleep(wait) => {}
            }
        };
    }
}

fn outage(
    place: &Place,
    roll: &mut Roll,
    publish: &watch::Sender<Arc<Membership>>,
    error: RegistryError,
) {
    if roll.outage(place.link.name(), error.to_string()) {
        publish.send_replace(roll.snapshot());
    }
}

/// Opens a session, watches, and reads everything.
async fn begin(place: &Place) -> Result<(Following, Settings, Told)> {
    let client = place.link.connect().await?;
    Ledger { place, client: &client }.complete().await?;
    let watching = Watching::start(place, &client).await?;
    let settings = Settings::read(place, &client).await?;
    let (roster, members) = Roster::list(place, &client).await?;
    Ok((Following { client, watching, roster }, settings, members))
}

/// Publishes what changes, until that cannot be followed any more.
async fn keep_up(
    place: &Place,
    following: &mut Following,
    roll: &mut Roll,
    publish: &watch::Sender<Arc<Membership>>,
) -> RegistryError {
    let lost = |error| place.link.error(&place.tree.path("members"), error);
    let list = || Instant::now() + next_list(publish.borrow().members.len());
    let mut next_list = list();
    let mut ready = Instant::now();
    loop {
        let mut changes = Changes::default();
        let mut heard = None;
        tokio::select! {
            seen = following.watching.next(&mut changes) => match seen {
                Ok(_) => heard = Some(Instant::now()),
                Err(error) => return lost(error),
            },
            () = sleep_until(next_list) => changes.everything = true,
        }
        sleep_until(ready).await;
        if let Err(error) = following.watching.drain(&mut changes) {
            return lost(error);
        }
        if changes.everything {
            next_list = list();
        }
        match following.read(place, changes).await {
            Ok(news) => {
                if news.tell(place, roll) {
                    if let Some(heard) = heard {
                        roll.heard(heard.into_std());
                    }
                    publish.send_replace(roll.snapshot());
                    ready = Instant::now() + APART;
                }
            }
            Err(error) => return error,
        }
    }
}

/// After which time a fleet of `count` members is to be listed again.
fn next_list(count: usize) -> Duration {
    let size = (count as f64 / SMALL as f64).max(1.0);
    RELIST.mul_f64(size * rand::rng().random_range(0.75..1.25))
}

impl Following {
    async fn read(&mut self, place: &Place, changes: Changes) -> Result<News> {
        let mut news = News::default();
        if changes.settings || changes.everything {
            news.settings = Some(Settings::read(place, &self.client).await?);
        }
        if changes.everything {
            (self.roster, news.members) = Roster::list(place, &self.client).await?;
            news.all = true;
        } else {
            news.members = self.roster.look(place, &self.client, changes.touched).await?;
        }
        Ok(news)
    }
}

impl Settings {
    async fn read(place: &Place, client: &Client) -> Result<Self> {
        let confirmed = place.tree.path("confirmed");
        let paths = [vec![confirmed.clone()], settings::paths(place)].concat();
        let mut answers = reading::all(&place.link, client, &paths).await?.into_iter();
        let confirmation: Answer = answers.next().unwrap_or(Ok(None));
        let confirmed = confirmation.map_err(|error| place.link.error(&confirmed, error))?;
        let standing = Standing::of(place, answers.collect())?;
        Ok(Self {
            text: standing.text(place),
            usable: standing.usable(place).unwrap_or_default(),
            confirmed: confirmed.map(|(text, _)| text),
        })
    }
}

impl News {
    fn all(settings: Settings, members: Told) -> Self {
        Self { settings: Some(settings), members, all: true }
    }

    /// Tells it, and answers whether that changes the fleet.
    fn tell(self, place: &Place, roll: &mut Roll) -> bool {
        let mut changed = false;
        if let Some(Settings { text, confirmed, .. }) = self.settings {
            let text = text.as_deref().map_err(String::clone);
            changed |= roll.settings(&settings::name(place), text);
            changed |= roll.confirmation(confirmed.as_deref());
        }
        let mut names = Vec::new();
        for (name, found) in self.members {
            changed |= match found {
                Some(found) => {
                    names.push(name.clone());
                    roll.told(&name, found)
                }
                None => roll.gone(&name),
            };
        }
        if self.all {
            changed |= roll.keep(&names.iter().map(String::as_str).collect());
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_fleet_is_listed_less_often() {
        for (count, minutes) in [(0, 10), (10_000, 10), (100_000, 100)] {
            let about = Duration::from_secs(60 * minutes);
            let next = next_list(count);
            assert!((about.mul_f64(0.75)..about.mul_f64(1.25)).contains(&next), "{next:?}");
        }
    }
}
