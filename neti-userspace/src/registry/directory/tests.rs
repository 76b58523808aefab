use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use tempfile::TempDir;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{Directory, *};
use crate::{
    membership::sample::{id, record},
    registry::{Registry as _, RegistryError, contract},
};

/// A registry of its own for each test.
pub struct Registry {
    _home: TempDir,
    root: PathBuf,
}

/// Where it should end.
const SHORT: Duration = Duration::from_millis(600);
/// Where a host must live through the pauses of a busy machine.
const TTL: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_secs(60);
/// Of a watch that lists later than anything here waits, so that only the kernel can tell it of a change.
const HOUR: Duration = Duration::from_secs(3600);

impl Registry {
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().join("registry");
        std::fs::create_dir(&root).unwrap();
        let registry = Self { _home: home, root };
        registry.write("fleet", r#"{"overlay": ["100.64.0.0/16"]}"#);
        registry.directory().tree.complete().unwrap();
        registry
    }

    pub fn directory(&self) -> Directory {
        Directory::open(&self.root, LONG).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file in place, as an operator's shell does.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn put(&self, record: &MemberRecord) {
        let bytes = serde_json::to_vec(record).unwrap();
        files::write(&self.path("members"), record.id.as_str(), &bytes).unwrap();
    }

    async fn watch(&self, ttl: Duration) -> Watch {
        Watch(Directory::open(&self.root, ttl).unwrap().watch().await.unwrap())
    }
}

/// Directories with nothing in them.
struct Empty;

impl contract::Bench for Empty {
    type Tree = TempDir;

    async fn fresh(&self) -> Result<TempDir> {
        Ok(tempfile::tempdir()?)
    }
}

impl contract::Tree for TempDir {
    fn open(&self, ttl: Duration) -> Result<impl registry::Registry + 'static> {
        Directory::open(self.path(), ttl)
    }

    async fn put(&self, key: &str, text: &str) -> Result<()> {
        let path = self.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap())?;
        files::write(
            path.parent().unwrap(),
            path.file_name().unwrap().to_str().unwrap(),
            text.as_bytes(),
        )
    }

    async fn remove(&self, key: &str) -> Result<()> {
        Ok(std::fs::remove_file(self.path().join(key))?)
    }
}

#[tokio::test]
async fn keeps_the_contract() {
    contract::check(&Empty).await.unwrap();
}

struct Watch(watch::Receiver<Arc<Membership>>);

impl Watch {
    /// Waits until the fleet is as it should be.
    async fn until(&mut self, what: &str, right: impl FnMut(&Arc<Membership>) -> bool) {
        let seen = timeout(LONG, self.0.wait_for(right)).await;
        let failed = seen.is_err();
        drop(seen);
        assert!(!failed, "not seen: {what}: {:?}", self.0.borrow());
    }

    fn names(&self) -> Vec<String> {
        self.0.borrow().members.keys().map(ToString::to_string).collect()
    }
}

fn has(name: &str) -> impl FnMut(&Arc<Membership>) -> bool {
    let id = id(name);
    move |membership| membership.members.contains_key(&id)
}

fn lacks(name: &str) -> impl FnMut(&Arc<Membership>) -> bool {
    let mut has = has(name);
    move |membership| !has(membership)
}

fn hudson() -> MemberRecord {
    record("hudson", "100.64.0.1", "ec2").private("10.0.0.10")
}

fn modified(path: &Path) -> SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

