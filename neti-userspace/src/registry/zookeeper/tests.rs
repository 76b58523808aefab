//! What goes beyond what all registries have in common, against real servers.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use zookeeper_client::{Client, CreateMode, Stat};

use self::{proxy::Proxy, server::Server};
use super::{session::Kept, *};
use crate::membership::sample::{id, record};

mod access;
mod mixed;
mod proxy;
mod server;
mod theirs;

const SETTINGS: &str = r#"{"overlay": ["100.64.0.0/16"]}"#;

fn hudson() -> MemberRecord {
    record("hudson", "100.64.0.1", "ec2").private("10.0.0.10").public("54.0.0.10")
}

/// How long anything may take before it is called missing.
const PATIENCE: Duration = Duration::from_secs(60);

struct Watch(watch::Receiver<Arc<Membership>>);

impl Watch {
    async fn of(registry: &ZooKeeper) -> Self {
        Self(registry.watch().await.unwrap())
    }

    /// Waits until the fleet is as it should be.
    async fn until(&mut self, what: &str, right: impl FnMut(&Arc<Membership>) -> bool) {
        let seen = timeout(PATIENCE, self.0.wait_for(right)).await;
        let failed = seen.is_err();
        drop(seen);
        assert!(!failed, "not seen: {what}: {:?}", self.0.borrow());
    }

    async fn until_names(&mut self, names: &[&str]) {
        let are = |membership: &Arc<Membership>| {
            membership.members.keys().map(HostId::as_str).eq(names.iter().copied())
        };
        self.until(&format!("{names:?}"), are).await;
    }
}

async fn fleet(registry: &ZooKeeper) {
    registry.set_settings(SETTINGS, None).await.unwrap();
}

/// Announces a record, and what keeps it.
async fn begin(registry: &ZooKeeper, record: MemberRecord) -> Kept {
    let client = registry.place.link.hold(None).await.unwrap();
    let own = Own::new(registry.place.clone(), record).unwrap();
    session::begin(own, client).await.unwrap()
}

async fn client(registry: &ZooKeeper) -> Client {
    registry.place.link.connect().await.unwrap()
}

#[tokio::test]
async fn a_session_that_expires_in_a_cut_network_is_replaced() {
    let server = Server::start().await;
    let registry = server.registry();
    fleet(&registry).await;
    let mut watch = Watch::of(&registry).await;

    let proxy = Proxy::to(server.endpoint()).await;
    let behind = Servers { endpoints: vec![proxy.endpoint.clone()], ..server.servers() };
    let behind = ZooKeeper::open(&behind, Layout::Neti, "ec2").unwrap();
    let registration = behind.register(&hudson()).await.unwrap();
    let mut follower = Watch::of(&behind).await;
    watch.until_names(&["hudson"]).await;
    let before = watch.0.borrow().members["hudson"].clone();

    proxy.set_open(false);
    watch.until_names(&[]).await;
    follower.until("stale", |membership| membership.stale.is_some()).await;
    assert!(follower.0.borrow().members.contains_key("hudson"), "an outage is no empty fleet");
    let mut trouble = registration.trouble();
    let told = trouble.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert!(told.contains("cannot be kept alive: zookeeper 127.0.0.1:"), "{told}");
    proxy.set_open(true);
    watch.until_names(&["hudson"]).await;
    assert_eq!(watch.0.borrow().members["hudson"], before, "since included");
    trouble.wait_for(Option::is_none).await.unwrap();
    follower.until("not stale", |membership| membership.stale.is_none()).await;
    follower.until_names(&["hudson"]).await;

    registration.withdraw().await.unwrap();
    watch.until_names(&[]).await;
}

