use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    sync::Barrier,
    thread,
};

use proptest::prelude::*;

use super::{super::tests::Registry, *};
use crate::membership::sample::{fleet, id, ip};

/// Room for six hosts.
const SIX: &str = "100.64.0.0/29";

impl Registry {
    fn claim(&self, name: &str, overlay: &str) -> Result<Ipv4Addr> {
        claim(&self.directory().tree, &id(name), &fleet(overlay))
    }

    fn error(&self, name: &str, overlay: &str) -> String {
        format!("{:#}", self.claim(name, overlay).unwrap_err())
    }

    /// Checks that the two sides of the claims agree, and returns them by host.
    fn claims(&self) -> BTreeMap<String, String> {
        let tree = self.directory().tree;
        let read = |directory: &std::path::Path| {
            let names = files::names(directory).unwrap();
            names
                .into_iter()
                .map(|name| {
                    let content = files::read(directory, &name).unwrap().unwrap();
                    (name, content)
                })
                .collect::<BTreeMap<_, _>>()
        };
        let hosts = read(&tree.hosts);
        let turned: BTreeMap<_, _> = hosts.iter().map(|(id, a)| (a.clone(), id.clone())).collect();
        assert_eq!(read(&tree.overlays), turned);
        hosts
    }
}

#[test]
fn an_address_stays_with_its_host() {
    let registry = Registry::new();
    let hudson = registry.claim("hudson", SIX).unwrap();
    let sierra = registry.claim("sierra", SIX).unwrap();
    assert_ne!(hudson, sierra);
    assert_eq!(registry.claim("hudson", SIX).unwrap(), hudson);
    assert_eq!(registry.claim("sierra", SIX).unwrap(), sierra);
    assert_eq!(registry.claims()["hudson"], hudson.to_string());
}

#[test]
fn the_last_free_address_is_found_and_a_full_range_is_told() {
    let registry = Registry::new();
    let mut addresses = [0, 1].map(|n| registry.claim(&format!("h{n}"), "100.64.0.8/30").unwrap());
    addresses.sort();
    assert_eq!(addresses, [ip("100.64.0.9"), ip("100.64.0.10")]);
    let error = registry.error("h2", "100.64.0.8/30");
    assert!(
        error.contains("overlays: overlay range 100.64.0.8/30 is full: all 2 addresses are"),
        "{error}"
    );
    assert_eq!(registry.claims().len(), 2, "nothing half-claimed");
}

#[test]
fn a_claim_cut_short_by_a_crash_is_finished() {
    let registry = Registry::new();
    registry.write("overlays/100.64.0.3", "hudson");
    assert_eq!(registry.claim("hudson", SIX).unwrap(), ip("100.64.0.3"));
    assert_eq!(registry.claims().len(), 1);
}

#[test]
fn a_lock_that_was_lost_is_made_again() {
    let registry = Registry::new();
    registry.write("hosts/hudson", "100.64.0.3\n");
    assert_eq!(registry.claim("hudson", SIX).unwrap(), ip("100.64.0.3"));
    assert_eq!(files::read(&registry.path("overlays"), "100.64.0.3").unwrap().unwrap(), "hudson");
}

#[test]
fn contradictions_are_told() {
    let registry = Registry::new();
    registry.write("hosts/hudson", "100.64.0.3");
    registry.write("overlays/100.64.0.3", "sierra");
    let error = registry.error("hudson", SIX);
    assert!(
        error.contains("hosts/hudson: 100.64.0.3 belongs to \"sierra\" by overlays/"),
        "{error}"
    );

    registry.write("hosts/walden", "nonsense");
    let error = registry.error("walden", SIX);
    assert!(error.contains("hosts/walden: \"nonsense\": must be the host's overlay"), "{error}");

    registry.write("hosts/brook", "100.99.0.1");
    let error = registry.error("brook", SIX);
    assert!(
        error.contains(
            "hosts/brook: 100.99.0.1 is in no overlay range of the fleet (100.64.0.0/29)"
        ),
        "{error}"
    );
}

#[test]
fn of_racing_threads_each_gets_its_own() {
    let registry = Registry::new();
    let barrier = Barrier::new(8);
    let results: Vec<_> = thread::scope(|scope| {
        let racer = |n| {
            let (registry, barrier) = (&registry, &barrier);
            scope.spawn(move || {
                barrier.wait();
                registry.claim(&format!("h{n}"), SIX)
            })
        };
        let threads: Vec<_> = (0..8).map(racer).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let won: BTreeSet<_> = results.iter().flatten().collect();
    assert_eq!(won.len(), 6, "{results:?}");
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 2, "{results:?}");
    assert_eq!(registry.claims().len(), 6);
}

#[test]
fn racing_threads_of_one_host_get_one_address() {
    for _ in 0..20 {
        let registry = Registry::new();
        let barrier = Barrier::new(6);
        let addresses: BTreeSet<_> = thread::scope(|scope| {
            let racer = |_| {
                scope.spawn(|| {
                    barrier.wait();
                    registry.claim("hudson", SIX).unwrap()
                })
            };
            let threads: Vec<_> = (0..6).map(racer).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(addresses.len(), 1);
        assert_eq!(registry.claims().len(), 1);
    }
}

const RACE_ROOT: &str = "NETI_TEST_RACE_ROOT";
const RACE_HOST: &str = "NETI_TEST_RACE_HOST";

#[test]
fn of_racing_processes_each_gets_its_own() {
    let registry = Registry::new();
    let racer = |n: usize| {
        Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "registry::directory::claim::tests::racer"])
            .env(RACE_ROOT, registry.path("."))
            .env(RACE_HOST, format!("h{n}"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let racers: Vec<_> = (0..6).map(racer).collect();
    for mut racer in racers {
        assert!(racer.wait().unwrap().success());
    }
    assert_eq!(registry.claims().len(), 6);
}

#[test]
#[ignore = "one of the processes of of_racing_processes_each_gets_its_own"]
fn racer() {
    let root = std::env::var(RACE_ROOT).unwrap();
    let directory = super::super::Directory::open(root.as_ref(), std::time::Duration::from_secs(1));
    let host = std::env::var(RACE_HOST).unwrap();
    claim(&directory.unwrap().tree, &id(&host), &fleet(SIX)).unwrap();
}

proptest! {
    #[test]
    fn nth_free_counts_what_is_not_taken(taken in prop::collection::btree_set(10u32..30, 0..19)) {
        let free: Vec<_> = (10..30).filter(|address| !taken.contains(address)).collect();
        for (n, address) in free.into_iter().enumerate() {
            prop_assert_eq!(nth_free(10, &taken, n as u32), address);
        }
    }
}
