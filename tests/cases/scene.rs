//! Who is who in the cases: one host, a member on its link, a member far away, and strangers.

use std::fmt::Debug;

use aya::Pod;
use neti_common::{
    family::Family,
    headers::TCP,
    maps::{Ends, Flow, Hint, Member, Prefix, Settings, TwinIn, TwinOut, identity, mode},
    model::World,
    tables::Class,
};

use crate::{Case, packet::Packet};

mod v4;
pub mod v6;

/// What a family calls the hosts, and how it builds its packets.
pub trait Scene: Family<Addr: Pod> {
    /// The host itself.
    const OWN: Self::Addr;
    const OWN_OVERLAY: Self::Addr;
    /// A member on the same link.
    const NEAR: Self::Addr;
    const NEAR_OVERLAY: Self::Addr;
    /// A member behind the gateway.
    const FAR: Self::Addr;
    const FAR_OVERLAY: Self::Addr;
    /// A member that has no overlay address in this family.
    const PLAIN: Self::Addr;
    /// An overlay address of the fleet's range that nobody has.
    const NOBODY: Self::Addr;
    const STRANGER: Self::Addr;
    /// A stranger on the same link, in a failsafe range.
    const NEIGHBOUR: Self::Addr;
    const ROUTER: Self::Addr;
    /// To everyone on the link.
    const EVERYONE: Self::Addr;
    /// The cloud's metadata service.
    const METADATA: Self::Addr;
    /// The fleet's overlay range, where ssh is never refused from, the strangers' network, and the link's: an address
    /// and a length in bits.
    const RANGE: (Self::Addr, u32);
    const FAILSAFE: (Self::Addr, u32);
    const STRANGERS: (Self::Addr, u32);
    const LINK: u32;
    /// What `ip address add` takes beside an address, so that it can be used at once.
    const ADDRESS_FLAGS: &str;
    /// DHCP's ports, the server's first.
    const DHCP: (u16, u16);
    /// ICMP errors: type and code.
    const TOO_BIG: (u8, u8);
    const PORT_UNREACHABLE: (u8, u8);
    const TIME_EXCEEDED: (u8, u8);
    /// An identification that every fragment of a case has, as [`neti_common::maps::FragmentKey`] holds it, and the
    /// protocol that stands beside it there for UDP.
    const DATAGRAM: ([u8; 4], u32);

    /// Options or extension headers.
    type Options: Clone + Debug + Default;
    /// Options or extension headers that carry no address, each with what to call them.
    fn harmless() -> Vec<(&'static str, Self::Options)>;
    /// Those that carry this one.
    fn carrying(address: Self::Addr) -> Vec<(&'static str, Self::Options)>;
    /// Makes a fragment of a packet that has these.
    fn fragment(options: &mut Self::Options, offset: u16, more: bool);

    /// An address as on the wire.
    fn octets(address: &Self::Addr) -> Vec<u8>;
    /// A packet's header, with whatever stands between it and a transport of this length.
    fn header(packet: &Packet<Self>, transport: usize) -> Vec<u8>;
    /// Cases that have no counterpart in the other family.
    fn own_cases() -> Vec<Case<Self>>;
}

pub const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
pub const NEAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0b];
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x01];

pub fn prefix<F: Scene>((network, length): (F::Addr, u32)) -> Prefix<F> {
    Prefix { network, mask: F::mask(length) }
}

/// The host under `enforce`, with servers to be seen under their real addresses.
pub fn host<F: Scene>() -> World<F> {
    let mut world = World::new(F::OWN, F::OWN_OVERLAY, prefix(F::RANGE));
    world.settings.mode = mode::ENFORCE;
    world.settings.identity = identity::REAL;
    world.settings.failsafe[0] = prefix(F::FAILSAFE);
    world.add_member(F::NEAR_OVERLAY, &[F::NEAR], true);
    world.add_member(F::FAR_OVERLAY, &[F::FAR], false);
    let plain = Member {
        real: F::PLAIN,
        overlays: Settings::<F>::UNSET.overlays,
        overlay_count: 0,
        ..world.members[&F::FAR]
    };
    world.members.insert(F::PLAIN, plain);
    world
}

