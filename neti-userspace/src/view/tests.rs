use proptest::prelude::*;

use super::*;
use crate::{
    membership::{
        Membership,
        sample::{id, me, membership, record, records, said, these},
    },
    rules::numbers,
};

fn view(me: &Me, membership: &Membership) -> View {
    super::view(me, &membership.fleet, &membership.members)
}

fn texts(addresses: &[IpAddr]) -> Vec<String> {
    addresses.iter().map(ToString::to_string).collect()
}

/// The peers' real addresses by name, and the problems' texts.
fn found(me: &Me, records: Vec<MemberRecord>) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let view = view(me, &membership(records));
    let peers = view.peers.iter().map(|(id, peer)| (id.to_string(), texts(&peer.reals)));
    (peers.collect(), told(&view))
}

fn told(view: &View) -> Vec<String> {
    view.problems.iter().map(|problem| format!("{}: {}", problem.key, problem.what)).collect()
}

/// Checks both in each family, with records that have addresses of that one alone.
fn check(records: Vec<MemberRecord>, peers: &[(&str, &[&str])], problems: &[&str]) {
    for family in IpFamily::ALL {
        let said = |text: &&str| said(family, text);
        let peers: Vec<(String, Vec<String>)> = peers
            .iter()
            .map(|(name, reals)| (name.to_string(), reals.iter().map(said).collect()))
            .collect();
        let problems: Vec<String> = problems.iter().map(said).collect();
        let records = records.iter().cloned().map(|record| record.said(family)).collect();
        assert_eq!(found(&me().said(family), records), (peers, problems), "{family}");
    }
}

