use neti_common::{
    maps::{mode, service, set},
    ropes::Ropes,
};

use super::*;
use crate::{
    addresses::IpFamily,
    membership::{
        MemberRecord, Membership,
        sample::{at, id, ip, kind, me, membership, record},
    },
    view::view,
};

/// What `hudson` has of these members, all in `F` alone.
fn sample<F: Family>(records: impl IntoIterator<Item = MemberRecord>) -> FamilyState<F> {
    let me = me().said(kind::<F>());
    let membership = membership(records.into_iter().map(|record| record.said(kind::<F>())));
    let view = view(&me, &membership.fleet, &membership.members);
    family(&me, &view)
}

/// What the maps of `me` must hold in the fleet of `membership`.
fn all(me: &Me, membership: &Membership) -> MapState {
    let Membership { fleet, members, .. } = membership;
    state(me, fleet, &FilterState::of(me, fleet), &view(me, fleet, members))
}

fn sierra() -> MemberRecord {
    record("sierra", "100.64.0.2", "ec2").private("10.0.0.11").public("203.0.113.11")
}

fn walden() -> MemberRecord {
    record("walden", "100.64.0.3", "vpc").private("10.0.0.10").public("203.0.113.110")
}

#[test]
fn a_peer_is_let_in_from_all_its_addresses_and_reached_by_one() {
    fn check<F: Family>() {
        let state = sample::<F>([sierra(), walden()]);
        let reals = ["10.0.0.11", "203.0.113.11", "203.0.113.110"].map(at::<F>);
        assert_eq!(state.members.keys().copied().collect::<BTreeSet<_>>(), reals.into());
        let overlay = at::<F>("100.64.0.2");
        assert_eq!(
            state.members[&reals[1]],
            Member {
                real: reals[1],
                overlays: fill(F::UNSPECIFIED, [overlay]),
                host: numbers::of_host(&id("sierra")),
                generation: 1,
                role: 0,
                overlay_count: 1,
                flags: 0,
                _pad: [0; 2],
            }
        );
        assert_eq!(
            state.overlays[&overlay],
            Path {
                overlay,
                real: reals[0],
                reals: [reals[0], reals[1]],
                primary: overlay,
                host: numbers::of_host(&id("sierra")),
                generation: 1,
                flags: path_flag::REDIRECT,
                _pad: [0; 7],
            }
        );
    }
    check::<V4>();
    check::<V6>();
}

#[test]
fn only_neighbours_are_redirected() {
    fn check<F: Family>() {
        let state = sample::<F>([sierra(), walden()]);
        let flags = ["100.64.0.2", "100.64.0.3"].map(|path| state.overlays[&at::<F>(path)].flags);
        assert_eq!(flags, [path_flag::REDIRECT, 0]);
    }
    check::<V4>();
    check::<V6>();
}

#[test]
fn everybody_is_redirected_in_a_family_without_a_gateway() {
    let me = Me { on_link: vec!["::/0".parse().unwrap()], ..me().dual() };
    let six = IpFamily::V6;
    let membership = membership([walden(), sierra().said(six)]);
    let state = all(&me, &membership);
    assert_eq!(state.v4.overlays.values().map(|path| path.flags).collect::<Vec<_>>(), [0]);
    let flags = state.v6.overlays.values().map(|path| path.flags).collect::<Vec<_>>();
    assert_eq!(flags, [path_flag::REDIRECT]);
}

#[test]
fn every_overlay_address_leads_to_its_host() {
    fn check<F: Family>() {
        let a = record("a", "100.64.0.9,100.64.0.2", "ec2").private("10.0.0.11");
        let state = sample::<F>([a]);
        let (first, second, real) =
            (at::<F>("100.64.0.9"), at::<F>("100.64.0.2"), at::<F>("10.0.0.11"));
        for overlay in [first, second] {
            let path = state.overlays[&overlay];
            assert_eq!((path.overlay, path.primary, path.real), (overlay, first, real));
        }
        let member = state.members[&real];
        assert_eq!((member.overlay_count, &member.overlays[..2]), (2, &[first, second][..]));
    }
    check::<V4>();
    check::<V6>();
}

#[test]
fn each_family_has_its_own_addresses_of_a_host() {
    let me = me().dual();
    let dual =
        record("a", "100.64.0.2,fd00::6440:2", "ec2").private("10.0.0.11").private("fd00::b");
    let membership = membership([dual]);
    let both = all(&me, &membership);
    let path = both.v4.overlays[&[100, 64, 0, 2]];
    assert_eq!((path.real, path.reals), ([10, 0, 0, 11], [[10, 0, 0, 11], [0; 4]]));
    let path = both.v6.overlays[&at::<V6>("100.64.0.2")];
    assert_eq!((V6::to_ip(&path.real), path.reals[1]), (ip("fd00::b"), V6::UNSPECIFIED));
    assert_eq!(both.v4.members[&[10, 0, 0, 11]].overlay_count, 1);
    assert_eq!(both.v6.members.values().next().unwrap().overlay_count, 1);
}

#[test]
fn in_a_family_without_overlay_addresses_a_peer_is_let_in_and_nothing_translated() {
    let a = record("a", "100.64.0.2,fd00::6440:2", "ec2").private("10.0.0.11").private("fd00::b");
    // The one has no address there, the other is in a fleet that has no range there.
    let without = record("b", "100.64.0.3", "ec2").private("10.0.0.12").private("fd00::c");
    for (me, record) in [(me(), a), (me().dual(), without)] {
        let membership = membership([record]);
        let state = all(&me, &membership);
        assert_eq!((state.v4.overlays.len(), state.v6.overlays.len()), (1, 0));
        let member = state.v6.members.values().next().unwrap();
        assert_eq!((member.overlay_count, member.overlays[0]), (0, V6::UNSPECIFIED));
    }
}

