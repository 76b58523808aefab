//! Sockets of mixed forms are looked for until none is left.

use std::net::UdpSocket;

use aya::maps::{Array, Map, MapData};
use neti_common::{
    family::{Family, V4},
    maps::{
        Prefix, Settings,
        mixed::{CLEARED, LEFT},
        name,
    },
};
use neti_userspace::{
    diff::diff,
    loader,
    mixed::Mixed,
    state::{FamilyState, MapState},
    store::{
        Store,
        kernel::{KernelStore, open},
    },
};

use crate::support::{Instance, may_run};

#[test]
fn sockets_of_mixed_forms_are_found() {
    if !may_run("sockets_of_mixed_forms_are_found") {
        return;
    }
    let Instance(pins) = &Instance::new();
    drop(loader::make_maps(pins, false).unwrap());
    let mut settings = Settings { valid: 1, ..Settings::<V4>::UNSET };
    let network = V4::of("127.64.0.0".parse().unwrap()).unwrap();
    settings.ranges[0] = Prefix { network, mask: V4::mask(10) };
    let v4 = FamilyState { settings, ..FamilyState::empty() };
    let state = MapState { v4, ..MapState::empty() };
    KernelStore::open(pins).unwrap().apply(&diff(&MapState::empty(), &state)).unwrap();

    let mut words: Array<MapData, u64> = open(pins, name::MIXED, Map::Array).unwrap();
    let mut mixed = Mixed::open(pins).unwrap();
    let socket = |own: &str, peer: &str| {
        let socket = UdpSocket::bind((own, 0)).unwrap();
        socket.connect((peer, 9)).unwrap();
        socket
    };
    let _real = socket("127.0.0.1", "127.0.0.2");
    let _overlay = socket("127.64.0.1", "127.64.0.2");
    for (own, peer) in [("127.64.0.1", "127.0.0.2"), ("127.0.0.1", "127.64.0.2")] {
        let left = words.get(&LEFT, 0).unwrap() + 1;
        words.set(LEFT, left, 0).unwrap();
        let its = socket(own, peer);
        mixed.round().unwrap();
        assert_ne!(words.get(&CLEARED, 0).unwrap(), left + 1, "{own} to {peer}");
        drop(its);
        mixed.round().unwrap();
        assert_eq!(words.get(&CLEARED, 0).unwrap(), left + 1, "{own} to {peer}, gone");
    }
}
