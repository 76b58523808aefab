use super::*;
use crate::{
    membership::sample::{id, ip, me, membership, record},
    view::view,
};

fn sample() -> MapState {
    let membership = membership([
        record("sierra", "100.64.0.2", "ec2").private("10.0.0.11").public("203.0.113.11"),
        record("walden", "100.64.0.3", "vpc").private("10.0.0.10").public("203.0.113.110"),
    ]);
    let me = me();
    state(&me, &membership.fleet, &view(&me, &membership))
}

#[test]
fn a_peer_is_let_in_from_all_its_addresses_and_reached_by_one() {
    let state = sample();
    assert_eq!(
        state.members.keys().collect::<Vec<_>>(),
        [&[10, 0, 0, 11], &[203, 0, 113, 11], &[203, 0, 113, 110]]
    );
    let none = [0; 4];
    let overlay = [100, 64, 0, 2];
    assert_eq!(
        state.members[&[203, 0, 113, 11]],
        Member {
            real: [203, 0, 113, 11],
            overlays: [overlay, none, none, none, none, none, none, none],
            host: number(&id("sierra")),
            generation: 1,
            role: 0,
            overlay_count: 1,
            flags: 0,
        }
    );
    assert_eq!(
        state.overlays[&overlay],
        Path {
            overlay,
            real: [10, 0, 0, 11],
            reals: [[10, 0, 0, 11], [203, 0, 113, 11]],
            primary: overlay,
            host: number(&id("sierra")),
            generation: 1,
            flags: path_flag::REDIRECT,
            _pad: [0; 3],
        }
    );
}

#[test]
fn only_neighbours_are_redirected_unless_the_route_leads_nowhere() {
    let flags = |state: &MapState| {
        [2, 3].map(|last| state.overlays[&[100, 64, 0, last]].flags & path_flag::REDIRECT != 0)
    };
    assert_eq!(flags(&sample()), [true, false]);

    let me = Me { redirect_all: true, ..me() };
    let membership = membership([
        record("a", "100.64.0.2", "ec2").private("10.0.0.11"),
        record("b", "100.64.0.3", "vpc").public("203.0.113.110"),
    ]);
    assert_eq!(flags(&state(&me, &membership.fleet, &view(&me, &membership))), [true, true]);
}

#[test]
fn every_overlay_address_leads_to_its_host() {
    let mut a = record("a", "100.64.0.9", "ec2").private("10.0.0.11");
    a.overlays.push(ip("100.64.0.2"));
    let membership = membership([a]);
    let state = state(&me(), &membership.fleet, &view(&me(), &membership));
    for last in [9, 2] {
        let path = state.overlays[&[100, 64, 0, last]];
        assert_eq!((path.overlay[3], path.primary[3], path.real), (last, 9, [10, 0, 0, 11]));
    }
    let member = state.members[&[10, 0, 0, 11]];
    assert_eq!((member.overlay_count, member.overlays[0][3], member.overlays[1][3]), (2, 9, 2));
}

#[test]
fn settings_carry_the_fleets_and_the_hosts() {
    let text = r#"{"overlay": ["100.64.0.0/16", "100.66.0.0/24"], "mode": "enforce",
        "identity": "overlay", "failsafe": ["192.0.2.0/24"], "echo": true,
        "allow": [{"from": "198.51.100.0/24"}], "open": ["tcp/80-81", "udp/65535"]}"#;
    let fleet = FleetSettings::parse("fleet", text.as_bytes()).unwrap();
    let state = state(&me(), &fleet, &View::default());

    let settings = state.settings;
    assert_eq!(settings.reals, [[10, 0, 0, 10], [0; 4]]);
    assert_eq!(settings.overlays[..2], [[100, 64, 0, 1], [0; 4]]);
    assert!(settings.is_overlay(&[100, 66, 0, 9]) && !settings.is_overlay(&[100, 66, 1, 9]));
    assert_eq!(settings.ranges[2..], [Prefix::NONE; 2]);
    assert_eq!(settings.failsafe[0], Prefix { network: [192, 0, 2, 0], mask: [255, 255, 255, 0] });
    assert_eq!(settings.failsafe[1..], [Prefix::NONE; 7]);
    assert_eq!((settings.uplink, settings.twin_first, settings.twin_last), (7, 61_000, 65_535));
    assert_eq!((settings.mode, settings.identity), (mode::ENFORCE, identity::OVERLAY));
    assert_eq!((settings.echo, settings.valid), (1, 1));

    let (key, allow) = state.allow.first_key_value().unwrap();
    assert_eq!((key, allow.count), (&(24, [198, 51, 100, 0]), 1));
    let used = |words: &[u64]| {
        let bits = (0..words.len() * 64).filter(|bit| words[bit / 64] >> (bit % 64) & 1 == 1);
        bits.collect::<Vec<_>>()
    };
    assert_eq!(used(state.open_ports.as_slice()), [80, 81, 131_071]);
    assert_eq!(used(&state.vlans), [0, 100]);
}

#[test]
fn a_host_has_the_same_number_everywhere() {
    // The published vector of FNV-1a for "foobar".
    assert_eq!(number(&id("foobar")), 0xbf9c_f968);
}
