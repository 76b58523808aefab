//! Whether our id is ours: no other host keeps a record of it alive.

use std::time::Duration;

use anyhow::anyhow;
use etcd_client::Client;
use tokio::time::{Instant, sleep};

use super::{
    connection::{Connection, PATIENCE},
    errors::Failure,
    record::{self, Found},
};
use crate::{
    membership::MemberRecord,
    registry::{RegistryError, Result, taken},
};

/// How often we look whether the record of another host is gone.
const LOOK: Duration = Duration::from_millis(250);

/// Sees to it that no other host keeps a record of our id alive, and gives the record that stands
/// there.
pub async fn alone(
    connection: &Connection,
    key: &str,
    ours: &MemberRecord,
) -> Result<Option<MemberRecord>> {
    let error = |failure: Failure| failure.error(&connection.what(&format!("reading {key}")));
    let mut before: Option<(i64, i64)> = None;
    let mut deadline = None;
    loop {
        let found = find(connection, key).await.map_err(error)?.1;
        let Some(found) = found else { return Ok(None) };
        let Some(other) = record::parse(ours.id.as_str(), &found) else { return Ok(None) };
        if other.real_addresses() == ours.real_addresses() {
            return Ok(Some(other));
        }
        let left = left(connection, found.lease).await.map_err(error)?;
        let is_kept = before.is_some_and(|(lease, before)| lease != found.lease || left > before);
        before = Some((found.lease, left));
        // What is left is told in whole seconds, and etcd looks for what has ended twice a second.
        let wait = Duration::from_secs(left.max(0) as u64 + 2);
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + wait);
        if is_kept || found.lease == 0 || Instant::now() > deadline {
            let name = connection.name();
            return Err(RegistryError::Other(anyhow!("{name}: {key}: {}", taken(ours, &other))));
        }
        sleep(LOOK).await;
    }
}

/// What stands under a key, and the revision of the store.
pub async fn find(
    connection: &Connection,
    key: &str,
) -> std::result::Result<(i64, Option<Found>), Failure> {
    let ask = |mut client: Client| {
        let key = key.to_owned();
        async move { client.get(key, None).await }
    };
    let mut answer = connection.try_ask(PATIENCE, ask).await?;
    let revision = answer.header().map_or(0, |header| header.revision());
    let found = answer.take_kvs().into_iter().next().map(|kv| Found {
        revision: kv.mod_revision(),
        lease: kv.lease(),
        value: kv.into_key_value().1,
    });
    Ok((revision, found))
}

/// How many seconds a lease has left; less than 0: it is gone.
async fn left(connection: &Connection, lease: i64) -> std::result::Result<i64, Failure> {
    let ask = |mut client: Client| async move { client.lease_time_to_live(lease, None).await };
    Ok(connection.try_ask(PATIENCE, ask).await?.ttl())
}
