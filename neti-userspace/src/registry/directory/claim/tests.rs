use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    sync::Barrier,
    thread,
};

use ipnet::IpNet;

use super::{super::tests::Registry, *};
use crate::membership::sample::{fleet, id, ip, said};

/// A range of each family with room for six hosts.
fn six(family: IpFamily) -> String {
    said(family, "100.64.0.0/29")
}

impl Registry {
    /// Claims an address out of a range.
    fn claim(&self, name: &str, overlay: &str) -> Result<IpAddr> {
        let family = IpFamily::of_range(&overlay.parse().unwrap());
        claim(&self.directory().tree, &id(name), &fleet(&[overlay]), family)
    }

    fn error(&self, name: &str, overlay: &str) -> String {
        format!("{:#}", self.claim(name, overlay).unwrap_err())
    }

    /// Checks that the two sides of the claims, which are all of `family`, agree, and returns them by
    /// host.
    fn claims(&self, family: IpFamily) -> BTreeMap<String, String> {
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
        let hosts = read(tree.hosts(family));
        let turned: BTreeMap<_, _> = hosts.iter().map(|(id, a)| (a.clone(), id.clone())).collect();
        assert_eq!(read(&tree.overlays), turned);
        hosts
    }
}

/// Runs a test with a registry of its own for each family.
fn in_each_family(test: impl Fn(Registry, IpFamily)) {
    IpFamily::ALL.into_iter().for_each(|family| test(Registry::new(), family));
}

#[test]
fn who_finds_its_claim_writes_nothing() {
    in_each_family(|registry, family| {
        let six = &six(family);
        let hudson = registry.claim("hudson", six).unwrap();
        let tree = registry.directory().tree;
        let changed = |directory: &Path| {
            let metadata = std::fs::metadata(directory).unwrap();
            (metadata.modified().unwrap(), std::fs::read_dir(directory).unwrap().count())
        };
        let before = [&tree.overlays, tree.hosts(family)].map(changed);
        assert_eq!(registry.claim("hudson", six).unwrap(), hudson);
        assert_eq!([&tree.overlays, tree.hosts(family)].map(changed), before);
    });
}

#[test]
fn an_address_stays_with_its_host() {
    in_each_family(|registry, family| {
        let six = &six(family);
        let hudson = registry.claim("hudson", six).unwrap();
        let sierra = registry.claim("sierra", six).unwrap();
        assert_ne!(hudson, sierra);
        assert_eq!(registry.claim("hudson", six).unwrap(), hudson);
        assert_eq!(registry.claim("sierra", six).unwrap(), sierra);
        assert_eq!(registry.claims(family)["hudson"], hudson.to_string());
    });
}

#[test]
fn a_host_has_an_address_of_each_family() {
    let registry = Registry::new();
    let mut addresses = IpFamily::ALL.map(|family| registry.claim("hudson", &six(family)).unwrap());
    assert_eq!(addresses.map(IpFamily::of), IpFamily::ALL);
    addresses.reverse();
    for address in addresses {
        let family = IpFamily::of(address);
        assert_eq!(registry.claim("hudson", &six(family)).unwrap(), address);
        let hosts = registry.directory().tree.hosts(family).to_owned();
        assert_eq!(files::read(&hosts, "hudson").unwrap().unwrap(), address.to_string());
        let overlays = registry.path("overlays");
        assert_eq!(files::read(&overlays, &address.to_string()).unwrap().unwrap(), "hudson");
    }
    let error = claim(&registry.directory().tree, &id("a"), &fleet(&["fd00::/64"]), IpFamily::V4);
    assert_eq!(error.unwrap_err().to_string(), "the fleet has no IPv4 overlay range");
}

#[test]
fn the_last_free_address_is_found_and_a_full_range_is_told() {
    in_each_family(|registry, family| {
        let said = |text| said(family, text);
        let range = &said("100.64.0.8/30");
        let claims = [0, 1].map(|n| registry.claim(&format!("h{n}"), range).unwrap());
        let free = ["100.64.0.9", "100.64.0.10"].map(|address| ip(&said(address)));
        assert_eq!(BTreeSet::from(claims), free.into());
        let error = registry.error("h2", range);
        let full = format!("overlays: overlay range {range} is full: all 2 addresses are claimed");
        assert!(error.contains(&full), "{error}");
        let larger = format!("put a larger {family} range first");
        assert!(error.contains(&larger), "{error}");
        assert_eq!(registry.claims(family).len(), 2, "nothing half-claimed");
    });
}

