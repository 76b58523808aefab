//! Entries of the twins maps live as long as their flows.

use std::net::UdpSocket;

use aya::maps::{Array, HashMap, Map, MapData};
use neti_common::{
    family::V4,
    maps::{Ends, Flow, Hint, Tuple, TwinIn, TwinOut, name},
};
use neti_userspace::{
    loader::{self, pins::Pins},
    store::kernel::open,
    twins::Twins,
};

use crate::support::{Instance, may_run};

const UDP: u8 = 17;
const LOCALHOST: [u8; 4] = [127, 0, 0, 1];

/// The maps as the programs use them.
struct Maps {
    out: HashMap<MapData, Flow<V4>, TwinOut>,
    back: HashMap<MapData, Flow<V4>, TwinIn<V4>>,
    used: Array<MapData, u32>,
    hints: HashMap<MapData, Flow<V4>, Hint<V4>>,
}

impl Maps {
    fn open(pins: &Pins) -> Self {
        Self {
            out: open(pins, name::TWINS_OUT4, Map::HashMap).unwrap(),
            back: open(pins, name::TWINS_IN4, Map::HashMap).unwrap(),
            used: open(pins, name::TWINS_USED, Map::Array).unwrap(),
            hints: open(pins, name::HINTS_LOCAL_MEMBER4, Map::LruHashMap).unwrap(),
        }
    }

    /// Both entries of a flow from `port`, known as `wire` on the wire.
    fn insert(&mut self, port: u16, wire: u16) {
        let ends = Ends { peer: LOCALHOST, own: LOCALHOST };
        let (port, wire) = (port.to_be_bytes(), wire.to_be_bytes());
        self.out.insert(flow(port), TwinOut { port: wire, _pad: [0; 2] }, 0).unwrap();
        self.back.insert(flow(wire), TwinIn { ends, port, _pad: [0; 2] }, 0).unwrap();
        self.used.set(0, 1, 0).unwrap();
    }

    fn hint(&mut self, wire: u16, seen: u64) {
        let ends = Ends { peer: LOCALHOST, own: LOCALHOST };
        let hint = Hint { seen, ends, state: 0, _pad: [0; 7] };
        self.hints.insert(flow(wire.to_be_bytes()), hint, 0).unwrap();
    }

    fn count(&self) -> (usize, usize, u32) {
        (self.out.keys().count(), self.back.keys().count(), self.used.get(&0, 0).unwrap())
    }
}

fn flow(sport: [u8; 2]) -> Flow<V4> {
    let tuple = Tuple { src: LOCALHOST, dst: LOCALHOST, sport, dport: 9_u16.to_be_bytes() };
    Flow { tuple, protocol: UDP, _pad: [0; 3] }
}

#[test]
fn entries_go_in_the_second_round_after_their_flow() {
    if !may_run("entries_go_in_the_second_round_after_their_flow") {
        return;
    }
    let Instance(pins) = &Instance::new();
    drop(loader::make_maps(pins, false).unwrap());
    let (mut maps, mut twins) = (Maps::open(pins), Twins::open(pins).unwrap());
    twins.round().unwrap();
    assert_eq!(maps.count(), (0, 0, 0), "not in use");

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.1:9").unwrap();
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
