//! Writes into ZooKeeper. The nodes are persistent: they must not end with who writes them.

use anyhow::{Context, Result};
use zookeeper_client::{Acls, Client, CreateMode, CreateOptions};

use super::PREFIX;
use crate::synthetic::{Member, settings};

/// Servers take a request of up to 1 MiB.
pub const AT_ONCE: usize = 500;

pub async fn connect(endpoint: &str) -> Result<Client> {
    Client::connect(endpoint).await.with_context(|| format!("connect to {endpoint}"))
}

pub async fn begin(client: &Client) -> Result<()> {
    for parent in ["members", "overlays", "hosts", "hosts6"] {
        let path = format!("{PREFIX}/{parent}");
        client.mkdir(&path, &options()).await.with_context(|| format!("make {path}"))?;
    }
    let path = format!("{PREFIX}/fleet");
    let create = client.create(&path, settings().as_bytes(), &options()).await;
    create.context("write the settings")?;
    Ok(())
}

pub async fn create(client: &Client, members: &[Member]) -> Result<()> {
    let mut writer = client.new_multi_writer();
    for member in members {
        writer.add_create(&path(member), &member.record(), &options())?;
    }
    writer.commit().await.context("create members")?;
    Ok(())
}

pub async fn set(client: &Client, member: &Member) -> Result<()> {
    let set = client.set_data(&path(member), &member.record(), None).await;
    set.with_context(|| format!("write {}", path(member)))?;
    Ok(())
}

pub async fn set_all(client: &Client, members: &[Member]) -> Result<()> {
    let mut writer = client.new_multi_writer();
    for member in members {
        writer.add_set_data(&path(member), &member.record(), None)?;
    }
    writer.commit().await.context("write members")?;
    Ok(())
}

fn options() -> CreateOptions<'static> {
    CreateMode::Persistent.with_acls(Acls::anyone_all())
}

fn path(member: &Member) -> String {
    format!("{PREFIX}/members/{}", member.id())
}