#[test]
fn a_huge_range_is_not_looked_through() {
    let registry = Registry::new();
    for n in 0..50 {
        let address = registry.claim(&format!("h{n}"), "fd00::/32").unwrap();
        assert!("fd00::/32".parse::<IpNet>().unwrap().contains(&address));
    }
    assert_eq!(registry.claims(IpFamily::V6).len(), 50);
}

#[test]
fn a_claim_cut_short_by_a_crash_is_finished() {
    in_each_family(|registry, family| {
        let address = said(family, "100.64.0.3");
        registry.write(&format!("overlays/{address}"), "hudson");
        assert_eq!(registry.claim("hudson", &six(family)).unwrap(), ip(&address));
        assert_eq!(registry.claims(family).len(), 1);
    });
}

#[test]
fn a_lock_that_was_lost_is_made_again() {
    in_each_family(|registry, family| {
        let address = said(family, "100.64.0.3");
        let hosts = registry.directory().tree.hosts(family).join("hudson");
        std::fs::write(hosts, format!("{address}\n")).unwrap();
        assert_eq!(registry.claim("hudson", &six(family)).unwrap(), ip(&address));
        assert_eq!(registry.claims(family)["hudson"], address);
    });
}

#[test]
fn contradictions_are_told() {
    in_each_family(|registry, family| {
        let said = |text| said(family, text);
        let hosts = match family {
            IpFamily::V4 => "hosts",
            IpFamily::V6 => "hosts6",
        };
        let check = |name: &str, content: &str, message: String| {
            registry.write(&format!("{hosts}/{name}"), content);
            let error = registry.error(name, &six(family));
            assert!(error.contains(&format!("{hosts}/{name}: {message}")), "{error}");
        };
        let address = &said("100.64.0.3");
        registry.write(&format!("overlays/{address}"), "sierra");
        check("hudson", address, format!("{address} belongs to \"sierra\" by overlays/"));
        check("walden", "nonsense", format!("\"nonsense\": must be the host's {family} overlay"));
        let stray = &said("100.99.0.1");
        let six = six(family);
        check("brook", stray, format!("{stray} is in no overlay range of the fleet ({six})"));
    });
}

#[test]
fn an_address_of_the_other_family_is_told() {
    let registry = Registry::new();
    registry.write("hosts6/hudson", "100.64.0.3");
    let error = registry.error("hudson", &six(IpFamily::V6));
    assert!(error.contains("hosts6/hudson: \"100.64.0.3\": must be the host's IPv6"), "{error}");
}

/// What each of `racers` gets who start at once, by the name that `name` gives the racer.
fn race(
    registry: &Registry,
    racers: usize,
    family: IpFamily,
    name: impl Fn(usize) -> String + Sync,
) -> Vec<Result<IpAddr>> {
    let barrier = Barrier::new(racers);
    thread::scope(|scope| {
        let racer = |n| {
            let (barrier, name) = (&barrier, &name);
            scope.spawn(move || {
                barrier.wait();
                registry.claim(&name(n), &six(family))
            })
        };
        let threads: Vec<_> = (0..racers).map(racer).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn of_racing_threads_each_gets_its_own() {
    in_each_family(|registry, family| {
        let results = race(&registry, 8, family, |n| format!("h{n}"));
        let won: BTreeSet<_> = results.iter().flatten().collect();
        assert_eq!(won.len(), 6, "{results:?}");
        assert_eq!(results.iter().filter(|result| result.is_err()).count(), 2, "{results:?}");
        assert_eq!(registry.claims(family).len(), 6);
    });
}

#[test]
fn racing_threads_of_one_host_get_one_address() {
    for _ in 0..10 {
        in_each_family(|registry, family| {
            let results = race(&registry, 6, family, |_| "hudson".to_owned());
            let addresses: BTreeSet<_> = results.into_iter().map(Result::unwrap).collect();
            assert_eq!(addresses.len(), 1);
            assert_eq!(registry.claims(family).len(), 1);
        });
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
    assert_eq!(registry.claims(IpFamily::V4).len(), 6);
}

#[test]
#[ignore = "one of the processes of of_racing_processes_each_gets_its_own"]
fn racer() {
    let root = std::env::var(RACE_ROOT).unwrap();
    let directory = super::super::Directory::open(root.as_ref(), std::time::Duration::from_secs(1));
    let host = std::env::var(RACE_HOST).unwrap();
    let family = IpFamily::V4;
    claim(&directory.unwrap().tree, &id(&host), &fleet(&[&six(family)]), family).unwrap();
}
