//! What the registry in etcd does beyond what all registries do: compaction, pages, users, stores
//! that were put back, servers that hang, leases.
#![allow(clippy::unwrap_used, reason = "clippy.toml exempts test functions, not their helpers")]

use std::{sync::Arc, time::Duration};

use etcd_client::{Client, Compare, CompareOp, PutOptions, Txn, TxnOp};
use neti_userspace::{
    config::{Credentials, Servers, Tls},
    membership::{HostId, MemberRecord, Membership},
    registry::{
        Registry, RegistryError,
        etcd::{Etcd, Pace},
    },
};
use tokio::{sync::watch, time::timeout};

mod leases;
mod outages;
mod server;
mod tls;
mod users;

use server::{Network, Proxy, Server, Way};

const SETTINGS: &str = r#"{"overlay": ["100.64.0.0/16"]}"#;

fn servers(endpoints: &[String]) -> Servers {
    Servers {
        endpoints: endpoints.to_vec(),
        prefix: "/neti".to_owned(),
        // A host that is held up for a moment must not lose its record.
        ttl: Duration::from_secs(10),
        tls: None,
        credentials: None,
    }
}

fn etcd(url: String) -> Etcd {
    Etcd::open(&servers(&[url])).unwrap()
}

/// The same where a record is to end by itself.
fn brief(url: String) -> Etcd {
    Etcd::open(&Servers { ttl: Duration::from_secs(2), ..servers(&[url]) }).unwrap()
}

fn id(name: &str) -> HostId {
    name.parse().unwrap()
}

fn json(name: &str, private: &str) -> String {
    format!(
        r#"{{"id": "{name}", "overlays": ["100.64.0.2"], "private": ["{private}"],
             "network": "ec2", "since": 5}}"#
    )
}

fn record(name: &str, private: &str) -> MemberRecord {
    MemberRecord::parse(name, json(name, private).as_bytes()).unwrap()
}

async fn put(client: &mut Client, name: &str) {
    client.put(format!("/neti/members/{name}"), json(name, "10.0.0.9"), None).await.unwrap();
}

async fn delete(client: &mut Client, name: &str) {
    client.delete(format!("/neti/members/{name}"), None).await.unwrap();
}

/// A server with settings.
async fn fleet(flags: &[&str]) -> (Server, Client) {
    let server = Server::start(flags).await;
    let mut client = server.client().await;
    client.put("/neti/fleet", SETTINGS, None).await.unwrap();
    (server, client)
}

/// Waits until what is told is right.
async fn until<T: std::fmt::Debug>(
    told: &mut watch::Receiver<T>,
    what: &str,
    right: impl FnMut(&T) -> bool,
) {
    let seen = timeout(Duration::from_secs(60), told.wait_for(right)).await;
    let failed = !matches!(&seen, Ok(Ok(_)));
    drop(seen);
    assert!(!failed, "not seen: {what}: {:?}", told.borrow());
}

fn names(membership: &Membership) -> Vec<&str> {
    membership.members.keys().map(HostId::as_str).collect()
}

#[tokio::test]
async fn a_list_comes_in_pages_and_another_changes_nothing() {
    let (server, mut client) = fleet(&[]).await;
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        put(&mut client, name).await;
    }
    let relist = Duration::from_millis(20);
    let pace = Pace { page: 3, relist, ..Pace::default() };
    let mut told = etcd(server.url()).with_pace(pace).watch().await.unwrap();
    assert_eq!(names(&told.borrow()), ["a", "b", "c", "d", "e", "f", "g"]);
    let first = told.borrow().revision;
    let read = server.ranges_read().await;
    for round in 0..20 {
        let name = format!("z{round}");
        put(&mut client, &name).await;
        until(&mut told, &name, |fleet| fleet.members.contains_key(&id(&name))).await;
    }
    while server.ranges_read().await < read + 100.0 {
        tokio::time::sleep(relist).await;
    }
    assert_eq!(told.borrow().revision, first + 20, "a list makes no snapshot of what is known");
}

#[tokio::test]
async fn a_burst_comes_as_few_snapshots() {
    let (server, mut client) = fleet(&[]).await;
    let mut told = etcd(server.url()).watch().await.unwrap();
    let first = told.borrow().revision;
    for round in 0..20 {
        let member = |n| format!("m{:03}", round * 50 + n);
        let puts = (0..50).map(|n| {
            TxnOp::put(format!("/neti/members/{}", member(n)), json(&member(n), "10.0.0.9"), None)
        });
        client.txn(Txn::new().and_then(puts.collect::<Vec<_>>())).await.unwrap();
    }
    until(&mut told, "all members", |fleet| fleet.members.len() == 1000).await;
    assert!(told.borrow().revision - first <= 20);
}

#[tokio::test]
async fn a_release_spares_members_and_takes_leftovers() {
    let (server, mut client) = fleet(&[]).await;
    let etcd = etcd(server.url());
    let settings = etcd.fleet().await.unwrap();
    let family = neti_userspace::addresses::IpFamily::V4;
    let claimed = etcd.claim(&id("sierra"), &settings, &[family]).await.unwrap();
    client.put("/neti/overlays/100.64.9.9", "sierra", None).await.unwrap();
    put(&mut client, "sierra").await;
    let error = etcd.release(&id("sierra")).await.unwrap_err().to_string();
    assert!(
        error.contains("/neti/members/sierra: host sierra is a member of the fleet"),
        "{error}"
    );
    assert_eq!(etcd.claims().await.unwrap().len(), 2);

    delete(&mut client, "sierra").await;
    let released: Vec<_> = etcd.release(&id("sierra")).await.unwrap().iter().collect();
    assert!(claimed.iter().all(|address| released.contains(&address)), "{released:?}");
    assert!(etcd.claims().await.unwrap().is_empty());
    let nobody = Compare::create_revision("/neti/hosts/sierra", CompareOp::Equal, 0);
    assert!(client.txn(Txn::new().when([nobody])).await.unwrap().succeeded());
}

#[tokio::test]
async fn without_settings_the_key_and_the_remedy_are_told() {
    let server = Server::start(&[]).await;
    let etcd = etcd(server.url());
    for error in [etcd.fleet().await.map(drop), etcd.watch().await.map(drop)] {
        let error = error.unwrap_err().to_string();
        let right = "/neti/fleet: there are no fleet settings; `neti fleet set --file` writes them";
        assert!(error.ends_with(right), "{error}");
    }
    etcd.set_settings(SETTINGS, None).await.unwrap();
    let changed = etcd.set_settings(r#"{"overlay": ["100.65.0.0/16"]}"#, None).await;
    assert!(matches!(changed, Err(RegistryError::Changed(_))), "{changed:?}");
    let version = etcd.settings().await.unwrap().map(|settings| settings.version);
    etcd.set_settings(r#"{"overlay": ["100.65.0.0/16"]}"#, version).await.unwrap();
    assert_eq!(etcd.fleet().await.unwrap().overlay[0].to_string(), "100.65.0.0/16");
}

#[tokio::test]
async fn nobody_there_is_told_with_the_endpoint() {
    let mut server = Server::start(&[]).await;
    server.kill();
    let error = etcd(server.url()).fleet().await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable(_)), "{error}");
    let right = format!("etcd {}: reading /neti/fleet: ", server.url());
    assert!(error.to_string().starts_with(&right), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}