/// [`host`], changed.
pub fn host_with<F: Scene>(change: impl FnOnce(&mut World<F>)) -> World<F> {
    let mut world = host();
    change(&mut world);
    world
}

/// [`host`] with servers to be seen under their overlay addresses.
pub fn overlay_host<F: Scene>() -> World<F> {
    host_with(|world| world.settings.identity = identity::OVERLAY)
}

/// [`host`] under `observe`.
pub fn observing_host<F: Scene>() -> World<F> {
    host_with(|world| world.settings.mode = mode::OBSERVE)
}

/// The host of a fleet without overlay range in this family: it filters, and translates nothing.
pub fn plain_host<F: Scene>() -> World<F> {
    host_with(|world| {
        world.settings.ranges = Settings::<F>::UNSET.ranges;
        world.settings.overlays = Settings::<F>::UNSET.overlays;
        world.paths.clear();
        for member in world.members.values_mut() {
            (member.overlays, member.overlay_count) = (Settings::<F>::UNSET.overlays, 0);
        }
    })
}

pub fn ends<F: Scene>(peer: F::Addr, own: F::Addr) -> Ends<F> {
    Ends { peer, own }
}

/// A flow as seen from the host.
pub fn flow<F: Scene>(protocol: u8, own: (F::Addr, u16), peer: (F::Addr, u16)) -> Flow<F> {
    let [sport, dport] = [own.1, peer.1].map(u16::to_be_bytes);
    Flow { src: own.0, dst: peer.0, sport, dport, protocol: protocol.into() }
}

/// The key of a flow with a member: the same on every path to it.
pub fn member_flow<F: Scene>(protocol: u8, own: u16, peer: (F::Addr, u16)) -> Flow<F> {
    flow(protocol, (F::UNSPECIFIED, own), peer)
}

/// Notes a hint, `age` seconds old.
pub fn hint<F: Scene>(world: &World<F>, class: Class, flow: Flow<F>, ends: Ends<F>, age: u64) {
    let seen = world.now.get() - age * 1_000_000_000;
    let hint = Hint { seen, ends, state: 0 };
    world.hints.borrow_mut().insert((class, flow), hint);
}

/// The port on the wire of the twin that [`twin`] notes.
pub const TWIN: u16 = 61_500;

/// Notes that the host's overlay connection between these ports has another one on the wire, [`TWIN`].
pub fn twin<F: Scene>(world: &mut World<F>, own: u16, far: u16) {
    let port = TwinOut { port: TWIN.to_be_bytes(), _pad: [0; 2] };
    let socket = flow(TCP, (F::OWN_OVERLAY, own), (F::FAR_OVERLAY, far));
    world.twins_out.get_mut().insert(socket, port);
    let twin = TwinIn::new(ends(F::FAR_OVERLAY, F::OWN_OVERLAY), own.to_be_bytes());
    world.twins_in.get_mut().insert(member_flow(TCP, TWIN, (F::FAR_OVERLAY, far)), twin);
}

/// A frame with an EtherType of its own.
pub fn frame(to: [u8; 6], from: [u8; 6], ethertype: u16, body: &[u8]) -> Vec<u8> {
    [&to[..], &from, &ethertype.to_be_bytes(), body].concat()
}

/// A packet that the host sends by its gateway.
pub fn out<F: Scene>(packet: &Packet<F>) -> Vec<u8> {
    frame(ROUTER_MAC, OWN_MAC, F::ETHERTYPE, &packet.bytes())
}

/// A packet that arrives from the gateway.
pub fn come<F: Scene>(packet: &Packet<F>) -> Vec<u8> {
    frame(OWN_MAC, ROUTER_MAC, F::ETHERTYPE, &packet.bytes())
}

/// A frame with VLAN tags of these ids.
pub fn tagged(frame: &[u8], ids: &[u16]) -> Vec<u8> {
    harness::packets::tagged(frame, ids)
}
