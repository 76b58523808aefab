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

#[tokio::test]
async fn sockets_of_mixed_forms_are_found() {
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

    let words = || open::<Array<MapData, u64>>(pins, name::MIXED, Map::Array).unwrap();
    let packet_leaves = || {
        let left = words().get(&LEFT, 0).unwrap() + 1;
        words().set(LEFT, left, 0).unwrap();
    };
    let is_clear = || {
        let (words, zero) = (words(), 0);
        words.get(&CLEARED, zero).unwrap() == words.get(&LEFT, zero).unwrap() + 1
    };
    let mut mixed = Mixed::open(pins).unwrap();
    let _real = socket("127.0.0.1", "127.0.0.2");
    let _overlay = socket("127.64.0.1", "127.64.0.2");
    for (own, peer) in [("127.64.0.1", "127.0.0.2"), ("127.0.0.1", "127.64.0.2")] {
        // Nobody knows yet, or something has left.
        assert!(!is_clear());
        assert!(!mixed.look().await.unwrap() && !is_clear(), "one look is not enough");
        packet_leaves();
        assert!(
            !mixed.look().await.unwrap() && !is_clear(),
            "something has left between two looks"
        );
        assert!(mixed.look().await.unwrap() && is_clear());
        // It only receives.
        let its = socket(own, peer);
        assert!(is_clear());
        assert!(!mixed.look().await.unwrap() && !is_clear(), "{own} to {peer}");
        drop(its);
        assert!(!mixed.look().await.unwrap());
        assert!(mixed.look().await.unwrap() && is_clear(), "{own} to {peer} is gone");
        packet_leaves();
    }
}

fn socket(own: &str, peer: &str) -> UdpSocket {
    let socket = UdpSocket::bind((own, 0)).unwrap();
    socket.connect((peer, 9)).unwrap();
    socket
}
