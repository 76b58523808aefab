//! Whose the overlay addresses of the peers are: the maps have numbers for hosts, and `neti show`
//! takes their ids from here.
//!
//! Of a large fleet that is megabytes, and with every host that comes or goes it is another text. It
//! is written at once, but never so often that it takes more than a small share of the machine.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use anyhow::{Context, Result};
use tokio::{
    sync::watch,
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use crate::{
    membership::HostId,
    sync::{self, Names},
};

/// After a write there is none for so many times as long as it took: at most a fiftieth of one
/// processor goes into it.
const REST: u32 = 49;

/// The names as they were written last; none if they never were.
pub fn read(instance: &str) -> Result<BTreeMap<IpAddr, HostId>> {
    Ok(super::load(instance, FILE)?.unwrap_or_default())
}

/// Replaces them.
pub fn write(instance: &str, names: &Names) -> Result<()> {
    let names: BTreeMap<&IpAddr, &HostId> = names.iter().collect();
    let text = serde_json::to_vec(&names).context("the names as JSON")?;
    super::replace(instance, FILE, &text)
}

/// Writes them whenever `status` has others, and ends when its sender is gone and they are written.
/// As long as it has none, those of the last start stay.
pub async fn follow(instance: String, mut status: watch::Receiver<sync::Status>) {
    let mut written = Names::new();
    let mut open = true;
    while open {
        let names = status.borrow_and_update().names.clone();
        let mut rest = Instant::now();
        if written != names {
            match write_beside(&instance, &names).await {
                Ok(took) => {
                    rest += took * REST;
                    written = names;
                }
                Err(error) => tracing::warn!("{error:#}"),
            }
        }
        open = status.changed().await.is_ok();
        // At the end nobody is made to wait.
        while open && let Ok(changed) = timeout_at(rest, status.changed()).await {
            open = changed.is_ok();
        }
    }
    let names = status.borrow().names.clone();
    if written != names
        && let Err(error) = write_beside(&instance, &names).await
    {
        tracing::warn!("{error:#}");
    }
}

/// Writes them while others go on; how long it took.
async fn write_beside(instance: &str, names: &Names) -> Result<Duration> {
    let (instance, names) = (instance.to_owned(), names.clone());
    spawn_blocking(move || {
        let begun = Instant::now();
        write(&instance, &names).map(|()| begun.elapsed())
    })
    .await
    .context("writing the names")?
}

const FILE: &str = "names.json";
