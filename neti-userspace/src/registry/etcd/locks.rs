//! Claims and settings: what is written in transactions.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::anyhow;
use etcd_client::{Client, Compare, CompareOp, KeyValue, Txn, TxnOp, TxnOpResponse, TxnResponse};

use super::{
    connection::Connection,
    errors::Failure,
    pages::{PAGE, Pages},
};
use crate::{
    addresses::{Addresses, IpFamily},
    membership::HostId,
    registry::{
        RegistryError, Result, Settings,
        claims::{Lock, Locks, host_key},
        packed::{pack, unpack},
    },
};

/// Attempts at what others change in between.
const ATTEMPTS: usize = 3;

impl Locks for Connection {
    fn key(&self, key: &str) -> String {
        format!("{}: {}", self.name(), self.key(key))
    }

    async fn read(&self, key: &str) -> Result<Option<String>> {
        let kv = get(self, &self.key(key)).await?;
        Ok(kv.map(|kv| String::from_utf8_lossy(kv.value()).into_owned()))
    }

    async fn locked(&self) -> Result<Vec<String>> {
        let overlays = self.key("overlays/");
        let mut pages = Pages::new(&overlays, 0, PAGE).keys_only();
        let mut names = Vec::new();
        let error = |failure: Failure| failure.error(&self.what(&format!("listing {overlays}")));
        while let Some(page) = pages.next(self).await.map_err(error)? {
            names.extend(page.iter().filter_map(|kv| name(&overlays, kv)).map(str::to_owned));
        }
        Ok(names)
    }

    async fn lock(&self, id: &HostId, address: IpAddr) -> Result<Lock> {
        let overlay = self.key(&format!("overlays/{address}"));
        let host = self.key(&host_key(IpFamily::of(address), id));
        let txn = Txn::new()
            .when([is_missing(&overlay), is_missing(&host)])
            .and_then([
                TxnOp::put(overlay.as_str(), id.as_str(), None),
                TxnOp::put(host.as_str(), address.to_string(), None),
            ])
            .or_else([TxnOp::get(host.as_str(), None)]);
        let asked = format!("writing {overlay} and {host}");
        let answer = transact(self, &asked, txn).await?;
        Ok(match answer.succeeded() {
            true => Lock::Done,
            // Also where the answer to a first attempt of ours was lost.
            false if first(&answer).is_some() => Lock::HostHasOne,
            false => Lock::AddressTaken,
        })
    }
}

/// All addresses that are locked, and to whom.
pub async fn all(connection: &Connection) -> Result<BTreeMap<IpAddr, HostId>> {
    Ok(owners(connection)
        .await?
        .into_iter()
        .map(|(address, (owner, _))| (address, owner))
        .collect())
}

/// The same, with the revision of each.
async fn owners(connection: &Connection) -> Result<BTreeMap<IpAddr, (HostId, i64)>> {
    let overlays = connection.key("overlays/");
    let mut pages = Pages::new(&overlays, 0, PAGE);
    let mut owners = BTreeMap::new();
    let what = connection.what(&format!("listing {overlays}"));
    while let Some(page) = pages.next(connection).await.map_err(|failure| failure.error(&what))? {
        owners.extend(page.iter().filter_map(|kv| {
            let owner = kv.value_str().ok()?.parse().ok()?;
            Some((name(&overlays, kv)?.parse().ok()?, (owner, kv.mod_revision())))
        }));
    }
    Ok(owners)
}

