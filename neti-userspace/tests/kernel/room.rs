//! Maps for fleets of more members than the object has room for.

use std::{net::Ipv4Addr, sync::Arc};

use aya::maps::MapInfo;
use neti_common::{
    family::{Family, V4, V6},
    maps::MEMBERS_KEPT,
};
use neti_userspace::{
    addresses::Addresses,
    diff::diff,
    loader::{self, pins::Pins, room},
    membership::{MemberRecord, Members},
    state::MapState,
    store::{Store, kernel::KernelStore},
};

use crate::{
    store::both,
    support::{Instance, may_run},
};

/// One more than the maps have room for with head-room.
const MANY: u32 = MEMBERS_KEPT / 2 + 1;

#[test]
fn a_large_fleet_has_larger_maps() {
    if !may_run("a_large_fleet_has_larger_maps") {
        return;
    }
    let Instance(pins) = &Instance::new();
    room::provide(pins, &fleet(1)).unwrap();
    assert!(!pins.maps().exists(), "there is room for few in maps as they are made anyway");
    drop(loader::make_maps(pins, false).unwrap());
    assert_eq!(rooms(pins), [MEMBERS_KEPT; 4]);

    // What pinned maps hold is in those that take their place.
    let held = both(|_| true, 9);
    KernelStore::open(pins).unwrap().apply(&diff(&MapState::empty(), &held)).unwrap();
    room::provide(pins, &fleet(MANY)).unwrap();
    let grown = [MEMBERS_KEPT * 2, MEMBERS_KEPT * 2, MEMBERS_KEPT, MEMBERS_KEPT];
    assert_eq!(rooms(pins), grown);
    drop(loader::make_maps(pins, false).unwrap());
    assert!(KernelStore::open(pins).unwrap().read().unwrap() == held);

    // Those are not replaced again, and become no smaller.
    let ids = || maps().map(|name| info(pins, name).id());
    let before = ids();
    for members in [1, MANY] {
        room::provide(pins, &fleet(members)).unwrap();
        drop(loader::make_maps(pins, false).unwrap());
    }
    assert_eq!((ids(), rooms(pins)), (before, grown));
}

#[test]
fn a_first_start_in_a_large_fleet_makes_them() {
    if !may_run("a_first_start_in_a_large_fleet_makes_them") {
        return;
    }
    let Instance(pins) = &Instance::new();
    room::provide(pins, &fleet(MANY)).unwrap();
    let ebpf = loader::make_maps(pins, false).unwrap();
    assert_eq!(rooms(pins), [MEMBERS_KEPT * 2, MEMBERS_KEPT * 2, MEMBERS_KEPT, MEMBERS_KEPT]);
    // The programs will use what is pinned.
    let used = ebpf.map(V4::MAPS.members).unwrap();
    let aya::maps::Map::HashMap(used) = used else { panic!("{used:?}") };
    assert_eq!(used.info().unwrap().id(), info(pins, V4::MAPS.members).id());
}

fn maps() -> [&'static str; 4] {
    [V4::MAPS.members, V4::MAPS.overlays, V6::MAPS.members, V6::MAPS.overlays]
}

fn rooms(pins: &Pins) -> [u32; 4] {
    maps().map(|name| info(pins, name).max_entries())
}

fn info(pins: &Pins, name: &str) -> MapInfo {
    MapInfo::from_pin(pins.map(name)).unwrap()
}

/// Members with one IPv4 address of each kind.
fn fleet(count: u32) -> Members {
    let text =
        r#"{"id": "any", "overlays": ["100.64.0.1"], "private": "10.0.0.1", "network": "ec2"}"#;
    let any = MemberRecord::parse("any", text.as_bytes()).unwrap();
    let member = |number: u32| {
        let id = format!("host-{number}").parse().unwrap();
        let overlays = vec![Ipv4Addr::from_bits(0x6440_0000 + number).into()];
        let private = Addresses::collect([Ipv4Addr::from_bits(0x0a00_0000 + number).into()]);
        let record = MemberRecord { overlays, private: private.unwrap(), ..any.clone() };
        Arc::new(MemberRecord { id, ..record })
    };
    (1..=count).map(member).map(|record| (record.id.clone(), record)).collect()
}
