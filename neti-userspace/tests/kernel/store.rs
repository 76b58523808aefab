//! The store on the kernel's maps keeps the contract of every store.

use neti_common::{
    family::V4,
    maps::{Member, name},
};
use neti_userspace::{
    diff::diff,
    loader,
    state::MapState,
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
    let some = members((1..=9).filter(|number| number % 3 != 0));
    store.apply(&diff(&MapState::empty(), &some)).unwrap();
    // The batch names nine keys, of which the third, the sixth and the ninth are not there.
    store.apply(&diff(&members(1..=9), &MapState::empty())).unwrap();
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
    let room = aya::maps::MapInfo::from_pin(pins.map(name::MEMBERS4)).unwrap().max_entries();
    store.apply(&diff(&MapState::empty(), &members(1..=room))).unwrap();
    let error = store.apply(&diff(&MapState::empty(), &members(1..=room + 1))).unwrap_err();
    assert_eq!(error.to_string(), format!("map members4: full; it has room for {room} entries"));
}

fn members(numbers: impl Iterator<Item = u32>) -> MapState {
    let member = |number: u32| Member::<V4> {
        real: number.to_be_bytes(),
        overlays: [[0; 4]; 8],
        host: number,
        generation: 1,
        role: 0,
        overlay_count: 0,
        flags: 0,
    };
    let members = numbers.map(|number| (number.to_be_bytes(), member(number))).collect();
    MapState { members, ..MapState::empty() }
}