/// Unlocks the addresses of host `id` unless it has a record.
pub async fn release(connection: &Connection, id: &HostId) -> Result<Addresses> {
    let member = connection.key(&format!("members/{id}"));
    let hosts = IpFamily::ALL.map(|family| connection.key(&host_key(family, id)));
    let mut released = Addresses::default();
    for _ in 0..ATTEMPTS {
        let mut unchanged = vec![is_missing(&member)];
        let mut deletes = Vec::new();
        for host in &hosts {
            let revision = get(connection, host).await?.map_or(0, |kv| kv.mod_revision());
            unchanged.push(is_of(host, revision));
            deletes.push(TxnOp::delete(host.as_str(), None));
        }
        // Those that no `hosts` key names any more among them.
        for (address, (owner, revision)) in owners(connection).await? {
            if owner == *id {
                let overlay = connection.key(&format!("overlays/{address}"));
                unchanged.push(is_of(&overlay, revision));
                deletes.push(TxnOp::delete(overlay, None));
                released.insert(address);
            }
        }
        let txn = Txn::new()
            .when(unchanged)
            .and_then(deletes)
            .or_else([TxnOp::get(member.as_str(), None)]);
        let answer = transact(connection, &format!("releasing host {id}"), txn).await?;
        if answer.succeeded() {
            return Ok(released);
        }
        if first(&answer).is_some() {
            return Err(RegistryError::Other(anyhow!(
                "{}: {member}: host {id} is a member of the fleet; end its neti, and release it \
                 when it is gone",
                connection.name()
            )));
        }
    }
    Err(RegistryError::Changed(format!(
        "{}: the claims of host {id} are changing; try again",
        connection.name()
    )))
}

/// The settings' text; its version is the revision of its key.
pub async fn settings(connection: &Connection) -> Result<Option<Settings>> {
    let kv = get(connection, &connection.key("fleet")).await?;
    Ok(kv.map(|kv| Settings {
        version: kv.mod_revision() as u64,
        text: unpack(kv.value()).into_owned(),
    }))
}

/// Writes the settings if they are of this version.
pub async fn set_settings(connection: &Connection, text: &str, version: Option<u64>) -> Result<()> {
    let key = connection.key("fleet");
    let value = pack(text);
    let txn = Txn::new()
        .when([is_of(&key, version.unwrap_or(0) as i64)])
        .and_then([TxnOp::put(key.as_str(), &*value, None)])
        .or_else([TxnOp::get(key.as_str(), None)]);
    let answer = transact(connection, &format!("writing {key}"), txn).await?;
    // If it is ours, the answer to a first attempt was lost.
    if answer.succeeded() || first(&answer).is_some_and(|kv| kv.value() == &*value) {
        return Ok(());
    }
    Err(RegistryError::Changed(format!(
        "{}: {key}: somebody else has changed it in the meantime; look at it and try again",
        connection.name()
    )))
}

/// Writes a key, whatever stands there.
pub async fn put(connection: &Connection, key: &str, value: &[u8]) -> Result<()> {
    let ask = |mut client: Client| {
        let (key, value) = (key.to_owned(), value.to_vec());
        async move { client.put(key, value, None).await }
    };
    connection.ask(&format!("writing {key}"), ask).await.map(drop)
}

async fn get(connection: &Connection, key: &str) -> Result<Option<KeyValue>> {
    let ask = |mut client: Client| {
        let key = key.to_owned();
        async move { client.get(key, None).await }
    };
    let mut answer = connection.ask(&format!("reading {key}"), ask).await?;
    Ok(answer.take_kvs().into_iter().next())
}

async fn transact(connection: &Connection, asked: &str, txn: Txn) -> Result<TxnResponse> {
    let ask = |mut client: Client| {
        let txn = txn.clone();
        async move { client.txn(txn).await }
    };
    connection.ask(asked, ask).await
}

/// That there is no such key.
fn is_missing(key: &str) -> Compare {
    Compare::create_revision(key, CompareOp::Equal, 0)
}

/// That the key was last written at this revision; 0: that it is missing.
fn is_of(key: &str, revision: i64) -> Compare {
    Compare::mod_revision(key, CompareOp::Equal, revision)
}

/// What the first read of a transaction found.
fn first(answer: &TxnResponse) -> Option<KeyValue> {
    match answer.op_responses().into_iter().next()? {
        TxnOpResponse::Get(mut got) => got.take_kvs().into_iter().next(),
        _ => None,
    }
}

fn name<'a>(prefix: &str, kv: &'a KeyValue) -> Option<&'a str> {
    kv.key_str().ok()?.strip_prefix(prefix)
}
