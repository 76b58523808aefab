//! Entries of the twins maps live as long as their flows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use aya::maps::{Array, HashMap, Map, MapData};
use neti_common::{
    family::{Family, V4, V6},
    headers::UDP,
    hints::state,
    maps::{Ends, Flow, Hint, TwinIn, TwinOut, name},
};
use neti_userspace::{
    loader::{self, pins::Pins},
    store::kernel::open,
    twins::Twins,
};

use crate::support::{Instance, may_run};

/// The maps as the programs use them.
struct Maps<F: Family> {
    localhost: IpAddr,
    out: HashMap<MapData, Flow<F>, TwinOut>,
    back: HashMap<MapData, Flow<F>, TwinIn<F>>,
    used: Array<MapData, u32>,
    hints: HashMap<MapData, Flow<F>, Hint<F>>,
}

impl<F: Family> Maps<F> {
    fn open(pins: &Pins, localhost: impl Into<IpAddr>) -> Self {
        Self {
            localhost: localhost.into(),
            out: open(pins, F::MAPS.twins_out, Map::HashMap).unwrap(),
            back: open(pins, F::MAPS.twins_in, Map::HashMap).unwrap(),
            used: open(pins, name::TWINS_USED, Map::Array).unwrap(),
            hints: open(pins, F::MAPS.hints_local_member, Map::LruHashMap).unwrap(),
        }
    }

    /// Both entries of a flow from `port`, known as `wire` on the wire.
    fn insert(&mut self, port: u16, wire: u16) {
        let (key, flow) = (self.flow(wire), self.flow(port));
        let twin = TwinOut { port: wire.to_be_bytes(), _pad: [0; 2] };
        self.out.insert(flow, twin, 0).unwrap();
        let twin = TwinIn::new(self.ends(), port.to_be_bytes());
        self.back.insert(key, twin, 0).unwrap();
        self.used.set(0, 1, 0).unwrap();
    }

    fn hint(&mut self, wire: u16, seen: u64) {
        let hint = Hint { seen, ends: self.ends(), state: state::OPENED };
        self.hints.insert(self.flow(wire), hint, 0).unwrap();
    }

    fn flow(&self, sport: u16) -> Flow<F> {
        let Ends { peer: dst, own: src } = self.ends();
        let (sport, dport) = (sport.to_be_bytes(), PEER.to_be_bytes());
        Flow { src, dst, sport, dport, protocol: UDP.into() }
    }

    fn ends(&self) -> Ends<F> {
        let localhost = F::of(self.localhost).unwrap();
        Ends { peer: localhost, own: localhost }
    }

    fn count(&self) -> (usize, usize, u32) {
        (self.out.keys().count(), self.back.keys().count(), self.used.get(&0, 0).unwrap())
    }
}

/// The port that everybody speaks to.
const PEER: u16 = 9;

#[test]
fn entries_go_in_the_second_round_after_their_flow() {
    if !may_run("entries_go_in_the_second_round_after_their_flow") {
        return;
    }
    let Instance(pins) = &Instance::new();
    drop(loader::make_maps(pins, false).unwrap());
    let mut twins = Twins::open(pins).unwrap();
    entries_go(&mut twins, Maps::<V4>::open(pins, Ipv4Addr::LOCALHOST));
    entries_go(&mut twins, Maps::<V6>::open(pins, Ipv6Addr::LOCALHOST));
}

fn entries_go<F: Family>(twins: &mut Twins, mut maps: Maps<F>) {
    twins.round().unwrap();
    assert_eq!(maps.count(), (0, 0, 0), "not in use");

    let socket = UdpSocket::bind((maps.localhost, 0)).unwrap();
    socket.connect((maps.localhost, PEER)).unwrap();
    maps.insert(socket.local_addr().unwrap().port(), 61_001);
    maps.insert(1_002, 61_002);
    maps.hint(61_002, u64::MAX);
    maps.insert(1_003, 61_003);
    maps.hint(61_003, 0);
    maps.insert(1_004, 61_004);
    twins.round().unwrap();
    assert_eq!(maps.count(), (4, 4, 1), "ended in one round only");
    twins.round().unwrap();
    assert_eq!(maps.count(), (2, 2, 1), "a socket and a fresh hint are left");

    drop(socket);
    maps.hint(61_002, 0);
    twins.round().unwrap();
    twins.round().unwrap();
    assert_eq!(maps.count(), (0, 0, 0), "all have ended");
}

#[test]
fn one_family_does_not_rest_while_the_other_has_entries() {
    if !may_run("one_family_does_not_rest_while_the_other_has_entries") {
        return;
    }
    let Instance(pins) = &Instance::new();
    drop(loader::make_maps(pins, false).unwrap());
    let mut twins = Twins::open(pins).unwrap();
    let mut v4 = Maps::<V4>::open(pins, Ipv4Addr::LOCALHOST);
    let mut v6 = Maps::<V6>::open(pins, Ipv6Addr::LOCALHOST);
    v4.insert(1_001, 61_001);
    v6.insert(1_001, 61_001);
    v6.hint(61_001, u64::MAX);
    twins.round().unwrap();
    twins.round().unwrap();
    assert_eq!((v4.count(), v6.count()), ((0, 0, 1), (1, 1, 1)));
}
