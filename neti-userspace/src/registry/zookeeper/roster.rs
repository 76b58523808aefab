//! Reading who is a member, in either layout: all at once, or what has been touched.

use std::{
    collections::{BTreeSet, HashMap},
    net::Ipv4Addr,
    time::Duration,
};

use tokio::time::sleep;
use zookeeper_client::{Client, Error};

use super::{
    Place,
    party::{Party, Told},
    reading::{self, Answer},
};
use crate::{config::Layout, membership::MemberRecord, registry::Result};

/// A record may be as large as this.
const LARGEST_RECORD: usize = 64 << 10;

/// So often and at this distance it is looked whose the address of a member is.
const LOOKS: usize = 5;
const LOOK: Duration = Duration::from_millis(200);

/// What must be remembered between two looks.
#[derive(Debug)]
pub enum Roster {
    Neti,
    Classic(Box<Party>),
}

/// Names of nodes that something has happened to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touched {
    pub members: BTreeSet<String>,
    /// Of the classic layout.
    pub overlays: BTreeSet<Ipv4Addr>,
}

impl Roster {
    pub fn new(layout: Layout) -> Self {
        match layout {
            Layout::Neti => Self::Neti,
            Layout::Classic => Self::Classic(Box::default()),
        }
    }

    /// Reads all members.
    pub async fn list(place: &Place, client: &Client) -> Result<(Self, Told)> {
        let path = place.tree.path("members");
        // That it is not there is no empty fleet.
        let names = place.link.ask(&path, client.list_children(&path)).await?;
        let mut roster = Self::new(place.tree.layout);
        let told = match &mut roster {
            Self::Neti => read(place, client, names).await?,
            Self::Classic(party) => {
                names.iter().for_each(|name| party.joined(name));
                tell(party, place, client).await?
            }
        };
        Ok((roster, told))
    }

    /// Reads what has been touched.
    pub async fn look(&mut self, place: &Place, client: &Client, touched: Touched) -> Result<Told> {
        match self {
            Self::Neti => read(place, client, touched.members.into_iter().collect()).await,
            Self::Classic(party) => {
                let names: Vec<String> = touched.members.into_iter().collect();
                let paths = members(place, &names);
                let answers = reading::all(&place.link, client, &paths).await?;
                for (name, answer) in names.iter().zip(answers) {
                    match answer {
                        Ok(None) => party.left(name),
                        // All that counts is in its name.
                        Ok(Some(_)) | Err(Error::NoAuth) => party.joined(name),
                        Err(error) => return Err(place.link.error(name, error)),
                    }
                }
                touched.overlays.into_iter().for_each(|overlay| party.touched(overlay));
                tell(party, place, client).await
            }
        }
    }
}

fn members(place: &Place, names: &[String]) -> Vec<String> {
    names.iter().map(|name| place.tree.path(&format!("members/{name}"))).collect()
}

/// Reads these members' records.
async fn read(place: &Place, client: &Client, names: Vec<String>) -> Result<Told> {
    let paths = members(place, &names);
    let mut found = Vec::with_capacity(names.len());
    let seen = |index: usize, answer| found.push(record(&names[index], answer));
    reading::each(&place.link, client, &paths, seen).await?;
    Ok(names.into_iter().zip(found).collect())
}

fn record(name: &str, answer: Answer) -> Option<std::result::Result<MemberRecord, String>> {
    match answer {
        Ok(None) => None,
        Ok(Some((data, _))) if data.len() > LARGEST_RECORD => {
            Some(Err(format!("larger than {LARGEST_RECORD} bytes")))
        }
        Ok(Some((data, _))) => {
            Some(MemberRecord::parse(name, &data).map_err(|error| error.to_string()))
        }
        Err(error) => Some(Err(format!("cannot be read: {error}"))),
    }
}

/// Reads whose the addresses are.
async fn owners(
    party: &mut Party,
    place: &Place,
    client: &Client,
    overlays: &[Ipv4Addr],
) -> Result<()> {
    let path = |overlay: &Ipv4Addr| place.tree.path(&format!("overlays/{overlay}"));
    let paths: Vec<String> = overlays.iter().map(path).collect();
    let seen = |index: usize, answer: Answer| {
        let owner = answer.ok().flatten();
        let owner = owner.and_then(|(owner, _)| String::from_utf8(owner).ok()?.parse().ok());
        party.owned(overlays[index], owner);
    };
    reading::each(&place.link, client, &paths, seen).await
}

/// Reads what a party needs, and what it has to tell.
async fn tell(party: &mut Party, place: &Place, client: &Client) -> Result<Told> {
    let changed: Vec<Ipv4Addr> = party.changed().collect();
    owners(party, place, client, &changed).await?;
    // The original writes a member first and then whose its address is. Told in between, the member
    // would change its id: another one comes, and one vanishes.
    for _ in 0..LOOKS {
        let lacking: Vec<Ipv4Addr> = party.lacking().collect();
        if lacking.is_empty() {
            break;
        }
        sleep(LOOK).await;
        owners(party, place, client, &lacking).await?;
    }

    let disputed = party.disputed();
    let answers = reading::all(&place.link, client, &members(place, &disputed)).await?;
    let age = |(name, answer): (String, Answer)| match answer {
        Ok(Some((_, stat))) => Some((name, stat.czxid)),
        _ => None,
    };
    let ages: HashMap<String, i64> = disputed.into_iter().zip(answers).filter_map(age).collect();
    Ok(party.tell(&ages))
}