#[test]
fn who_has_the_number_of_another_has_none_of_its_rights() {
    let altarage = record("altarage", "100.64.0.9", "ec2").private("10.0.0.9");
    let altarage = MemberRecord { role: "liquid".to_owned(), ..altarage };
    let seen = |rules: &str| {
        let text = format!(r#"{{"overlay": ["100.64.0.0/16"], "member_rules": [{rules}]}}"#);
        let fleet = FleetSettings::parse("fleet", text.as_bytes()).unwrap();
        super::view(&me(), &fleet, &membership([altarage.clone()]).members)
    };
    let (own, others) = (numbers::of_host(&altarage.id), numbers::of_host(&id("zinke")));
    assert_eq!((own, numbers::of_role("liquid")), (others, numbers::of_role("costarring")));

    let view =
        seen(r#""from host altarage to any", "from role liquid to any", "from any to role db""#);
    let peer = &view.peers[&altarage.id];
    assert_eq!((peer.host, peer.role.as_str(), told(&view)), (own, "liquid", vec![]));

    let view = seen(r#""from host zinke to any", "from role costarring to any""#);
    let peer = &view.peers[&altarage.id];
    assert_eq!((peer.host, peer.role.as_str()), (own + 1, ""));
    let rest = "which a rule names, and none of its rights; one must be renamed";
    assert_eq!(
        told(&view),
        [
            format!("members/altarage: has the same number as zinke, {rest}"),
            format!("members/altarage: role liquid has the same number as costarring, {rest}"),
        ]
    );
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
        &["members/walden: unreachable by IPv4: it is in network \"vpc\" and has no public IPv4 \
           address"],
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
    for family in IpFamily::ALL {
        let a = record("a", "100.64.0.9,100.64.0.2", "ec2").private("10.0.0.11");
        let overlays = these(family, &a.overlays);
        let view = view(&me().said(family), &membership([a.said(family)]));
        assert_eq!(view.peers[&id("a")].overlays, overlays);
    }
}

/// Each line: our own host, the addresses of a member in its network and how we see it: the overlay
/// addresses that lead to it, the real ones that it may send from, and what is told of it.
#[test]
fn a_member_is_reached_by_the_families_that_it_shares_with_us() {
    let (v4, v6) = (me(), me().said(IpFamily::V6));
    let dual = me().dual();
    let both = ["10.0.0.11", "2001:db8::11"];
    let no_carrier = "members/a: overlay address fd00::6440:2: it has no IPv6 address to carry it, \
                      and one of the other family cannot; refused";
    let overlays = "100.64.0.2,fd00::6440:2";
    for (me, overlays, private, seen, problems) in [
        (&dual, overlays, &both[..], overlays, &[][..]),
        (&dual, overlays, &both[..1], "100.64.0.2", &[no_carrier]),
        (&dual, "100.64.0.2", &both, "100.64.0.2", &[]),
        (&dual, "fd00::6440:2", &both, "fd00::6440:2", &[]),
        (&v4, overlays, &both, "100.64.0.2", &[]),
        (&v6, overlays, &both, "fd00::6440:2", &[]),
        (&v4, "fd00::6440:2", &both, "", &[]),
        (&v6, "100.64.0.2", &both[..1], "", &[]),
    ] {
        let a = private.iter().fold(record("a", overlays, "ec2"), |a, real| a.private(real));
        let view = view(me, &membership([a]));
        let peer = &view.peers[&id("a")];
        assert_eq!(texts(&peer.overlays).join(","), seen, "{me:?} {overlays} {private:?}");
        assert_eq!(texts(&peer.reals), private, "let in from all of them");
        assert_eq!(told(&view), problems);
    }
}

#[test]
fn a_member_that_is_out_of_reach_is_told_of_by_family() {
    let walden = || record("walden", "100.64.0.3,fd00::6440:3", "vpc").private("10.0.0.11");
    let told = |family: &str| {
        format!(
            "members/walden: unreachable by {family}: it is in network \"vpc\" and has no public \
             {family} address"
        )
    };
    let (v4, dual) = (me(), me().dual());
    let walden = walden().private("2001:db8::11");
    let half = walden.clone().public("203.0.113.11");
    let none = Vec::new();
    let reached = vec![("walden".to_owned(), vec!["203.0.113.11".to_owned()])];
    for (me, record, expected) in [
        (&dual, &walden, (none.clone(), vec![told("IPv4"), told("IPv6")])),
        (&v4, &walden, (none, vec![told("IPv4"), told("IPv6")])),
        (&dual, &half, (reached.clone(), vec![told("IPv6")])),
        (&v4, &half, (reached, vec![])),
    ] {
        assert_eq!(found(me, vec![record.clone()]), expected);
    }
}

/// Ourselves with one family, the other, or both; with a container that has an address of members, or
/// without.
fn ourselves() -> impl Strategy<Value = Me> {
    let me = prop::sample::select(vec![me(), me().said(IpFamily::V6), me().dual()]);
    (me, any::<bool>()).prop_map(|(me, contained)| match contained {
        true => me.routed(&[("10.0.0.11/32", "docker0")]),
        false => me,
    })
}

proptest! {
    #[test]
    fn every_address_has_one_owner_and_ours_are_nobodys(records in records(), me in ourselves()) {
        let membership = membership(records);
        let view = view(&me, &membership);
        let own = membership.members.get(&me.id);
        let own_reals = own.into_iter().flat_map(|own| own.private.iter().chain(own.public.iter()));
        let mut reals: BTreeSet<_> = own_reals.chain(me.reals.iter().copied()).collect();
        let own_overlays = own.into_iter().flat_map(|own| own.overlays.clone());
        let mut overlays: BTreeSet<_> = own_overlays.chain(me.overlays.clone()).collect();
        prop_assert!(!view.peers.contains_key(&me.id));
        for (id, peer) in &view.peers {
            prop_assert!(!peer.reals.is_empty());
            let record = &membership.members[id];
            for real in &peer.reals {
                prop_assert!(reals.insert(*real), "{real} twice");
                let seen = record.public.contains(*real)
                    || record.private.contains(*real) && record.network == me.network;
                prop_assert!(seen && !membership.fleet.is_overlay(*real));
                let elsewhere = me.reverse.elsewhere(*real).is_some();
                prop_assert!(!elsewhere || record.public.contains(*real));
            }
            for overlay in &peer.overlays {
                prop_assert!(overlays.insert(*overlay), "{overlay} twice");
                prop_assert!(membership.fleet.is_overlay(*overlay));
                let family = IpFamily::of(*overlay);
                prop_assert!(has_family(&me.overlays, family) && has_family(&peer.reals, family));
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
    fn the_order_of_arrival_does_not_matter(records in records(), me in ourselves()) {
        let members = membership(records).members;
        let mut records: Vec<_> = members.values().map(|record| (**record).clone()).collect();
        let one = view(&me, &membership(records.clone()));
        records.reverse();
        prop_assert_eq!(one, view(&me, &membership(records)));
    }

    #[test]
    fn a_newcomer_changes_nothing_for_the_others(
        records in records(), mut last in records(), me in ourselves()
    ) {
        let Some(mut newcomer) = last.pop() else { return Ok(()) };
        newcomer.id = id("newcomer");
        newcomer.since = 9;
        newcomer.generation = 0;
        let before = view(&me, &membership(records.clone()));
        let mut after = view(&me, &membership(records.into_iter().chain([newcomer])));
        after.peers.remove(&id("newcomer"));
        prop_assert_eq!(before.peers, after.peers);
    }
}

mod homeward;
mod networks;