#[tokio::test]
async fn a_record_that_somebody_changed_is_written_again() {
    let server = Server::start().await;
    let registry = server.registry();
    fleet(&registry).await;
    let registration = registry.register(&hudson()).await.unwrap();
    let operator = client(&registry).await;
    let path = registry.place.tree.path("members/hudson");
    let (data, first) = operator.get_data(&path).await.unwrap();
    let again = async |right: &dyn Fn(&Stat) -> bool| {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Ok((text, stat)) = operator.get_data(&path).await
                && text == data
                && right(&stat)
            {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("it is not written again");
    };

    operator.delete(&path, None).await.unwrap();
    again(&|stat| stat.czxid != first.czxid).await;
    operator.set_data(&path, b"{", None).await.unwrap();
    again(&|stat| stat.version >= 2).await;
    registration.withdraw().await.unwrap();
    assert_eq!(operator.check_stat(&path).await.unwrap(), None);
}

#[tokio::test]
async fn what_an_older_session_left_is_taken_over_and_outlives_it() {
    let server = Server::start().await;
    let registry = server.registry();
    fleet(&registry).await;
    let mut watch = Watch::of(&registry).await;

    // Killed: its session goes on until it expires.
    let killed = begin(&registry, hudson()).await;
    let old = killed.session.clone();
    drop(killed);
    let registration = registry.register(&hudson()).await.unwrap();
    let operator = client(&registry).await;
    let path = registry.place.tree.path("members/hudson");
    let (data, stat) = operator.get_data(&path).await.unwrap();
    assert_ne!(stat.ephemeral_owner, old.id().0);
    registry.place.link.close(old).await.unwrap();
    assert_eq!(operator.get_data(&path).await.unwrap(), (data, stat));
    watch.until_names(&["hudson"]).await;

    // A host with other real addresses does not get the id while that one lives...
    let error = registry.register(&hudson().private("10.0.0.99")).await.err().unwrap();
    let text = error.to_string();
    assert!(text.contains("/members/hudson: host id hudson is in use by a host with"), "{text}");
    // ...and does once its session is over.
    drop(registration);
    let moved = registry.register(&hudson().private("10.0.0.99")).await.unwrap();
    let there = |membership: &Arc<Membership>| {
        let record = membership.members.get("hudson");
        record.is_some_and(|record| record.private.to_string() == "10.0.0.99")
    };
    watch.until("the other host", there).await;
    moved.withdraw().await.unwrap();
}

#[tokio::test]
async fn the_servers_timeout_is_told() {
    let server = Server::start().await;
    // Twenty times the tickTime are ten seconds.
    let asked = Servers { ttl: Duration::from_secs(60), ..server.servers() };
    let registry = ZooKeeper::open(&asked, Layout::Neti, "ec2").unwrap();
    fleet(&registry).await;
    let registration = registry.register(&hudson()).await.unwrap();
    let mut trouble = registration.trouble();
    let told = timeout(PATIENCE, trouble.wait_for(Option::is_some)).await;
    let told = told.unwrap().unwrap().clone().unwrap();
    let right = "grants a session timeout of 10 s where ttl = 60 s was asked for";
    assert!(told.contains(right) && told.contains("maxSessionTimeout"), "{told}");
    registration.withdraw().await.unwrap();

    // What is asked for and granted is nothing to tell.
    let registration = server.registry().register(&hudson()).await.unwrap();
    sleep(Duration::from_millis(500)).await;
    assert_eq!(*registration.trouble().borrow(), None);
}

#[tokio::test]
async fn outages_keep_the_fleet_and_end() {
    let mut server = Server::start().await;
    let registry = server.registry();
    fleet(&registry).await;
    let registration = registry.register(&hudson()).await.unwrap();
    let mut watch = Watch::of(&registry).await;
    watch.until_names(&["hudson"]).await;

    server.signal(Signal::SIGSTOP);
    watch.until("stale", |membership| membership.stale.is_some()).await;
    assert!(watch.0.borrow().members.contains_key("hudson"));
    let error = registry.fleet().await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable(_)), "{error}");
    assert!(
        error.to_string().contains("listens, but hangs, has no quorum, or wants TLS"),
        "{error}"
    );
    let mut trouble = registration.trouble();
    trouble.wait_for(Option::is_some).await.unwrap();
    server.signal(Signal::SIGCONT);
    watch.until("not stale", |membership| membership.stale.is_none()).await;
    trouble.wait_for(Option::is_none).await.unwrap();
    watch.until_names(&["hudson"]).await;

    server.crash().await;
    watch.until("stale", |membership| membership.stale.is_some()).await;
    watch.until("not stale", |membership| membership.stale.is_none()).await;
    trouble.wait_for(Option::is_none).await.unwrap();
    watch.until_names(&["hudson"]).await;

    // The new watches are in force.
    let sierra = record("sierra", "100.64.0.2", "ec2").private("10.0.0.11");
    let _sierra = registry.register(&sierra).await.unwrap();
    watch.until_names(&["hudson", "sierra"]).await;

    // To withdraw from a server that hangs ends all the same.
    server.signal(Signal::SIGSTOP);
    let error = registration.withdraw().await.unwrap_err();
    assert!(format!("{error:#}").contains("left to expire"), "{error:#}");
    server.signal(Signal::SIGCONT);
}

