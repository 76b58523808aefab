//! The store on the kernel's maps keeps the contract of every store.

use std::net::Ipv4Addr;

use aya::maps::{Array, Map, MapData};
use neti_common::{
    family::{Family, V4, V6},
    maps::{Member, OVERLAYS, bloom::place, mode},
};
use neti_userspace::{
    diff::diff,
    loader::{self, pins::Pins},
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
    let bloom = bloom::<V4>(pins);
    assert!(read.v4.members.keys().all(|real| is_in::<V4>(&bloom, real)));
}

#[test]
fn the_bloom_filter_has_every_member() {
    if !may_run("the_bloom_filter_has_every_member") {
        return;
    }
    let Instance(pins) = &Instance::new();
    let _ebpf = loader::make_maps(pins, false).unwrap();
    let mut store = KernelStore::open(pins).unwrap();
    let (first, second) = (both(|_| true, 1000), both(|number| *number > 500, 2000));
    store.apply(&diff(&MapState::empty(), &first)).unwrap();
    // A daemon that starts finds what another has left.
    let mut store = KernelStore::open(pins).unwrap();
    store.apply(&diff(&first, &second)).unwrap();
    let [v4, v6] = [bloom::<V4>(pins), bloom::<V6>(pins)];
    assert!(second.v4.members.keys().all(|real| is_in::<V4>(&v4, real)));
    assert!(second.v6.members.keys().all(|real| is_in::<V6>(&v6, real)));

    // Those of the few that have gone stay.
    assert!(first.v4.members.keys().all(|real| is_in::<V4>(&v4, real)));

    // So many come and go that most bits are for nobody: they are made anew.
    let many = MapState { v4: members(1..=200_000), ..MapState::empty() };
    store.apply(&diff(&second, &many)).unwrap();
    let ones = |words: &[u64]| words.iter().map(|word| word.count_ones()).sum::<u32>();
    assert!(ones(&bloom::<V4>(pins)) > 150_000);
    store.apply(&diff(&many, &second)).unwrap();
    let v4 = bloom::<V4>(pins);
    assert!((1400..=1500).contains(&ones(&v4)), "{} bits for 1,500 members", ones(&v4));
    assert!(second.v4.members.keys().all(|real| is_in::<V4>(&v4, real)));
}

/// Members of both families, those of the numbers up to `last` that `wanted` takes.
pub fn both(wanted: impl Fn(&u32) -> bool, last: u32) -> MapState {
    let numbers = || (1..=last).filter(&wanted);
    MapState { v4: members(numbers()), v6: members(numbers()), ..MapState::empty() }
}

/// The words of the filter of a family.
fn bloom<F: Family>(pins: &Pins) -> Vec<u64> {
    let map = MapData::from_pin(pins.map(F::MAPS.bloom)).unwrap();
    let map: Array<_, u64> = Map::Array(map).try_into().unwrap();
    map.iter().collect::<Result<_, _>>().unwrap()
}

fn is_in<F: Family>(words: &[u64], real: &F::Addr) -> bool {
    let (word, bit) = place::<F>(real);
    words[word as usize] >> bit & 1 != 0
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
