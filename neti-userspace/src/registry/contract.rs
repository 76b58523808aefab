//! The contract of every [`Registry`], as tests that each implementation runs against the real thing.

use std::{
    collections::BTreeSet,
    future::Future,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

mod settings;

use super::Registry;
use crate::{
    addresses::{Addresses, IpFamily},
    fleet::{FleetSettings, Mode},
    membership::{Confirmation, HostId, MemberRecord, MemberState, Membership},
};

/// Trees of a registry, in which nothing stands at first.
pub trait Bench: Sync {
    type Tree: Tree;

    fn fresh(&self) -> impl Future<Output = Result<Self::Tree>> + Send;
}

/// A tree of its own for a test.
pub trait Tree: Send + Sync {
    /// Opens it as a host does.
    fn open(&self, ttl: Duration) -> Result<impl Registry + 'static>;

    /// Writes a text under a key, as an operator's tool would.
    fn put(&self, key: &str, text: &str) -> impl Future<Output = Result<()>> + Send;

    /// Removes a key.
    fn remove(&self, key: &str) -> impl Future<Output = Result<()>> + Send;
}

const LONG: Duration = Duration::from_secs(30);
/// Servers grant whole seconds, and not as few as one would like.
const SHORT: Duration = Duration::from_secs(2);
/// What a host that is alive keeps through the pauses of a busy machine, and a test can still outlast.
const STEADY: Duration = Duration::from_secs(5);
/// How long anything may take before it is called missing.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon what happens at once is seen on a slow machine: far sooner than a record ends by itself.
const PROMPTLY: Duration = Duration::from_secs(5);
const SETTINGS: &str = r#"{"overlay": ["100.64.0.0/29", "fd64::/112"]}"#;

/// Checks all promises. The error says which one is broken, and how.
pub async fn check(bench: &impl Bench) -> Result<()> {
    settings::are_written_by_who_has_seen_them(bench).await.context("settings")?;
    an_address_stays_with_its_host(bench).await.context("claims")?;
    of_racing_hosts_each_gets_its_own(bench).await.context("racing claims")?;
    a_member_holds_its_addresses(bench).await.context("release")?;
    a_host_lives_until_it_withdraws(bench).await.context("registration")?;
    a_silent_host_is_gone_after_its_ttl(bench).await.context("expiry")?;
    an_id_is_of_one_host(bench).await.context("one id twice")?;
    a_restart_takes_its_record_over(bench).await.context("restart")?;
    who_ends_late_leaves_its_successor_alone(bench).await.context("a late end")?;
    a_record_that_somebody_removed_is_written_again(bench).await.context("a removed record")?;
    the_first_snapshot_is_complete(bench).await.context("first snapshot")?;
    changes_are_followed(bench).await.context("following")?;
    many_changes_all_arrive(bench).await.context("many changes")
}

async fn an_address_stays_with_its_host(bench: &impl Bench) -> Result<()> {
    let (tree, fleet) = with_settings(bench).await?;
    let registry = tree.open(LONG)?;
    let (hudson, sierra) = (id("hudson")?, id("sierra")?);
    let first = registry.claim(&hudson, &fleet, &IpFamily::ALL).await?;
    for family in IpFamily::ALL {
        let address = first.of(family).with_context(|| format!("no {family} address"))?;
        ensure!(fleet.is_overlay(address), "{address} is in no range");
    }
    let other = registry.claim(&sierra, &fleet, &[IpFamily::V4]).await?;
    ensure!(other.of(IpFamily::V6).is_none(), "an address that nobody asked for");
    ensure!(other.of(IpFamily::V4) != first.of(IpFamily::V4), "two hosts have one address");
    // Another process, and another family, do not matter.
    let again = tree.open(LONG)?;
    ensure!(again.claim(&hudson, &fleet, &IpFamily::ALL).await? == first, "it has changed");
    let claims = again.claims().await?;
    let of = |host: &HostId| -> Vec<IpAddr> {
        claims.iter().filter(|(_, owner)| *owner == host).map(|(address, _)| *address).collect()
    };
    ensure!(of(&hudson) == first.iter().collect::<Vec<_>>(), "claims are {claims:?}");
    ensure!(of(&sierra) == other.iter().collect::<Vec<_>>(), "claims are {claims:?}");

    let elsewhere = FleetSettings::parse("fleet", br#"{"overlay": ["100.65.0.0/16"]}"#)?;
    let error = registry.claim(&hudson, &elsewhere, &[IpFamily::V4]).await.err();
    let error = error.context("an address outside the fleet's ranges is taken")?;
    ensure!(format!("{error:#}").contains("in no overlay range"), "{error:#}");
    nobody_gets_what_stands_for_another(&registry, &hudson, first).await
}

/// Of six addresses two are claimed, and all but one of the others are in `nat_overrides`.
async fn nobody_gets_what_stands_for_another(
    registry: &impl Registry,
    hudson: &HostId,
    held: Addresses,
) -> Result<()> {
    let fleet = |overridden: &[IpAddr]| {
        let entry = |(index, address)| format!("\"{address}\": \"203.0.113.{index}\"");
        let overrides = overridden.iter().enumerate().map(entry).collect::<Vec<_>>().join(", ");
        let text = format!(r#"{{"overlay": ["100.64.0.0/29"], "nat_overrides": {{{overrides}}}}}"#);
        FleetSettings::parse("fleet", text.as_bytes())
    };
    let claims = registry.claims().await?;
    let range = (1..7).map(|host| IpAddr::from([100, 64, 0, host]));
    let mut free: Vec<IpAddr> = range.filter(|address| !claims.contains_key(address)).collect();
    let last = free.pop().context("a free address")?;
    let walden = registry.claim(&id("walden")?, &fleet(&free)?, &[IpFamily::V4]).await?;
    ensure!(walden.of(IpFamily::V4) == Some(last), "{walden} is none that was free");
    let error = registry.claim(&id("altair")?, &fleet(&free)?, &[IpFamily::V4]).await.err();
    let error = error.context("a host has the address of nobody")?;
    ensure!(format!("{error:#}").contains("is full: all 6"), "{error:#}");

    let held = held.of(IpFamily::V4).context("an IPv4 address")?;
    let error = registry.claim(hudson, &fleet(&[held])?, &[IpFamily::V4]).await.err();
    let error = error.context("an address that stands for another is taken")?;
    ensure!(format!("{error:#}").contains("nat_overrides"), "{error:#}");
    Ok(())
}

/// The range has room for six.
async fn of_racing_hosts_each_gets_its_own(bench: &impl Bench) -> Result<()> {
    let (tree, fleet) = with_settings(bench).await?;
    let names: Vec<HostId> =
        (0..7).map(|n| id(&format!("racer-{n}"))).collect::<Result<Vec<_>>>()?;
    let opened: Vec<_> = names.iter().map(|_| tree.open(LONG)).collect::<Result<Vec<_>>>()?;
    let claimed = join_all(names.iter().zip(&opened).map(|(id, registry)| {
        let fleet = &fleet;
        async move { (id.clone(), registry.claim(id, fleet, &[IpFamily::V4]).await) }
    }));
    let mut owners = std::collections::BTreeMap::new();
    let mut full = BTreeSet::new();
    for (id, claimed) in claimed.await {
        match claimed {
            Ok(addresses) => {
                let address = addresses.of(IpFamily::V4).context("no address")?;
                let owner = owners.entry(address).or_insert_with(|| id.clone()).clone();
                ensure!(owner == id, "{address} went to {owner} and to {id}");
            }
            Err(error) => {
                ensure!(format!("{error:#}").contains("is full: all 6"), "{error:#}");
                full.insert(id);
            }
        }
    }
    ensure!(owners.len() == 6 && full.len() == 1, "{owners:?}, and full for {full:?}");
    let hosts: BTreeSet<_> = owners.values().collect();
    ensure!(hosts.len() == 6, "one host has two addresses: {owners:?}");
    ensure!(opened[0].claims().await? == owners, "the claims are others");

    // Processes with one id get one address.
    let (tree, fleet) = with_settings(bench).await?;
    let opened: Vec<_> = (0..4).map(|_| tree.open(LONG)).collect::<Result<Vec<_>>>()?;
    let twin = id("twin")?;
    let claims = opened.iter().map(|registry| registry.claim(&twin, &fleet, &IpFamily::ALL));
    let claimed = join_all(claims).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    ensure!(claimed.iter().all(|other| *other == claimed[0]), "one host has {claimed:?}");
    ensure!(opened[0].claims().await?.len() == 2, "more is locked than was given");
    Ok(())
}

async fn a_member_holds_its_addresses(bench: &impl Bench) -> Result<()> {
    let (tree, fleet) = with_settings(bench).await?;
    let registry = tree.open(LONG)?;
    let hudson = id("hudson")?;
    ensure!(registry.release(&hudson).await?.is_empty(), "something comes from nowhere");
    let claimed = registry.claim(&hudson, &fleet, &IpFamily::ALL).await?;
    let sierra = registry.claim(&id("sierra")?, &fleet, &[IpFamily::V4]).await?;
    let overlays = claimed.iter().collect();
    let record = MemberRecord { overlays, ..record("hudson", "10.0.0.10")? };
    let registration = registry.register(&record).await?;
    let error = registry.release(&hudson).await.err().context("a member's address is released")?;
    ensure!(format!("{error:#}").contains("member"), "{error:#}");
    ensure!(registry.claims().await?.len() == 3, "a refused release has released");
    registration.withdraw().await?;
    ensure!(registry.release(&hudson).await? == claimed, "others were released than it had");
    let left: Vec<_> = registry.claims().await?.into_keys().collect();
    ensure!(left == sierra.iter().collect::<Vec<_>>(), "after a release there is {left:?}");
    registry.claim(&hudson, &fleet, &IpFamily::ALL).await?;
    Ok(())
}

async fn a_host_lives_until_it_withdraws(bench: &impl Bench) -> Result<()> {
    let (tree, _) = with_settings(bench).await?;
    let mut watch = Watch(tree.open(LONG)?.watch().await?);
    let registry = tree.open(STEADY)?;
    let ours = record("hudson", "10.0.0.10")?;
    let short = registry.register(&ours).await?;
    watch.until("hudson", has("hudson")).await?;
    let seen = watch.record("hudson")?;
    ensure!(MemberRecord { since: seen.since, ..ours } == *seen, "{seen:?}");
    ensure!((1_700_000_000_000..u64::MAX).contains(&seen.since), "since {}", seen.since);
    let revision = watch.0.borrow().revision;
    sleep(STEADY * 3 / 2).await;
    ensure!(watch.names() == ["hudson"], "it was lost");
    ensure!(watch.0.borrow().revision == revision, "signs of life are changes");
    // The record of this one would end by itself long after it must be gone.
    let patient = tree.open(LONG)?;
    let long = patient.register(&record("sierra", "10.0.0.11")?).await?;
    watch.until("sierra", has("sierra")).await?;
    long.withdraw().await?;
    watch.within(PROMPTLY, "no sierra", lacks("sierra")).await?;
    short.withdraw().await?;
    watch.until("no hudson", lacks("hudson")).await
}

async fn a_silent_host_is_gone_after_its_ttl(bench: &impl Bench) -> Result<()> {
    let (tree, _) = with_settings(bench).await?;
    let mut watch = Watch(tree.open(SHORT)?.watch().await?);
    let registry = tree.open(SHORT)?;
    let begun = Instant::now();
    let registration = registry.register(&record("hudson", "10.0.0.10")?).await?;
    watch.until("hudson", has("hudson")).await?;
    drop(registration);
    drop(registry);
    watch.until("no hudson", lacks("hudson")).await?;
    // Servers count in steps of half a second.
    let lived = begun.elapsed();
    ensure!(lived >= SHORT - Duration::from_secs(1), "it was gone after {lived:?} already");
    Ok(())
}

async fn an_id_is_of_one_host(bench: &impl Bench) -> Result<()> {
    let (tree, _) = with_settings(bench).await?;
    let (first, second) = (tree.open(STEADY)?, tree.open(STEADY)?);
    let registration = first.register(&record("hudson", "10.0.0.10")?).await?;
    let error = second.register(&record("hudson", "10.0.0.66")?).await.err();
    let error = format!("{:#}", error.context("two hosts of one id are registered")?);
    ensure!(error.contains("10.0.0.10") && error.contains("set `host`"), "{error}");
    registration.withdraw().await?;
    second.register(&record("hudson", "10.0.0.66")?).await?.withdraw().await
}

async fn a_restart_takes_its_record_over(bench: &impl Bench) -> Result<()> {
    let (tree, _) = with_settings(bench).await?;
    let mut watch = Watch(tree.open(LONG)?.watch().await?);
    let killed = tree.open(STEADY)?;
    drop(killed.register(&record("hudson", "10.0.0.10")?).await?);
    drop(killed);
    watch.until("hudson", has("hudson")).await?;
    let since = watch.record("hudson")?.since;
    let restarted = tree.open(LONG)?;
    let newer = MemberRecord { version: "later".to_owned(), ..record("hudson", "10.0.0.10")? };
    let registration = restarted.register(&newer).await?;
    let is_newer = |seen: &Membership| {
        seen.members.get("hudson").is_some_and(|record| record.version == "later")
    };
    watch.until("the restarted host's record", is_newer).await?;
    ensure!(watch.record("hudson")?.since == since, "its claims are younger than it");
    // What the killed one left behind must not take this one's record with it.
    sleep(STEADY * 3 / 2).await;
    ensure!(watch.names() == ["hudson"], "the restarted host is lost");
    registration.withdraw().await?;
    watch.until("no hudson", lacks("hudson")).await
}

/// As where a service manager starts the next one before the one before has ended.
async fn who_ends_late_leaves_its_successor_alone(bench: &impl Bench) -> Result<()> {
    let (tree, _) = with_settings(bench).await?;
    let mut watch = Watch(tree.open(LONG)?.watch().await?);
    let (first, second) = (tree.open(LONG)?, tree.open(LONG)?);
    let old = first.register(&record("hudson", "10.0.0.10")?).await?;
    watch.until("hudson", has("hudson")).await?;
    let newer = MemberRecord { version: "later".to_owned(), ..record("hudson", "10.0.0.10")? };
    let new = second.register(&newer).await?;
    old.withdraw().await?;
    let stands = |seen: &Membership| {
        let record = seen.members.get("hudson");
        record.is_some_and(|record| record.version == "later" && record.state == MemberState::Up)
    };
    watch.within(PROMPTLY, "the successor's record", stands).await?;
    sleep(SHORT).await;
    ensure!(stands(&watch.0.borrow()), "the successor is lost: {:?}", watch.0.borrow());
    new.withdraw().await?;
    watch.within(PROMPTLY, "no hudson", lacks("hudson")).await
}

async fn a_record_that_somebody_removed_is_written_again(bench: &impl Bench) -> Result<()> {
    let (tree, _) = with_settings(bench).await?;
    let mut watch = Watch(tree.open(LONG)?.watch().await?);
    let registry = tree.open(SHORT)?;
    let registration = registry.register(&record("hudson", "10.0.0.10")?).await?;
    watch.until("hudson", has("hudson")).await?;
    tree.remove("members/hudson").await?;
    // Who looks for the first time sees it only if it was written again.
    let mut later = Watch(tree.open(LONG)?.watch().await?);
    later.until("hudson again", has("hudson")).await?;
    watch.until("hudson again", has("hudson")).await?;
    registration.withdraw().await
}

async fn the_first_snapshot_is_complete(bench: &impl Bench) -> Result<()> {
    let (tree, _) = with_settings(bench).await?;
    let text = |id: &str, more: Value| -> Result<String> {
        let mut value = serde_json::to_value(record(id, "10.0.0.10")?)?;
        let keys = value.as_object_mut().context("a record is an object")?;
        keys.extend(more.as_object().cloned().unwrap_or_default());
        Ok(value.to_string())
    };
    let later = json!({"format": 99});
    tree.put("members/good", &text("good", json!({}))?).await?;
    tree.put("members/more", &text("more", json!({"colour": {"of": "its eyes"}}))?).await?;
    tree.put("members/broken", "{\"id\":").await?;
    tree.put("members/empty", " ").await?;
    tree.put("members/later", &text("later", later)?).await?;
    tree.put("members/mistaken", &text("another", json!({}))?).await?;
    tree.put("members/outside", &text("outside", json!({"private": "224.0.0.1"}))?).await?;
    let watch = Watch(tree.open(LONG)?.watch().await?);
    ensure!(watch.names() == ["good", "more"], "the first snapshot has {:?}", watch.names());
    let problems = watch.0.borrow().problems.clone();
    let keys: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
    let wanted = ["broken", "empty", "later", "mistaken", "outside"];
    ensure!(keys == wanted.map(|name| format!("members/{name}")), "problems are {problems:?}");
    ensure!(problems[2].what.contains("of a later neti"), "{:?}", problems[2]);
    Ok(())
}

async fn changes_are_followed(bench: &impl Bench) -> Result<()> {
    let (tree, _) = with_settings(bench).await?;
    let registry = tree.open(LONG)?;
    let mut watch = Watch(registry.watch().await?);
    ensure!(watch.names().is_empty(), "the first snapshot has {:?}", watch.names());
    let put = |real: &'static str| {
        let text = serde_json::to_string(&record("sierra", real)?);
        Ok::<_, anyhow::Error>(text?)
    };
    tree.put("members/sierra", &put("10.0.0.11")?).await?;
    watch.until("sierra", has("sierra")).await?;
    tree.put("members/sierra", &put("10.0.0.12")?).await?;
    let moved = |seen: &Membership| {
        let record = seen.members.get("sierra");
        record.is_some_and(|record| record.private.contains([10, 0, 0, 12].into()))
    };
    watch.until("sierra at another address", moved).await?;
    tree.put("members/sierra", "{").await?;
    let told = |seen: &Membership| seen.members.is_empty() && !seen.problems.is_empty();
    watch.until("a problem in sierra's place", told).await?;
    tree.put("members/sierra", &put("10.0.0.11")?).await?;
    let mended = |seen: &Membership| has("sierra")(seen) && seen.problems.is_empty();
    watch.until("sierra again", mended).await?;
    tree.remove("members/sierra").await?;
    watch.until("no sierra", lacks("sierra")).await?;

    let enforces = |seen: &Membership| seen.fleet.mode == Mode::Enforce;
    let enforce = r#"{"overlay": ["100.64.0.0/29"], "mode": "enforce"}"#;
    let version = registry.settings().await?.map(|settings| settings.version);
    registry.set_settings(enforce, version).await?;
    watch.until("other settings", enforces).await?;
    ensure!(*watch.0.borrow().fleet_text == *enforce, "their text is another");
    let broken = |seen: &Membership| seen.problems.iter().any(|problem| problem.key == "fleet");
    tree.put("fleet", "{\"overlay\": 7}").await?;
    watch.until("broken settings as a problem", |seen| broken(seen) && enforces(seen)).await?;
    tree.remove("fleet").await?;
    let missing = |seen: &Membership| {
        let told = |problem: &crate::membership::Problem| !problem.what.contains("overlay = 7");
        seen.problems.iter().any(|problem| problem.key == "fleet" && told(problem))
    };
    watch.until("missing settings as a problem", |seen| missing(seen) && enforces(seen)).await?;
    tree.put("fleet", SETTINGS).await?;
    watch.until("good settings", |seen| seen.problems.is_empty() && !enforces(seen)).await?;
    let version = registry.settings().await?.map(|settings| settings.version);
    let large = format!("{enforce}{}", " ".repeat(1 << 20));
    registry.set_settings(&large, version).await?;
    watch.until("large settings", enforces).await?;
    tree.put("fleet", SETTINGS).await?;
    watch.until("small settings", |seen| !enforces(seen)).await?;

    let confirmation = Confirmation { id: "one".to_owned(), removals: 7 };
    registry.confirm(&confirmation).await?;
    watch.until("a confirmation", |seen| seen.confirmed.as_ref() == Some(&confirmation)).await?;
    let other = Confirmation { id: "other".to_owned(), removals: 8 };
    registry.confirm(&other).await?;
    watch.until("another", |seen| seen.confirmed.as_ref() == Some(&other)).await?;
    let later = Watch(tree.open(LONG)?.watch().await?);
    ensure!(later.0.borrow().confirmed == Some(other), "the first snapshot lacks it");
    Ok(())
}

async fn many_changes_all_arrive(bench: &impl Bench) -> Result<()> {
    let (tree, _) = with_settings(bench).await?;
    let mut watch = Watch(tree.open(LONG)?.watch().await?);
    let texts = (0..60).map(|n| {
        let name = format!("host-{n}");
        Ok((format!("members/{name}"), serde_json::to_string(&record(&name, "10.0.0.10")?)?))
    });
    let texts: Vec<(String, String)> = texts.collect::<Result<_>>()?;
    for put in join_all(texts.iter().map(|(key, text)| tree.put(key, text))).await {
        put?;
    }
    watch.until("all", |seen| seen.members.len() == texts.len()).await?;
    let later = Watch(tree.open(LONG)?.watch().await?);
    ensure!(later.0.borrow().members.len() == texts.len(), "a list lacks some");
    for removed in join_all(texts[1..].iter().map(|(key, _)| tree.remove(key))).await {
        removed?;
    }
    watch.until("one", |seen| seen.members.len() == 1).await
}

async fn with_settings<B: Bench>(bench: &B) -> Result<(B::Tree, FleetSettings)> {
    let tree = bench.fresh().await?;
    tree.open(LONG)?.set_settings(SETTINGS, None).await?;
    Ok((tree, FleetSettings::parse("fleet", SETTINGS.as_bytes())?))
}

fn id(text: &str) -> Result<HostId> {
    Ok(text.parse()?)
}

/// A record with this private address.
fn record(id: &str, private: &str) -> Result<MemberRecord> {
    let text = json!({
        "id": id, "overlays": ["100.64.0.1"], "private": private, "network": "ec2", "role": "web",
        "labels": {"rack": "b12"}, "version": "0.1.0",
    });
    Ok(MemberRecord::parse(id, text.to_string().as_bytes())?)
}

/// Snapshots as they come.
struct Watch(watch::Receiver<Arc<Membership>>);

impl Watch {
    async fn until(&mut self, what: &str, right: impl Fn(&Membership) -> bool) -> Result<()> {
        self.within(PATIENCE, what, right).await
    }

    async fn within(
        &mut self,
        patience: Duration,
        what: &str,
        right: impl Fn(&Membership) -> bool,
    ) -> Result<()> {
        let seen = async { self.0.wait_for(|seen| right(seen)).await.map(drop) };
        let came = match timeout(patience, seen).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(_)) => "the watch has ended".to_owned(),
            Err(_) => format!("not seen in {patience:?}"),
        };
        bail!("waiting for {what}: {came}: {:?}", self.0.borrow())
    }

    fn names(&self) -> Vec<String> {
        self.0.borrow().members.keys().map(ToString::to_string).collect()
    }

    fn record(&self, name: &str) -> Result<Arc<MemberRecord>> {
        let record = self.0.borrow().members.get(name).cloned();
        record.with_context(|| format!("no {name}"))
    }
}

fn has(name: &'static str) -> impl Fn(&Membership) -> bool {
    move |seen| seen.members.contains_key(name)
}

fn lacks(name: &'static str) -> impl Fn(&Membership) -> bool {
    move |seen| !seen.members.contains_key(name)
}
