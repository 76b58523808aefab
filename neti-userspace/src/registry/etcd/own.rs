//! Our own record in the store: written under our lease where it may be, removed with it.

use std::{sync::Arc, time::Duration};

use anyhow::anyhow;
use etcd_client::{
    Client, Compare, CompareOp, KeyValue, LeaseGrantOptions, PutOptions, Txn, TxnOp, TxnOpResponse,
    TxnResponse,
};
use tokio::time::sleep;

use super::{
    alone::find,
    connection::{Connection, PATIENCE},
    errors::{Failure, Kind},
    record::{self, Verdict},
};
use crate::{
    membership::{MemberRecord, MemberState},
    registry::LEAVING,
};

/// A removal that takes longer is given up: the lease ends by itself.
const FAREWELL: Duration = Duration::from_secs(3);
/// Of a record that somebody else changes in between.
const ATTEMPTS: usize = 3;

/// Our record and its lease.
pub struct Own {
    pub connection: Arc<Connection>,
    pub key: String,
    pub record: MemberRecord,
    pub value: Vec<u8>,
    pub lease: i64,
    /// Whole seconds, as etcd counts.
    pub ttl: i64,
}

/// A record that stands.
#[derive(Debug, Clone, Copy)]
pub struct Announced {
    /// That of the store when the record was seen or written.
    pub revision: i64,
    /// What the server has granted, in seconds.
    pub ttl: i64,
}

impl Own {
    /// Sees to it that the record stands under our lease.
    pub async fn announce(&self, starts: bool) -> std::result::Result<Announced, Failure> {
        let ttl = self.grant().await?;
        for _ in 0..ATTEMPTS {
            let (revision, found) = find(&self.connection, &self.key).await?;
            let found = found.as_ref();
            match record::judge(&self.record, &self.value, self.lease, found, starts) {
                Verdict::Ours => return Ok(Announced { revision, ttl }),
                Verdict::Theirs(why) => return Err(Failure::new(Kind::Taken, why)),
                Verdict::Write => {}
            }
            if let Some(revision) = self.put(found.map_or(0, |found| found.revision)).await? {
                return Ok(Announced { revision, ttl });
            }
        }
        Err(Failure::new(Kind::Unreachable, "somebody else writes it again and again"))
    }

    /// Sees to it that our lease is there, and tells its time.
    async fn grant(&self) -> std::result::Result<i64, Failure> {
        let (id, ttl) = (self.lease, self.ttl);
        let grant = |mut client: Client| {
            let options = LeaseGrantOptions::new().with_id(id);
            async move { client.lease_grant(ttl, Some(options)).await }
        };
        match self.connection.try_ask(PATIENCE, grant).await {
            Err(failure) if failure.kind == Kind::LeaseExists => {
                let ask =
                    |mut client: Client| async move { client.lease_time_to_live(id, None).await };
                Ok(self.connection.try_ask(PATIENCE, ask).await?.granted_ttl())
            }
            granted => Ok(granted?.ttl()),
        }
    }

    /// Writes the record if its key was last written at the revision `before`, and unless another
    /// host has locked an overlay address of ours. `None`: it was not.
    async fn put(&self, before: i64) -> std::result::Result<Option<i64>, Failure> {
        let key = self.key.as_str();
        let mut when = self.locks().await?;
        when.push(Compare::mod_revision(key, CompareOp::Equal, before));
        let put = PutOptions::new().with_lease(self.lease);
        let put = TxnOp::put(key, self.value.as_slice(), Some(put));
        let answer = self.transact(PATIENCE, Txn::new().when(when).and_then([put])).await?;
        let revision = answer.header().map_or(0, |header| header.revision());
        Ok(answer.succeeded().then_some(revision))
    }

    /// That the locks of our overlay addresses are still as they are: ours, or nobody's. Whoever was
    /// cut off for long may have been released, and its address be another's.
    async fn locks(&self) -> std::result::Result<Vec<Compare>, Failure> {
        let id = self.record.id.as_str();
        let addresses = &self.record.overlays;
        let lock = |address| self.connection.key(&format!("overlays/{address}"));
        let gets: Vec<_> =
            addresses.iter().map(|address| TxnOp::get(lock(address), None)).collect();
        let answer = self.transact(PATIENCE, Txn::new().and_then(gets)).await?;
        let owners = answer.op_responses().into_iter().map(|response| match response {
            TxnOpResponse::Get(mut got) => got.take_kvs().into_iter().next(),
            _ => None,
        });
        let compare = |(address, owner): (_, Option<KeyValue>)| match owner {
            None => Ok(Compare::create_revision(lock(address), CompareOp::Equal, 0)),
            Some(owner) if owner.value() == id.as_bytes() => {
                Ok(Compare::value(lock(address), CompareOp::Equal, id))
            }
            Some(owner) => {
                let owner = String::from_utf8_lossy(owner.value());
                let why = format!(
                    "overlay address {address} is no longer locked to host {id} (it belongs to \
                     {owner}); start neti again"
                );
                Err(Failure::new(Kind::Taken, why))
            }
        };
        addresses.iter().zip(owners).map(compare).collect()
    }

    /// Says that the host leaves, and removes the record with its lease. A record that another has
    /// written in our place stays.
    pub async fn withdraw(&self) -> anyhow::Result<()> {
        let lease = self.lease;
        let record = MemberRecord { state: MemberState::Leaving, ..self.record.clone() };
        let (key, value) = (self.key.as_str(), serde_json::to_vec(&record)?);
        let leave = Txn::new()
            .when([Compare::lease(key, CompareOp::Equal, lease)])
            .and_then([TxnOp::put(key, value, Some(PutOptions::new().with_lease(lease)))]);
        let left = self.transact(FAREWELL / 2, leave).await;
        if left.is_ok_and(|answer| answer.succeeded()) {
            sleep(LEAVING).await;
        }
        let revoke = |mut client: Client| async move { client.lease_revoke(lease).await };
        match self.connection.try_ask(FAREWELL, revoke).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.kind == Kind::NoLease => Ok(()),
            Err(failure) => {
                let what = self.connection.what(&format!("removing {key}"));
                let error = failure.error(&what);
                Err(anyhow!("{error}; the record ends by itself within {} s", self.ttl))
            }
        }
    }

    async fn transact(
        &self,
        patience: Duration,
        txn: Txn,
    ) -> std::result::Result<TxnResponse, Failure> {
        let ask = |mut client: Client| {
            let txn = txn.clone();
            async move { client.txn(txn).await }
        };
        self.connection.try_ask(patience, ask).await
    }
}
