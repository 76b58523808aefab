use super::*;
use crate::membership::sample::record;

const TTL: Duration = Duration::from_secs(30);

/// A roster, and a time that the test moves.
struct Bench {
    roster: Roster,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        Self {
            roster: Roster::new(
                TTL,
                Roll::new("fleet", br#"{"overlay": ["100.64.0.0/16"]}"#).unwrap(),
            ),
            now: Now::get(),
        }
    }

    fn pass(&mut self, seconds: u64) {
        let time = Duration::from_secs(seconds);
        self.now = Now { monotonic: self.now.monotonic + time, wall: self.now.wall + time };
    }

    /// The file `name`, whose modification time is off by `clock` seconds from our clock.
    fn touched(&mut self, name: &str, clock: i64) -> bool {
        let record = record(name, "100.64.0.2", "ec2").private("10.0.0.11");
        self.seen(name, clock, Ok(serde_json::to_vec(&record).unwrap()))
    }

    fn seen(&mut self, name: &str, clock: i64, content: Result<Vec<u8>, String>) -> bool {
        let off = Duration::from_secs(clock.unsigned_abs());
        let modified = if clock < 0 { self.now.wall - off } else { self.now.wall + off };
        self.roster.seen(name, Stamp { inode: 1, modified }, content, self.now)
    }

    fn members(&mut self) -> Vec<String> {
        self.roster.roll.snapshot().members.keys().map(ToString::to_string).collect()
    }
}

#[test]
fn each_member_expires_in_its_own_time() {
    let mut bench = Bench::new();
    for name in ["a", "b", "c"] {
        bench.touched(name, 0);
        bench.pass(9);
        assert!(!bench.roster.expire(bench.now));
    }
    // The first shows a sign of life before its time is over, and another comes.
    bench.touched("a", 0);
    bench.touched("d", 0);
    assert!(!bench.roster.expire(bench.now));
    for (seconds, left) in [(11, "abcd"), (1, "acd"), (9, "ad"), (8, "ad"), (1, "")] {
        bench.pass(seconds);
        let before = bench.members().concat();
        assert_eq!(bench.roster.expire(bench.now), before != left, "{left}");
        assert_eq!(bench.members().concat(), left);
    }
}

#[test]
fn a_member_lives_as_long_as_its_file_is_touched() {
    let mut bench = Bench::new();
    assert!(bench.touched("a", 0));
    for _ in 0..5 {
        bench.pass(29);
        assert!(!bench.roster.expire(bench.now));
        assert!(!bench.touched("a", 0), "a heartbeat changes nothing");
    }
    assert_eq!(bench.members(), ["a"]);
    bench.pass(30);
    assert!(bench.roster.expire(bench.now));
    assert!(bench.members().is_empty());
    assert!(!bench.roster.expire(bench.now), "told once");
    assert!(bench.touched("a", 0), "back again");
    assert_eq!(bench.members(), ["a"]);
}

#[test]
fn clocks_may_differ() {
    for clock in [-25, 1000] {
        let mut bench = Bench::new();
        bench.touched("a", clock);
        bench.pass(20);
        bench.touched("a", clock);
        bench.pass(20);
        bench.roster.expire(bench.now);
        assert_eq!(bench.members(), ["a"], "{clock}");
    }
}

#[test]
fn a_file_that_is_old_at_first_sight_is_gone_until_it_is_touched() {
    let mut bench = Bench::new();
    assert!(!bench.touched("a", -31));
    assert!(bench.members().is_empty());
    bench.pass(10);
    assert!(bench.touched("a", -31));
    assert_eq!(bench.members(), ["a"]);
}

#[test]
fn a_time_that_does_not_change_is_no_sign_of_life() {
    let mut bench = Bench::new();
    bench.touched("a", 0);
    bench.pass(20);
    bench.touched("a", -20);
    bench.pass(10);
    bench.roster.expire(bench.now);
    assert!(bench.members().is_empty());
}

#[test]
fn broken_files_are_told_by_key_and_mend() {
    let mut bench = Bench::new();
    assert!(bench.touched("good", 0));
    assert!(bench.seen("bad", 0, Ok(b"{".to_vec())));
    assert!(bench.seen("locked", 0, Err("Permission denied".to_owned())));
    let problems = bench.roster.roll.snapshot().problems.clone();
    assert_eq!(problems.len(), 2);
    assert_eq!(problems[0].key, "members/bad");
    assert!(problems[0].what.starts_with("skipped: not a member record: EOF"), "{problems:?}");
    assert_eq!(problems[1].what, "skipped: Permission denied");
    assert_eq!(bench.members(), ["good"]);

    assert!(bench.touched("bad", 0));
    assert!(bench.roster.gone("locked"));
    assert_eq!((bench.members().len(), bench.roster.roll.snapshot().problems.len()), (2, 0));
}

#[test]
fn after_an_outage_everybody_has_the_full_time() {
    let mut bench = Bench::new();
    bench.touched("a", 0);
    bench.pass(10);
    bench.touched("gone", -31);
    bench.pass(100);
    bench.roster.forgive(bench.now);
    bench.pass(29);
    assert!(!bench.roster.expire(bench.now));
    assert_eq!(bench.members(), ["a"]);
}

#[test]
fn what_is_not_listed_is_gone() {
    let mut bench = Bench::new();
    bench.touched("a", 0);
    bench.touched("b", 0);
    assert!(!bench.roster.keep(&["a", "b"].into()));
    assert!(bench.roster.keep(&["b"].into()));
    assert_eq!(bench.members(), ["b"]);
}