#[test]
fn settings_carry_the_fleets_and_the_hosts() {
    let text = r#"{"overlay": ["100.64.0.0/16", "fd00::6440:0/112", "100.66.0.0/24",
        "fd00::6442:0/112"], "mode": "enforce", "identity": "overlay", "echo": true,
        "failsafe": ["192.0.2.0/24", "fd00::c000:200/120"], "open": ["tcp/80-81", "udp/65535"],
        "allow": [{"from": "198.51.100.0/24"}, {"from": "fd00::c633:6400/120"}]}"#;
    let fleet = FleetSettings::parse("fleet", text.as_bytes()).unwrap();
    let me = me().dual();
    let state = state(&me, &fleet, &FilterState::of(&me, &fleet), &View::default());

    fn check<F: Family>(state: &FamilyState<F>, ropes: &Ropes<F>, shift: u32) {
        let settings = state.settings;
        assert_eq!(settings.reals, [at::<F>("10.0.0.10"), F::UNSPECIFIED]);
        assert_eq!(settings.overlays[..2], [at::<F>("100.64.0.1"), F::UNSPECIFIED]);
        assert!(settings.is_overlay(&at::<F>("100.66.0.9")));
        assert!(!settings.is_overlay(&at::<F>("100.67.1.9")));
        assert_eq!(settings.ranges[2..], [Prefix::NONE; 2]);
        let failsafe = Prefix { network: at::<F>("192.0.2.0"), mask: F::mask(24 + shift) };
        assert_eq!(settings.failsafe[0], failsafe);
        assert_eq!(settings.failsafe[1..], [Prefix::NONE; 7]);
        assert_eq!((settings.uplink, settings.twin_first, settings.twin_last), (7, 61_000, 65_535));
        assert_eq!((settings.mode, settings.identity), (mode::ENFORCE, identity::OVERLAY));
        assert_eq!((settings.echo, settings.valid), (1, 1));
        assert_eq!((settings.rope, settings.anywhere), (u64::from(24 + shift), set::NONE));
        let ranges: Vec<_> = ropes.ranges.keys().copied().collect();
        assert_eq!(ranges, [(24 + shift, at::<F>("198.51.100.0"))]);
    }
    check(&state.v4, &state.filter.v4, 0);
    check(&state.v6, &state.filter.v6, 96);

    let used = |words: &[u64]| {
        let bits = (0..words.len() * 64).filter(|bit| words[bit / 64] >> (bit % 64) & 1 == 1);
        bits.collect::<Vec<_>>()
    };
    let filter = &state.filter;
    let class = |service: u32| filter.classes[service as usize / 4] >> (service % 4 * 16) & 0xffff;
    let open = |service: &u32| {
        let class = class(*service);
        filter.sets[class as usize / 64] >> (class % 64) & 1 == 1
    };
    let all = 0..service::COUNT;
    assert_eq!(all.filter(open).collect::<Vec<_>>(), [80, 81, 131_071]);
    assert_eq!(used(&state.vlans), [0, 100]);
}

#[test]
fn the_settings_of_a_family_that_nobody_uses_are_valid_all_the_same() {
    let fleet = FleetSettings::parse("fleet", br#"{"overlay": ["100.64.0.0/16"]}"#).unwrap();
    let state = state(&me(), &fleet, &FilterState::of(&me(), &fleet), &View::default());
    let settings = state.v6.settings;
    assert_eq!((settings.valid, settings.uplink), (1, 7));
    assert!(settings.reals.iter().chain(&settings.overlays).all(|a| *a == V6::UNSPECIFIED));
    assert_eq!(settings.ranges, [Prefix::NONE; 4]);
}

#[test]
fn the_registrys_servers_are_in_the_settings_of_their_family() {
    let endpoints = vec![
        "192.0.2.7:2379".parse().unwrap(),
        "[2001:db8::7]:2379".parse().unwrap(),
        "192.0.2.8:2380".parse().unwrap(),
    ];
    let me = Me { endpoints, ..me() };
    let membership = membership([]);
    let state = all(&me, &membership);
    let used = state.v4.settings.endpoints.iter().filter(|one| one.port != [0, 0]);
    let used: Vec<_> = used.map(|one| (one.address, u16::from_be_bytes(one.port))).collect();
    assert_eq!(used, [([192, 0, 2, 7], 2379), ([192, 0, 2, 8], 2380)]);
    assert_eq!(state.v6.settings.endpoints.iter().filter(|one| one.port != [0, 0]).count(), 1);
}

#[test]
fn a_state_of_another_start_is_taken_over_as_it_is_but_for_who_we_are() {
    let membership = membership([record("sierra", "100.64.0.2", "ec2").private("10.0.0.11")]);
    let before = all(&me(), &membership);
    let now = Me { uplink_index: 9, reals: vec!["10.0.0.77".parse().unwrap()], ..me() };
    let adopted = before.clone().of_host(&now);
    assert_eq!((adopted.v4.settings.uplink, adopted.v6.settings.uplink), (9, 9));
    assert_eq!(adopted.v4.settings.reals[0], [10, 0, 0, 77]);
    assert_eq!(adopted.peers(), 1);
    assert_eq!(adopted.v4.members, before.v4.members);
    assert_eq!(adopted.of_host(&me()), before);
}
