use proptest::prelude::*;

use super::*;
use crate::membership::{
    Confirmation, Stale,
    sample::{id, membership, record},
};

/// A guard, and a time that the test moves.
struct Bench {
    guard: Guard,
    now: Instant,
    confirmed: Option<Confirmation>,
    max_removals: usize,
}

impl Bench {
    /// A fleet of members 0 to `size` is in force; our own host is `host-0`.
    fn new(size: usize) -> Self {
        let guard = Guard::new(id("host-0"), fleet(0..size).members, None);
        Self { guard, now: Instant::now(), confirmed: None, max_removals: 20 }
    }

    /// How many are in force, and how many of them are held, when those whom a snapshot lacks have
    /// been waited for.
    fn see(&mut self, hosts: impl IntoIterator<Item = usize>) -> (usize, usize) {
        let snapshot = fleet(hosts);
        self.look(&snapshot);
        self.now += GRACE;
        self.look(&snapshot)
    }

    /// The same without waiting.
    fn look(&mut self, snapshot: &Membership) -> (usize, usize) {
        let snapshot = snapshot.clone();
        let settings = Arc::unwrap_or_clone(snapshot.fleet.clone());
        let fleet =
            Arc::new(crate::fleet::FleetSettings { max_removals: self.max_removals, ..settings });
        let confirmed = self.confirmed.clone();
        let snapshot = Arc::new(Membership { confirmed, fleet, ..snapshot });
        let guarded = self.guard.pass(&snapshot, self.now);
        let held = guarded.held.as_ref().map_or(0, |held| held.count);
        assert!(guarded.members.len() + LEAVING >= snapshot.members.len() + held);
        (guarded.members.len(), held)
    }

