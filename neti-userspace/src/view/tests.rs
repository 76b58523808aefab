use proptest::prelude::*;

use super::*;
use crate::membership::sample::{id, ip, me, membership, record};

fn peer(view: &View, name: &str) -> Option<(Vec<String>, Vec<String>)> {
    let texts = |addresses: &[Ipv4Addr]| addresses.iter().map(ToString::to_string).collect();
    view.peers.get(&id(name)).map(|peer| (texts(&peer.overlays), texts(&peer.reals)))
}

/// The peers' real addresses by name, and the problems' texts.
fn check(records: Vec<MemberRecord>, peers: &[(&str, &[&str])], problems: &[&str]) {
    let view = view(&me(), &membership(records));
    let names: Vec<_> = view.peers.keys().map(HostId::as_str).collect();
    assert_eq!(names, peers.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (name, reals) in peers {
        assert_eq!(peer(&view, name).unwrap().1, *reals, "{name}");
    }
    let found: Vec<_> = view.problems.iter().map(|p| format!("{}: {}", p.key, p.what)).collect();
    assert_eq!(found, problems);
}

#[test]
fn private_inside_the_network_and_public_across() {
    check(
        vec![
            record("hudson", "100.64.0.1", "ec2").private("10.0.0.10").public("203.0.113.10"),
            record("sierra", "100.64.0.2", "ec2").private("10.0.0.11").public("203.0.113.11"),
            record("walden", "100.64.0.3", "vpc").private("10.0.0.10").public("203.0.113.110"),
            record("inner", "100.64.0.4", "ec2").private("10.0.0.12"),
        ],
        &[
            ("inner", &["10.0.0.12"]),
            ("sierra", &["10.0.0.11", "203.0.113.11"]),
            ("walden", &["203.0.113.110"]),
        ],
        &[],
    );
}

#[test]
fn a_member_without_a_path_is_reported() {
    check(
        vec![record("walden", "100.64.0.3", "vpc").private("10.0.0.11")],
        &[],
        &["members/walden: unreachable: it is in network \"vpc\" and has no public address"],
    );
}

#[test]
fn the_same_address_twice_in_a_record_is_one() {
    check(
        vec![record("a", "100.64.0.2", "ec2").private("192.0.2.1").public("192.0.2.1")],
        &[("a", &["192.0.2.1"])],
        &[],
    );
}

#[test]
fn a_real_address_belongs_to_the_older_claim() {
    check(
        vec![
            record("a", "100.64.0.2", "ec2").private("10.0.0.11").public("192.0.2.1").since(2),
            record("b", "100.64.0.3", "ec2").private("10.0.0.11").since(1),
        ],
        &[("a", &["192.0.2.1"]), ("b", &["10.0.0.11"])],
        &["members/a: real address 10.0.0.11 belongs to b; refused"],
    );
}

#[test]
fn an_overlay_address_belongs_to_the_higher_generation() {
    check(
        vec![
            record("a", "100.64.0.2", "ec2").private("10.0.0.11").since(1),
            record("b", "100.64.0.2", "ec2").private("10.0.0.12").since(2).generation(2),
        ],
        &[("b", &["10.0.0.12"])],
        &["members/a: overlay address 100.64.0.2 belongs to b; refused"],
    );
}

#[test]
fn nobody_takes_our_own_addresses() {
    check(
        vec![
            record("hudson", "100.64.0.1", "ec2")
                .private("10.0.0.10")
                .public("203.0.113.10")
                .since(9),
            record("a", "100.64.0.1", "ec2").private("10.0.0.11").generation(5),
            record("b", "100.64.0.2", "ec2").private("10.0.0.10"),
            record("c", "100.64.0.3", "vpc").public("203.0.113.10"),
        ],
        &[],
        &[
            "members/a: overlay address 100.64.0.1 belongs to hudson; refused",
            "members/b: real address 10.0.0.10 belongs to hudson; refused",
            "members/c: real address 203.0.113.10 belongs to hudson; refused",
        ],
    );
}

#[test]
fn overlay_and_real_addresses_do_not_mix() {
    check(
        vec![
            record("a", "10.9.9.9", "ec2").private("10.0.0.11"),
            record("b", "100.64.0.2", "ec2").private("100.64.0.9"),
        ],
        &[],
        &[
            "members/a: 10.9.9.9 is in no overlay range of the fleet; refused",
            "members/b: real address 100.64.0.9 is in an overlay range; refused",
        ],
    );
}

#[test]
fn a_member_whose_overlay_is_refused_holds_no_real_address() {
    check(
        vec![
            record("a", "10.9.9.9", "ec2").private("10.0.0.11").since(1),
            record("b", "100.64.0.2", "ec2").private("10.0.0.11").since(2),
        ],
        &[("b", &["10.0.0.11"])],
        &["members/a: 10.9.9.9 is in no overlay range of the fleet; refused"],
    );
}

#[test]
fn service_addresses_follow_the_primary_one() {
    let mut a = record("a", "100.64.0.9", "ec2").private("10.0.0.11");
    a.overlays.push(ip("100.64.0.2"));
    let view = view(&me(), &membership([a]));
    assert_eq!(peer(&view, "a").unwrap().0, ["100.64.0.9", "100.64.0.2"]);
}

/// Records with few addresses, so that claims collide.
fn records() -> impl Strategy<Value = Vec<MemberRecord>> {
    let overlay = prop_oneof![4 => 0x6440_0000u32..0x6440_0006, 1 => Just(0x0a00_0009u32)];
    let real = || prop::option::of(0x0a00_0008u32..0x0a00_0010);
    let fields = ("[a-h]|hudson", overlay, real(), real(), any::<bool>(), 1u32..3, 0u64..4);
    let record = fields.prop_map(|(name, overlay, private, public, here, generation, since)| {
        let overlay = Ipv4Addr::from_bits(overlay).to_string();
        MemberRecord {
            private: private.map(Ipv4Addr::from_bits),
            public: public.map(Ipv4Addr::from_bits),
            ..record(&name, &overlay, if here { "ec2" } else { "vpc" })
                .generation(generation)
                .since(since)
        }
    });
    prop::collection::vec(record, 0..8)
}

proptest! {
    #[test]
    fn every_address_has_one_owner_and_ours_are_nobodys(records in records()) {
        let me = me();
        let membership = membership(records);
        let view = view(&me, &membership);
        let own = membership.members.get(&me.id);
        let own_reals = own.into_iter().flat_map(|own| own.private.into_iter().chain(own.public));
        let mut reals: BTreeSet<_> = own_reals.chain(me.reals.iter().copied()).collect();
        let own_overlays = own.into_iter().flat_map(|own| own.overlays.clone());
        let mut overlays: BTreeSet<_> = own_overlays.chain([me.overlay]).collect();
        prop_assert!(!view.peers.contains_key(&me.id));
        for (id, peer) in &view.peers {
            prop_assert!(!peer.reals.is_empty() && !peer.overlays.is_empty());
            let record = &membership.members[id];
            for real in &peer.reals {
                prop_assert!(reals.insert(*real), "{real} twice");
                let seen = record.public == Some(*real)
                    || record.private == Some(*real) && record.network == me.network;
                prop_assert!(seen && !membership.fleet.is_overlay(*real));
            }
            for overlay in &peer.overlays {
                prop_assert!(overlays.insert(*overlay), "{overlay} twice");
                prop_assert!(membership.fleet.is_overlay(*overlay));
            }
        }
        // Whoever is left out is told of.
        for id in membership.members.keys().filter(|id| **id != me.id) {
            let key = format!("members/{id}");
            let told = view.problems.iter().any(|problem| problem.key == key);
            prop_assert!(view.peers.contains_key(id) || told);
        }
    }

    #[test]
    fn the_order_of_arrival_does_not_matter(records in records()) {
        let mut records = membership(records).members.into_values().collect::<Vec<_>>();
        let one = view(&me(), &membership(records.clone()));
        records.reverse();
        prop_assert_eq!(one, view(&me(), &membership(records)));
    }

    #[test]
    fn a_newcomer_changes_nothing_for_the_others(records in records(), mut last in records()) {
        let Some(mut newcomer) = last.pop() else { return Ok(()) };
        newcomer.id = id("newcomer");
        newcomer.since = 9;
        newcomer.generation = 0;
        let before = view(&me(), &membership(records.clone()));
        let mut after = view(&me(), &membership(records.into_iter().chain([newcomer])));
        after.peers.remove(&id("newcomer"));
        prop_assert_eq!(before.peers, after.peers);
    }
}
