use proptest::prelude::*;

use super::*;
use crate::{
    addresses::IpFamily,
    membership::{
        MemberRecord,
        sample::{fleet, id, me, membership, record, records, said},
    },
    state::MapState,
    store::memory::MemoryStore,
};

/// A store that keeps what it was told, too.
#[derive(Default)]
struct Listening {
    memory: MemoryStore,
    heard: Vec<Changes>,
}

impl Store for Listening {
    fn read(&mut self) -> Result<MapState> {
        self.memory.read()
    }

    fn apply(&mut self, changes: &Changes) -> Result<()> {
        self.heard.push(changes.clone());
        self.memory.apply(changes)
    }
}

/// One after the other, as a registry publishes them: each shares with the one before what both
/// have.
fn snapshots(steps: Vec<(Vec<MemberRecord>, Vec<u8>)>) -> Vec<Membership> {
    let mut last = membership([]);
    let mut snapshots = Vec::new();
    for (arrived, gone) in steps {
        last.revision += 1;
        let gone = gone.into_iter().map(|letter| id(&char::from(letter).to_string()));
        gone.for_each(|id| drop(last.members.remove(&id)));
        for record in arrived {
            last.members.insert(record.id.clone(), Arc::new(record));
        }
        snapshots.push(last.clone());
    }
    snapshots
}

/// Checks that `follower`, having stepped from `before`, is where it would be if it had begun with
/// `now`, by the changes that lead there.
fn check(follower: &Follower<Listening>, me: &Me, before: &MapState, now: &Membership) {
    let expected = view(me, &now.fleet, &now.members);
    let want = state(me, &now.fleet, &FilterState::of(me, &now.fleet), &expected);
    let seen = follower.seen.as_ref().unwrap();
    assert_eq!(seen.names, names(&expected).collect());
    assert_eq!(seen.view, expected);
    assert_eq!(follower.store.memory.state, want);
    let changes = diff(before, &want);
    let heard = &follower.store.heard;
    match changes.is_empty() {
        true => assert!(heard.is_empty()),
        false => assert_eq!(heard, &[changes]),
    }
}

/// Prefixes that are routed out of other interfaces.
const WAYS: [&[(&str, &str)]; 3] =
    [&[], &[("10.0.0.8/31", "docker0")], &[("10.0.0.9/32", "eth1"), ("10.0.0.11/32", "eth1")]];

proptest! {
    #[test]
    fn what_is_followed_is_what_is_made_afresh(
        steps in prop::collection::vec((records(), prop::collection::vec(b'a'..=b'h', 0..3)), 1..8),
        ourselves in prop::collection::vec(
            prop::sample::select(vec![me(), me().said(IpFamily::V6), me().dual()]), 1..3),
        ways in prop::collection::vec(prop::sample::select(WAYS.to_vec()), 1..4),
        narrow in prop::option::of(0usize..8),
    ) {
        let mut follower = Follower::new(Listening::default());
        let mut before = MapState::empty();
        for (index, mut now) in snapshots(steps).into_iter().enumerate() {
            // Each of ourselves for some steps, at one of them other settings, and other routes at any.
            let me = &ourselves[index / 4 % ourselves.len()].clone().routed(ways[index % ways.len()]);
            if narrow == Some(index) {
                now.fleet = Arc::new(fleet(&["100.64.0.0/31", &said(IpFamily::V6, "100.64.0.0/16")]));
            }
            let status = follower.step(me, &now).unwrap();
            check(&follower, me, &before, &now);
            let view = view(me, &now.fleet, &now.members);
            prop_assert_eq!((status.peers, status.problem_count), (view.peers.len(), view.problems.len()));
            before = follower.store.memory.state.clone();
            follower.store.heard.clear();
        }
    }
}

/// Hosts of one network, each with addresses of its own.
fn crowd(count: u32) -> impl Iterator<Item = MemberRecord> {
    (1..=count).map(|number| {
        let [_, b, c, d] = number.to_be_bytes();
        record(&format!("host-{number}"), &format!("100.64.{c}.{d}"), "ec2")
            .private(&format!("10.{}.{c}.{d}", b + 1))
    })
}