fn set_modified(path: &Path, time: SystemTime) {
    std::fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

#[tokio::test]
async fn what_cannot_be_opened_is_named() {
    let home = tempfile::tempdir().unwrap();
    let error = async |path: &Path| Directory::open(path, LONG).unwrap().watch().await.unwrap_err();

    let nowhere = home.path().join("nowhere");
    // Somewhere to go on from without it: a volume that is not mounted comes back.
    let refused = error(&nowhere).await;
    assert!(refused.is_outage() && !matches!(refused, RegistryError::Unreachable(_)));
    assert!(refused.to_string().contains("nowhere: no such directory; make it"), "{refused}");

    let text = error(home.path()).await;
    assert!(matches!(text, RegistryError::Settings(_)), "{text:?}");
    let text = format!("{text:#}");
    assert!(text.contains("fleet: cannot be read; must be the fleet's settings, like {"), "{text}");
    assert!(text.contains("`neti fleet set`"), "{text}");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing is made in it");

    std::fs::write(home.path().join("fleet"), r#"{"overlay": ["fe80::/64"]}"#).unwrap();
    let text = format!("{:#}", error(home.path()).await);
    assert!(text.contains("fleet: overlay[0] = \"fe80::/64\": is link-local; must be"), "{text}");
}

#[tokio::test]
async fn the_settings_are_all_it_needs() {
    let registry = Registry::new();
    for name in ["members", "overlays", "hosts", "hosts6"] {
        std::fs::remove_dir(registry.path(name)).unwrap();
    }
    let directory = registry.directory();
    let fleet = directory.fleet().await.unwrap();
    assert!(!registry.path("members").exists(), "to look makes nothing");
    let claimed = directory.claim(&id("hudson"), &fleet, &[IpFamily::V4]).await.unwrap();
    assert_eq!((claimed.of(IpFamily::V4).is_some(), claimed.of(IpFamily::V6)), (true, None));
    let _registration = directory.register(&hudson()).await.unwrap();
    assert_eq!(registry.watch(LONG).await.names(), ["hudson"]);
}

#[tokio::test]
async fn the_first_snapshot_is_complete() {
    let registry = Registry::new();
    registry.put(&hudson());
    registry.put(&record("sierra", "100.64.0.2", "ec2").private("10.0.0.11"));
    registry.write("members/broken", "{");
    registry.write("members/.hidden", "{");
    let watch = registry.watch(LONG).await;
    assert_eq!(watch.names(), ["hudson", "sierra"]);
    let problems = watch.0.borrow().problems.clone();
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].key, "members/broken");
}

#[tokio::test]
async fn a_member_is_seen_at_once_and_forgotten_at_once() {
    let registry = Registry::new();
    let mut watch = registry.watch(HOUR).await;
    for _ in 0..21 {
        registry.put(&hudson());
        watch.until("hudson", has("hudson")).await;
        std::fs::remove_file(registry.path("members/hudson")).unwrap();
        watch.until("no hudson", lacks("hudson")).await;
    }
}

#[tokio::test]
async fn many_changes_come_as_few_snapshots() {
    let registry = Registry::new();
    let mut watch = registry.watch(LONG).await;
    let first = watch.0.borrow().revision;
    for n in 0..500 {
        registry.put(&record(&format!("h{n}"), "100.64.0.2", "ec2").private("10.0.0.11"));
    }
    watch.until("all", |membership| membership.members.len() == 500).await;
    assert!(watch.0.borrow().revision - first <= 500);
}

#[tokio::test]
async fn a_broken_file_is_skipped_told_and_mended() {
    let registry = Registry::new();
    registry.put(&hudson());
    let mut watch = registry.watch(LONG).await;
    registry.write("members/sierra", "{\"id\": ");
    watch.until("a problem", |membership| !membership.problems.is_empty()).await;
    assert_eq!(watch.0.borrow().problems[0].key, "members/sierra");
    assert_eq!(watch.names(), ["hudson"]);

    let sierra = record("sierra", "100.64.0.2", "ec2").private("10.0.0.11");
    registry.write("members/sierra", &serde_json::to_string(&sierra).unwrap());
    watch.until("sierra", has("sierra")).await;
    assert!(watch.0.borrow().problems.is_empty());
}

