//! The store on the kernel's maps keeps the contract of every store.

use std::net::Ipv4Addr;

use neti_common::{
    family::{Family, V4, V6},
    maps::{Member, OVERLAYS, mode},
};
use neti_userspace::{
    diff::diff,
    loader,
    state::{FamilyState, MapState},
    store::{Store, contract, kernel::KernelStore},
};

use crate::support::{Instance, may_run};

#[test]
fn keeps_the_contract() {
    if !may_run("keeps_the_contract") {
        return;
    }
    let Instance(pins) = &Instance::new();
    let _ebpf = loader::make_maps(pins, false).unwrap();
    contract::check(&mut KernelStore::open(pins).unwrap()).unwrap();
}

#[test]
fn removes_around_what_is_gone() {
    if !may_run("removes_around_what_is_gone") {
        return;
    }
    let Instance(pins) = &Instance::new();
    let _ebpf = loader::make_maps(pins, false).unwrap();
    let mut store = KernelStore::open(pins).unwrap();
    let some = both(|number| number % 3 != 0, 9);
    store.apply(&diff(&MapState::empty(), &some)).unwrap();
    // The batch names nine keys, of which the third, the sixth and the ninth are not there.
    store.apply(&diff(&both(|_| true, 9), &MapState::empty())).unwrap();
    assert_eq!(store.read().unwrap(), MapState::empty());
}

#[test]
fn says_that_a_map_is_full() {
    if !may_run("says_that_a_map_is_full") {
        return;
    }
    let Instance(pins) = &Instance::new();
    let _ebpf = loader::make_maps(pins, false).unwrap();
    let mut store = KernelStore::open(pins).unwrap();
    let room = |map| aya::maps::MapInfo::from_pin(pins.map(map)).unwrap().max_entries();
    let (v4, v6) = (room(V4::MAPS.members), room(V6::MAPS.members));
    let full = MapState { v4: members(1..=v4), v6: members(1..=v6), ..MapState::empty() };
    store.apply(&diff(&MapState::empty(), &full)).unwrap();
    for (name, room, more) in [
        (V4::MAPS.members, v4, MapState { v4: members(v4 + 1..=v4 + 1), ..MapState::empty() }),
        (V6::MAPS.members, v6, MapState { v6: members(v6 + 1..=v6 + 1), ..MapState::empty() }),
    ] {
        let error = store.apply(&diff(&MapState::empty(), &more)).unwrap_err();
        let full = format!("map {name}: full; it has room for {room} entries");
        let then = "neti makes a larger one when it is started again";
        assert_eq!(error.to_string(), format!("{full}; {then}"));
    }
}

#[test]
fn what_goes_makes_room_for_what_comes() {
    if !may_run("what_goes_makes_room_for_what_comes") {
        return;
    }
    let Instance(pins) = &Instance::new();
    let _ebpf = loader::make_maps(pins, false).unwrap();
    let mut store = KernelStore::open(pins).unwrap();
    let room = aya::maps::MapInfo::from_pin(pins.map(V4::MAPS.members)).unwrap().max_entries();
    let of = |numbers| MapState { v4: members(numbers), ..MapState::empty() };
    let (full, other) = (of(1..=room), of(101..=room + 100));
    store.apply(&diff(&MapState::empty(), &full)).unwrap();
    store.apply(&diff(&full, &other)).unwrap();
    assert!(store.read().unwrap() == other);

    // More than there is room for: all else is done.
    let mut enforcing = of(201..=room + 201);
    enforcing.v4.settings.valid = 1;
    enforcing.v4.settings.mode = mode::ENFORCE;
    store.apply(&diff(&other, &enforcing)).unwrap_err();
    let read = store.read().unwrap();
    assert_eq!(read.v4.settings, enforcing.v4.settings);
    assert_eq!(read.v4.members.len(), room as usize);
    assert!(read.v4.members.keys().all(|real| enforcing.v4.members.contains_key(real)));
}

/// Members of both families, those of the numbers up to `last` that `wanted` takes.
pub fn both(wanted: impl Fn(&u32) -> bool, last: u32) -> MapState {
    let numbers = || (1..=last).filter(&wanted);
    MapState { v4: members(numbers()), v6: members(numbers()), ..MapState::empty() }
}

fn members<F: Family>(numbers: impl Iterator<Item = u32>) -> FamilyState<F> {
    let member = |number: u32| {
        let v4 = Ipv4Addr::from_bits(number);
        let real = F::of(v4.into()).or(F::of(v4.to_ipv6_compatible().into())).unwrap();
        let member = Member::<F> {
            real,
            overlays: [F::UNSPECIFIED; OVERLAYS],
            host: number,
            generation: 1,
            role: 0,
            overlay_count: 0,
            flags: 0,
            _pad: [0; 2],
        };
        (real, member)
    };
    FamilyState { members: numbers.map(member).collect(), ..FamilyState::empty() }
}