#[tokio::test]
async fn a_fleet_of_large_records_is_read_whole() {
    let server = Server::start().await;
    let registry = server.registry();
    let error = registry.watch().await.unwrap_err().to_string();
    let right = "/fleets/neti/fleet: is not there; `neti fleet set` writes it";
    assert!(error.contains(right), "{error}");
    fleet(&registry).await;

    // An answer about 500 of them is larger than jute.maxbuffer.
    let client = client(&registry).await;
    let options = registry.place.tree.own(CreateMode::Persistent);
    const COUNT: usize = 1200;
    let large = registry.place.tree.path("members/large");
    client.create(&large, &[b' '; 70_000], &options).await.unwrap();
    let mut creates = Vec::new();
    for n in 0..COUNT {
        let overlay = format!("100.64.{}.{}", 1 + n / 250, 1 + n % 250);
        let mut record = record(&format!("h{n}"), &overlay, "ec2").private("10.0.0.11");
        record.labels = BTreeMap::from([("text".to_owned(), "x".repeat(3000))]).into();
        let path = registry.place.tree.path(&format!("members/{}", record.id));
        let data = serde_json::to_vec(&record).unwrap();
        let (client, options) = (client.clone(), options.clone());
        creates.push(async move { client.create(&path, &data, &options).await.map(drop) });
    }
    let mut watch = Watch::of(&registry).await;
    for created in join_all(creates).await {
        created.unwrap();
    }
    watch.until("all", |membership| membership.members.len() == COUNT).await;
    let snapshots = watch.0.borrow().revision;
    assert!(snapshots < COUNT as u64 / 2, "{snapshots} snapshots of one burst");
    let first = Watch::of(&registry).await;
    assert_eq!(first.0.borrow().members.len(), COUNT);
    let problems = first.0.borrow().problems.clone();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].key, "members/large");
    assert_eq!(problems[0].what, "skipped: larger than 65536 bytes");
}

#[tokio::test]
async fn settings_that_were_made_anew_are_others() {
    let server = Server::start().await;
    let registry = server.registry();
    fleet(&registry).await;
    let first = registry.settings().await.unwrap().unwrap();
    let path = registry.place.tree.path("fleet");
    client(&registry).await.delete(&path, None).await.unwrap();
    fleet(&registry).await;
    let second = registry.settings().await.unwrap().unwrap();
    assert_eq!(first.text, second.text);
    let error = registry.set_settings(SETTINGS, Some(first.version)).await.unwrap_err();
    assert!(matches!(error, RegistryError::Changed(_)), "{error}");
    registry.set_settings(SETTINGS, Some(second.version)).await.unwrap();
}