#[test]
fn who_shares_nothing_with_the_change_is_not_looked_at() {
    let mut before = membership(crowd(200));
    let mut claimants = Claimants::of(&me(), &before.fleet, &before.members);
    let mut now = before.clone();
    let rival = |name: &str, overlay: &str| record(name, overlay, "ec2").private("10.1.0.20");
    for (newcomer, expected) in [
        (rival("rival", "100.64.0.7"), &["host-20", "host-7", "rival"][..]),
        // Another network's private addresses are not ours to judge.
        (record("far", "100.64.9.9", "vpc").private("10.1.0.21"), &["far"]),
        // Ours is claimed by both; neither can have it.
        (record("one", "100.64.0.1", "ec2").private("10.0.0.10"), &["host-1", "one"]),
        (record("two", "100.64.9.7", "ec2").private("10.0.0.10"), &["host-1", "one", "two"]),
    ] {
        now.members.insert(newcomer.id.clone(), Arc::new(newcomer));
        let affected = claimants.note(&before.members, &now.members, Vec::new());
        assert_eq!(affected.iter().map(HostId::as_str).collect::<Vec<_>>(), expected);
        before = now.clone();
    }
    now.members.remove(&id("rival"));
    let affected = claimants.note(&before.members, &now.members, Vec::new());
    let affected: Vec<_> = affected.iter().map(HostId::as_str).collect();
    assert_eq!(affected, ["host-20", "host-7", "rival"]);
}

#[test]
fn only_those_are_seen_again_to_whom_a_route_leads() {
    let membership = membership(crowd(200));
    let Membership { fleet, members, .. } = &membership;
    let (filter, view) = (FilterState::of(&me(), fleet), view(&me(), fleet, members));
    let mut seen = Seen::of(&me(), &membership, filter, view);
    let docker = [("10.1.0.7/32", "docker0")];
    let bridge = [("10.1.0.7/32", "br-1"), ("10.1.0.20/30", "br-1"), ("10.9.0.0/16", "br-1")];
    for (routes, expected) in [
        (&docker[..], &["host-7"][..]),
        (&docker, &[]),
        (&bridge, &["host-20", "host-21", "host-22", "host-23", "host-7"]),
        (&[], &["host-20", "host-21", "host-22", "host-23", "host-7"]),
    ] {
        let rerouted = seen.reroute(&me().routed(routes).reverse, &membership.members);
        assert_eq!(rerouted.iter().map(HostId::as_str).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn our_own_claims_bind_nobody_to_another() {
    let own = record("hudson", "100.64.0.1", "ec2").private("10.0.0.10").public("203.0.113.10");
    let mut now = membership(crowd(200).chain([own.clone()]));
    let before = now.clone();
    let mut claimants = Claimants::of(&me(), &before.fleet, &before.members);
    let moved = MemberRecord { private: Default::default(), ..own }.private("10.1.0.20");
    now.members.insert(moved.id.clone(), Arc::new(moved));
    let affected = claimants.note(&before.members, &now.members, Vec::new());
    let affected: Vec<_> = affected.iter().map(HostId::as_str).collect();
    assert_eq!(affected, ["host-1", "host-20", "hudson"]);
}

#[test]
fn a_fleet_with_many_problems_tells_the_first_and_how_many() {
    let wrong =
        |number: u32| record(&format!("host-{number}"), "10.9.9.9", "ec2").private("10.0.0.11");
    let mut membership = membership((0..150).map(wrong));
    membership
        .problems
        .push(Problem { key: "members/zulu".to_owned(), what: "skipped".to_owned() });
    let status = Follower::new(MemoryStore::default()).step(&me(), &membership).unwrap();
    assert_eq!((status.problems.len(), status.problem_count), (PROBLEMS, 151));
    assert_eq!(status.problems[0].key, "members/zulu", "the registry's come first");
}

#[test]
fn a_role_that_the_settings_do_not_list_is_a_problem_of_this_host() {
    let mut now = membership([record("sierra", "100.64.0.2", "ec2").private("10.0.0.11")]);
    let text = br#"{"overlay": ["100.64.0.0/16"], "roles": {"web": {}}}"#;
    now.fleet = Arc::new(FleetSettings::parse("fleet", text).unwrap());
    let mut follower = Follower::new(MemoryStore::default());
    let mut problems = |role: &str, now: &Membership| {
        let me = Me { role: role.to_owned(), ..me() };
        let status = follower.step(&me, now).unwrap();
        status.problems.into_iter().map(|problem| problem.key).collect::<Vec<_>>()
    };
    assert_eq!(problems("web", &now), [""; 0]);
    assert_eq!(problems("", &now), [""; 0]);
    assert_eq!(problems("wbe", &now), ["role"]);
    now.members.remove(&id("sierra"));
    assert_eq!(problems("wbe", &now), ["role"]);
}