    fn confirm(&mut self, id: &str, removals: usize) {
        self.confirmed = Some(Confirmation { id: id.to_owned(), removals });
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

/// How many leave at once in a test, at most.
const LEAVING: usize = 30;

fn fleet(hosts: impl IntoIterator<Item = usize>) -> Membership {
    let record = |n| record(&format!("host-{n}"), "100.64.0.2", "ec2").private("10.0.0.11");
    membership(hosts.into_iter().map(record))
}

#[test]
fn few_may_go_and_many_are_held() {
    assert_eq!(Bench::new(100).see(20..100), (80, 0));
    assert_eq!(Bench::new(100).see(22..100), (99, 21), "our own host is not held");
    assert_eq!(Bench::new(100).see([]), (99, 99));
    // Of a fleet of over 50 a fifth is the most, whatever the settings say.
    assert_eq!(Bench::new(60).see(12..60), (48, 0));
    assert_eq!(Bench::new(60).see(14..60), (59, 13));
    assert_eq!(Bench::new(50).see(20..50), (30, 0));
}

#[test]
fn what_else_changes_is_taken_while_some_are_held() {
    let mut bench = Bench::new(100);
    assert_eq!(bench.see(50..110), (109, 49));
    let moved = record("host-60", "100.64.0.2", "ec2").private("10.9.9.9");
    let mut snapshot = fleet(50..110);
    snapshot.members.insert(id("host-60"), Arc::new(moved.clone()));
    let guarded = bench.guard.pass(&Arc::new(snapshot), bench.now);
    assert_eq!(*guarded.members["host-60"], moved);
    assert_eq!(guarded.held.as_ref().map(|held| held.count), Some(49));
}

#[test]
fn who_comes_back_is_not_held_any_more() {
    let mut bench = Bench::new(100);
    assert_eq!(bench.see(50..100), (99, 49));
    assert_eq!(bench.see(30..100), (99, 29));
    assert_eq!(bench.see(15..100), (85, 0), "few enough to be let go");
    assert_eq!(bench.see(0..100), (100, 0));
}

#[test]
fn one_by_one_is_as_bad_as_at_once() {
    let mut bench = Bench::new(200);
    for gone in 1..=21 {
        assert_eq!(bench.see(gone..200), (200 - gone, 0));
    }
    for gone in 22..100 {
        let (all, held) = bench.see(gone..200);
        assert_eq!((all, held), (179, gone - 21));
    }
    // Those who are held are too many by themselves when the window has passed.
    bench.pass(60);
    assert_eq!(bench.see(100..200), (179, 79));
}

#[test]
fn who_is_waited_for_counts_too() {
    let mut bench = Bench::new(200);
    for gone in 1..50 {
        assert_eq!(bench.look(&fleet(gone..200)).1, 0, "{gone}");
        bench.now += GRACE / 60;
    }
    bench.now += GRACE;
    assert_eq!(bench.look(&fleet(49..200)), (199, 48), "of those that vanish in a row none goes");
}

#[test]
fn after_a_while_a_few_more_may_go() {
    let mut bench = Bench::new(200);
    assert_eq!(bench.see(20..200), (180, 0));
    assert_eq!(bench.guard.again(bench.now), None);
    bench.pass(10);
    assert_eq!(bench.see(25..200), (180, 5));
    let first = bench.now - Duration::from_secs(10) - GRACE;
    assert_eq!(bench.guard.again(bench.now), Some(first + WINDOW));
    bench.pass(50);
    assert_eq!(bench.see(25..200), (175, 0));
    assert_eq!(bench.guard.again(bench.now), None);
}

#[test]
fn a_rolling_restart_is_no_loss() {
    let mut bench = Bench::new(100);
    for host in 0..100 {
        let (_, held) = bench.see((0..100).filter(|other| *other != host));
        assert_eq!(held, 0, "host {host}");
        bench.see(0..100);
        bench.pass(1);
    }
}

#[test]
fn an_operator_confirms_what_is_held_and_no_more() {
    let mut bench = Bench::new(100);
    bench.confirm("old", 100);
    assert_eq!(bench.see(0..100), (100, 0));
    assert_eq!(bench.see(50..100), (99, 49), "an old confirmation is for what was held then");
    bench.confirm("too-few", 40);
    assert_eq!(bench.see(50..100), (99, 49));
    bench.confirm("enough", 49);
    assert_eq!(bench.see(60..100), (99, 59), "ten more are gone in the meantime");
    bench.confirm("again", 60);
    assert_eq!(bench.see(60..100), (40, 0));
    assert_eq!(bench.see(60..100), (40, 0));
}

#[test]
fn a_confirmation_that_the_state_rests_on_is_not_new() {
    let guard = Guard::new(id("host-0"), fleet(0..100).members, Some("old".to_owned()));
    let mut bench = Bench { guard, ..Bench::new(0) };
    bench.confirm("old", 100);
    assert_eq!(bench.see(50..100), (99, 49));
}

#[test]
fn the_limit_is_read_live() {
    let mut bench = Bench::new(30);
    bench.max_removals = 3;
    assert_eq!(bench.see(5..30), (29, 4));
    bench.max_removals = 4;
    assert_eq!(bench.see(5..30), (25, 0));
    bench.max_removals = 0;
    assert_eq!(bench.see(6..30), (25, 1));
}

#[test]
fn it_says_what_is_held() {
    let mut bench = Bench::new(100);
    bench.see(12..100);
    bench.see(50..100);
    let told = bench.guard.held.clone().unwrap().to_string();
    let begins = "49 members have vanished from the registry within 60 s, more than 19; 38 of them are \
                  held: host-12, host-13, ";
    assert!(told.starts_with(begins), "{told}");
    assert!(told.ends_with(", ...; if they are meant to go, run `neti fleet confirm`"), "{told}");
}

/// The fleet with these, of which those leave.
fn leaving(hosts: std::ops::Range<usize>, leave: std::ops::Range<usize>) -> Membership {
    let mut fleet = fleet(hosts);
    for host in leave {
        let id = id(&format!("host-{host}"));
        let record = (*fleet.members[&id]).clone();
        let record = MemberRecord { state: MemberState::Leaving, ..record };
        fleet.members.insert(id, Arc::new(record));
    }
    fleet
}

#[test]
fn who_says_that_it_leaves_goes_at_once() {
    let mut bench = Bench::new(100);
    assert_eq!(bench.look(&leaving(0..100, 5..6)), (99, 0));
    assert_eq!(bench.look(&leaving(0..100, 5..6)), (99, 0), "it is not counted twice");
    assert_eq!(bench.guard.gone.len(), 1);
    assert_eq!(bench.look(&fleet((0..100).filter(|host| *host != 5))), (99, 0));
    assert_eq!(bench.look(&fleet(0..100)), (100, 0), "and back");
    // Many who leave are held too, as they were.
    assert_eq!(bench.look(&leaving(0..100, 50..75)), (100, 25));
    assert_eq!(bench.guard.passed[&id("host-50")].state, MemberState::Up);
    assert_eq!(bench.see((0..50).chain(75..100)), (100, 25));
}

#[test]
fn a_record_that_is_away_for_a_moment_is_waited_for() {
    let mut bench = Bench::new(100);
    let without = fleet((0..100).filter(|host| *host != 7));
    assert_eq!(bench.look(&without), (100, 0));
    assert_eq!(bench.guard.again(bench.now), Some(bench.now + GRACE));
    bench.now += GRACE / 2;
    assert_eq!(bench.look(&without), (100, 0));
    assert_eq!(bench.look(&fleet(0..100)), (100, 0));
    assert_eq!(bench.guard.again(bench.now), None);
    // The next time begins anew.
    assert_eq!(bench.look(&without), (100, 0));
    bench.now += GRACE;
    assert_eq!(bench.look(&without), (99, 0));
    assert_eq!(bench.guard.again(bench.now), None);
}

#[test]
fn after_an_outage_everybody_has_time_to_come_back() {
    let mut bench = Bench::new(100);
    let stale = Stale { since: SystemTime::now(), why: "gone".to_owned() };
    let during = |hosts: std::ops::Range<usize>| Membership {
        stale: Some(stale.clone()),
        outages: 1,
        ..fleet(hosts)
    };
    bench.look(&during(0..100));
    bench.pass(3600);
    // What a registry says in passing is no more than that.
    assert_eq!(bench.look(&during(0..90)), (100, 0));
    bench.now += GRACE;
    assert_eq!(bench.look(&during(0..90)), (100, 0));
    let back = |hosts: std::ops::Range<usize>| Membership { outages: 1, ..fleet(hosts) };
    assert_eq!(bench.look(&back(0..10)), (100, 0));
    bench.pass(5);
    assert_eq!(bench.look(&back(0..95)), (100, 0));
    assert_eq!(bench.guard.again(bench.now), Some(bench.now + Duration::from_secs(5)));
    bench.pass(5);
    assert_eq!(bench.look(&back(0..95)), (95, 0));
    // Later the usual holds again.
    assert_eq!(bench.look(&back(0..50)), (95, 0));
    bench.now += GRACE;
    assert_eq!(bench.look(&back(0..50)), (95, 45));
}

proptest! {
    /// Whatever a registry says, what is in force never loses more than the limit in one window.
    #[test]
    fn no_registry_empties_a_fleet(
        snapshots in prop::collection::vec(prop::collection::btree_set(0usize..60, 0..60), 1..30)
    ) {
        let mut bench = Bench::new(60);
        let mut smallest = 60;
        for hosts in snapshots {
            smallest = smallest.min(bench.see(hosts).0);
        }
        prop_assert!(smallest >= 60 - 12 - 1, "{smallest}");
    }
}