#[tokio::test]
async fn what_is_no_file_does_not_block() {
    let registry = Registry::new();
    let pipe = registry.path("members/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::create_dir(registry.path("members/directory")).unwrap();
    let large = " ".repeat(70_000);
    registry.write("members/large", &large);
    let watch = registry.watch(LONG).await;
    let what: Vec<_> = watch.0.borrow().problems.iter().map(|p| p.what.clone()).collect();
    assert_eq!(
        what,
        ["skipped: not a file", "skipped: larger than 65536 bytes", "skipped: not a file"]
    );
}

#[tokio::test]
async fn a_registered_host_lives_until_it_withdraws() {
    let registry = Registry::new();
    let mut watch = registry.watch(TTL).await;
    let directory = Directory::open(&registry.root, TTL).unwrap();
    let registration = directory.register(&hudson()).await.unwrap();
    watch.until("hudson", has("hudson")).await;
    let snapshots = watch.0.borrow().revision;
    sleep(TTL * 3 / 2).await;
    assert_eq!(watch.names(), ["hudson"]);
    assert_eq!(watch.0.borrow().revision, snapshots, "heartbeats are no changes");

    registration.withdraw().await.unwrap();
    assert!(!registry.path("members/hudson").exists());
    watch.until("no hudson", lacks("hudson")).await;
}

#[tokio::test]
async fn a_silent_host_is_gone_after_the_ttl() {
    let registry = Registry::new();
    let directory = Directory::open(&registry.root, SHORT).unwrap();
    drop(directory.register(&hudson()).await.unwrap());
    let start = Instant::now();
    let mut watch = registry.watch(SHORT).await;
    watch.until("no hudson", lacks("hudson")).await;
    assert!(start.elapsed() >= SHORT - Duration::from_millis(50), "{:?}", start.elapsed());
    assert!(registry.path("members/hudson").exists());
}

#[tokio::test]
async fn a_file_from_long_ago_is_no_member_until_it_is_touched() {
    let registry = Registry::new();
    registry.put(&hudson());
    let file = registry.path("members/hudson");
    set_modified(&file, SystemTime::now() - LONG * 2);
    let mut watch = registry.watch(LONG).await;
    assert!(watch.names().is_empty());
    // Still old by our clock, but alive.
    set_modified(&file, SystemTime::now() - LONG * 2 + Duration::from_secs(10));
    watch.until("hudson", has("hudson")).await;
}

#[tokio::test]
async fn a_record_that_somebody_removed_is_written_again() {
    let registry = Registry::new();
    let directory = Directory::open(&registry.root, TTL).unwrap();
    let _registration = directory.register(&hudson()).await.unwrap();
    let mut watch = registry.watch(TTL).await;
    std::fs::remove_file(registry.path("members/hudson")).unwrap();
    watch.until("no hudson", lacks("hudson")).await;
    watch.until("hudson", has("hudson")).await;
}

#[tokio::test]
async fn a_claim_keeps_its_age_while_the_addresses_stay() {
    let registry = Registry::new();
    let directory = Directory::open(&registry.root, TTL).unwrap();
    let since = || {
        let bytes = std::fs::read(registry.path("members/hudson")).unwrap();
        MemberRecord::parse("hudson", &bytes).unwrap().since
    };
    drop(directory.register(&hudson()).await.unwrap());
    let first = since();
    assert!(first > 1_700_000_000_000);
    sleep(Duration::from_millis(5)).await;
    drop(directory.register(&MemberRecord { version: "2".to_owned(), ..hudson() }).await.unwrap());
    assert_eq!(since(), first);
    drop(directory.register(&hudson().private("10.0.0.99")).await.unwrap());
    assert!(since() > first);
}

#[tokio::test]
async fn an_outage_is_not_an_empty_fleet() {
    let registry = Registry::new();
    registry.put(&hudson());
    let mut watch = registry.watch(TTL).await;
    let away = registry.root.with_extension("away");
    std::fs::rename(&registry.root, &away).unwrap();
    watch.until("stale", |membership| membership.stale.is_some()).await;
    sleep(TTL * 3 / 2).await;
    assert_eq!(watch.names(), ["hudson"]);
    let why = watch.0.borrow().stale.clone().unwrap().why;
    assert!(why.contains("registry") && why.contains("No such file"), "{why}");

    std::fs::rename(&away, &registry.root).unwrap();
    watch.until("not stale", |membership| membership.stale.is_none()).await;
    assert_eq!(watch.names(), ["hudson"], "it has the full time again");
    registry.put(&record("sierra", "100.64.0.2", "ec2").private("10.0.0.11"));
    watch.until("sierra", has("sierra")).await;
}

#[tokio::test]
async fn a_directory_that_was_replaced_is_watched() {
    let registry = Registry::new();
    registry.put(&hudson());
    let mut watch = registry.watch(HOUR).await;
    std::fs::rename(registry.path("members"), registry.path("before")).unwrap();
    std::fs::create_dir(registry.path("members")).unwrap();
    watch.until("no hudson", lacks("hudson")).await;
    registry.put(&hudson());
    watch.until("hudson", has("hudson")).await;
}

#[tokio::test]
async fn broken_settings_are_told_and_the_last_good_ones_kept() {
    let registry = Registry::new();
    let mut watch = registry.watch(LONG).await;
    registry.write("fleet", r#"{"overlay": ["100.64.0.0/16"], "mode": "strict"}"#);
    let told = |membership: &Arc<Membership>| {
        membership.problems.iter().any(|p| p.key == "fleet" && p.what.contains("mode = \"strict\""))
    };
    watch.until("a problem", told).await;
    assert_eq!(watch.0.borrow().fleet.overlay.len(), 1);

    registry.write("fleet", r#"{"overlay": ["100.64.0.0/16"], "mode": "enforce"}"#);
    let enforced =
        |membership: &Arc<Membership>| membership.fleet.mode == crate::fleet::Mode::Enforce;
    watch.until("enforce", enforced).await;
    assert!(watch.0.borrow().problems.is_empty());

    std::fs::remove_file(registry.path("fleet")).unwrap();
    watch.until("a problem", |membership| !membership.problems.is_empty()).await;
    assert!(enforced(&watch.0.borrow()));
}

#[tokio::test]
async fn a_heartbeat_is_a_touch() {
    let registry = Registry::new();
    let directory = Directory::open(&registry.root, TTL).unwrap();
    let _registration = directory.register(&hudson()).await.unwrap();
    let file = registry.path("members/hudson");
    let inode =
        |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    let before = (inode(&file), modified(&file));
    let begun = Instant::now();
    while modified(&file) == before.1 {
        assert!(begun.elapsed() < LONG, "it is not touched");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(inode(&file), before.0);
    assert!(modified(&file) > before.1);
}

/// One name in the directory never stops the fleet.
#[tokio::test]
async fn a_name_that_leads_nowhere_is_its_own_problem() {
    let registry = Registry::new();
    registry.put(&hudson());
    let mut watch = registry.watch(TTL).await;
    let ring = registry.path("members/ring");
    std::os::unix::fs::symlink(&ring, &ring).unwrap();
    let skipped = |seen: &Arc<Membership>| seen.problems.iter().any(|p| p.key == "members/ring");
    watch.until("a problem", skipped).await;
    registry.put(&record("sierra", "100.64.0.2", "ec2").private("10.0.0.11"));
    watch.until("sierra", has("sierra")).await;
    assert!(watch.0.borrow().stale.is_none());
    assert!(registry.watch(TTL).await.names().contains(&"sierra".to_owned()), "it can be joined");
    std::fs::remove_file(&ring).unwrap();
    watch.until("no problem", |seen| seen.problems.is_empty()).await;
}

/// A pipe that nobody writes into holds up who opens it, as a server does that does not answer.
#[tokio::test]
async fn a_file_system_that_hangs_is_an_outage() {
    let registry = Registry::new();
    registry.put(&hudson());
    let mut watch = registry.watch(TTL).await;
    let fleet = registry.path("fleet");
    let settings = std::fs::read(&fleet).unwrap();
    let pipe = registry.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::fs::rename(&pipe, &fleet).unwrap();
    let stale = timeout(LONG, watch.0.wait_for(|seen| seen.stale.is_some())).await;
    let why = stale.unwrap().unwrap().stale.clone().unwrap().why;
    assert!(why.contains("has not answered for 5 s"), "{why}");
    assert_eq!(watch.names(), ["hudson"]);

    // Whoever waits gets the settings, and later ones come as a file again.
    let mut held = std::fs::File::options().write(true).open(&fleet).unwrap();
    files::write(&registry.root, "fleet", &settings).unwrap();
    std::io::Write::write_all(&mut held, &settings).unwrap();
    drop(held);
    watch.until("not stale", |seen| seen.stale.is_none()).await;
    assert_eq!(watch.names(), ["hudson"], "it has the full time again");
    watch.until("no hudson", lacks("hudson")).await;
}

mod own;
