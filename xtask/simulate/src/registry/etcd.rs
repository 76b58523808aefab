//! Writes into etcd.

use anyhow::{Context, Result};
use etcd_client::{Client, Txn, TxnOp};

use super::PREFIX;
use crate::synthetic::{Member, settings};

/// etcd takes up to 128 operations in one transaction.
pub const AT_ONCE: usize = 128;

pub async fn connect(endpoint: &str) -> Result<Client> {
    Client::connect([endpoint], None).await.with_context(|| format!("connect to {endpoint}"))
}

pub async fn begin(client: &Client) -> Result<()> {
    let key = format!("{PREFIX}/fleet");
    client.kv_client().put(key, settings(), None).await.context("write the settings")?;
    Ok(())
}

/// Or replaces what is there.
pub async fn create(client: &Client, members: &[Member]) -> Result<()> {
    let put = |member: &Member| TxnOp::put(key(member), member.record(), None);
    let operations: Vec<TxnOp> = members.iter().map(put).collect();
    client.kv_client().txn(Txn::new().and_then(operations)).await.context("write members")?;
    Ok(())
}

pub async fn put(client: &Client, member: &Member) -> Result<()> {
    let put = client.kv_client().put(key(member), member.record(), None).await;
    put.with_context(|| format!("write {}", key(member)))?;
    Ok(())
}

fn key(member: &Member) -> String {
    format!("{PREFIX}/members/{}", member.id())
}
