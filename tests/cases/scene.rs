//! Who is who in the cases: one host, a member on its link, a member far away, and strangers.

use neti_common::{
    family::{Family, V4},
    maps::{Ends, Flow, Hint, Prefix, Tuple, identity, mode},
    model::World,
    tables::Class,
};

use crate::packet::{Addr, Packet};

/// The host itself.
pub const OWN: Addr = [10, 0, 0, 10];
pub const OWN_OVERLAY: Addr = [100, 64, 1, 1];
/// A member on the same link.
pub const NEAR: Addr = [10, 0, 0, 11];
pub const NEAR_OVERLAY: Addr = [100, 64, 1, 2];
/// A member behind the gateway.
pub const FAR: Addr = [203, 0, 113, 110];
pub const FAR_OVERLAY: Addr = [100, 64, 1, 3];
/// An overlay address of the fleet's range that nobody has.
pub const NOBODY: Addr = [100, 64, 9, 9];
pub const STRANGER: Addr = [198, 51, 100, 99];
/// A stranger on the same link, in a failsafe range.
pub const NEIGHBOUR: Addr = [10, 0, 0, 66];
pub const ROUTER: Addr = [10, 0, 0, 1];

pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
pub const NEAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x01];

/// The host under `enforce`, with servers to be seen under their real addresses.
pub fn host() -> World<V4> {
    let range = Prefix { network: [100, 64, 0, 0], mask: V4::mask(16) };
    let mut world = World::new(OWN, OWN_OVERLAY, range);
    world.settings.mode = mode::ENFORCE;
    world.settings.identity = identity::REAL;
    world.settings.failsafe[0] = Prefix { network: [10, 0, 0, 0], mask: V4::mask(8) };
    world.add_member(NEAR_OVERLAY, &[NEAR], true);
    world.add_member(FAR_OVERLAY, &[FAR], false);
    world
}

/// [`host`], changed.
pub fn host_with(change: impl FnOnce(&mut World<V4>)) -> World<V4> {
    let mut world = host();
    change(&mut world);
    world
}

/// [`host`] with servers to be seen under their overlay addresses.
pub fn overlay_host() -> World<V4> {
    host_with(|world| world.settings.identity = identity::OVERLAY)
}

/// [`host`] under `observe`.
pub fn observing_host() -> World<V4> {
    host_with(|world| world.settings.mode = mode::OBSERVE)
}

pub fn ends(peer: Addr, own: Addr) -> Ends<V4> {
    Ends { peer, own }
}

/// A flow as seen from the host.
pub fn flow(protocol: u8, own: (Addr, u16), peer: (Addr, u16)) -> Flow<V4> {
    let tuple =
        Tuple { src: own.0, dst: peer.0, sport: own.1.to_be_bytes(), dport: peer.1.to_be_bytes() };
    Flow { tuple, protocol, _pad: [0; 3] }
}

/// The key of a flow with a member: the same on every path to it.
pub fn member_flow(protocol: u8, own: u16, peer: (Addr, u16)) -> Flow<V4> {
    flow(protocol, (V4::UNSPECIFIED, own), peer)
}

/// Notes a hint, `age` seconds old.
pub fn hint(world: &World<V4>, class: Class, flow: Flow<V4>, ends: Ends<V4>, age: u64) {
    let seen = world.now.get() - age * 1_000_000_000;
    let hint = Hint { seen, ends, state: 0, _pad: [0; 7] };
    world.hints.borrow_mut().insert((class, flow), hint);
}

/// A frame with an EtherType of its own.
pub fn frame(to: [u8; 6], from: [u8; 6], ethertype: u16, body: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ethertype.to_be_bytes(), body].concat()
}

/// A packet that the host sends by its gateway.
pub fn out(packet: &Packet) -> Vec<u8> {
    frame(ROUTER_MAC, OWN_MAC, V4::ETHERTYPE, &packet.bytes())
}

/// A packet that arrives from the gateway.
pub fn come(packet: &Packet) -> Vec<u8> {
    frame(OWN_MAC, ROUTER_MAC, V4::ETHERTYPE, &packet.bytes())
}

/// An ARP packet for IPv4 over Ethernet (RFC 826).
pub fn arp(operation: u8, sender: Addr, target: Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    [&head[..], &OWN_MAC, &sender, &[0; 6], &target].concat()
}

/// A frame with VLAN tags of these ids.
pub fn tagged(frame: &[u8], ids: &[u16]) -> Vec<u8> {
    harness::packets::tagged(frame, ids)
}
