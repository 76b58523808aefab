//! The maps: their names, keys and values, as both sides see them.
//!
//! Addresses and ports are bytes in network order, exactly as on the wire; counts, times and port *bounds* are native
//! integers and say so. Every type is `repr(C)` without implicit padding, so that the kernel may compare keys bytewise;
//! the tests hold sizes and offsets. A change of any of them raises [`LAYOUT`].

use core::mem::offset_of;

use crate::family::Family;

pub mod bloom;
mod drops;
pub mod hops;
pub mod name;

pub use drops::{Budget, DropKey, Dropped, Notes};

/// Version of everything in this file; part of the pin path, so that no program ever meets maps of another shape.
pub const LAYOUT: u32 = 6;

/// Overlay addresses a host can have: its own and service addresses.
pub const OVERLAYS: usize = 8;
/// Real addresses of a host that we keep: its private and its public one.
pub const REALS: usize = 2;
/// Overlay ranges of a fleet.
pub const RANGES: usize = 4;
/// Ranges from which ssh is never refused.
pub const FAILSAFES: usize = 8;
/// Registry endpoints that are never refused.
pub const ENDPOINTS: usize = 8;

/// Classes of services that the rules of one host can tell apart, and sets of them.
pub const CLASSES: u32 = 2_048;
pub const SETS: u32 = 4_096;
/// Words of one slot of [`name::CLASSES`]: four classes of 16 bits each, the first in the lowest bits.
pub const CLASS_WORDS: u32 = service::COUNT / 4;
/// Words of one set, and of one slot of [`name::SETS`]: bit `n % 64` of word `n / 64` is class `n`.
pub const SET_WORDS: u32 = CLASSES / 64;
pub const SLOT_SETS_WORDS: u32 = SETS * SET_WORDS;
/// Real addresses of members, and overlay addresses, of each family: 131,000 members with a private and a public address.
/// Hosts of larger fleets make larger maps of them.
pub const MEMBERS_KEPT: u32 = 262_144;
/// Sources between which the rules of one host can tell, markers included: see [`Range`].
pub const RANGES_KEPT: u32 = 262_144;
/// Roles and hosts that the rules of one host name.
pub const SUBJECTS_KEPT: u32 = 16_384;
/// Sources of drops that are remembered of each family: see [`DropKey`].
pub const DROPS: u32 = 8_192;

/// Words of [`name::VLANS`].
pub const VLAN_WORDS: u32 = 4_096 / 64;

/// What the filter does with what nothing admits ([`Settings::mode`]).
pub mod mode {
    /// Let it pass and count it as would-drop.
    pub const OBSERVE: u8 = 0;
    /// Drop it.
    pub const ENFORCE: u8 = 1;
}

/// Services: what rules speak of. A TCP port, a UDP port, or any other protocol as a whole has a number.
pub mod service {
    use crate::headers::{TCP, UDP};

    /// How many there are: 65,536 TCP ports, then as many UDP ports, then the protocols.
    pub const COUNT: u32 = 2 * 65_536 + 256;
    /// The first UDP port and the first protocol.
    pub const FIRST_UDP: u32 = 65_536;
    pub const FIRST_PROTOCOL: u32 = 2 * 65_536;

    /// The number of the service behind `port` (native order), which counts for TCP and UDP only.
    #[inline(always)]
    pub const fn of(protocol: u8, port: u16) -> u32 {
        match protocol {
            TCP => port as u32,
            UDP => FIRST_UDP + port as u32,
            _ => FIRST_PROTOCOL + protocol as u32,
        }
    }
}

/// Sets of classes ([`name::SETS`]).
pub mod set {
    /// What is open to anyone.
    pub const ANYONE: u32 = 0;
    /// No set: there is nothing in it.
    pub const NONE: u32 = u32::MAX;
}

/// Words of [`name::MIXED`]: whether sockets may have names of a mixed form, one end overlay and one real. None has one while
/// `CLEARED` is one more than `LEFT`.
pub mod mixed {
    /// Packets of our own that have left in such a form.
    pub const LEFT: u32 = 0;
    /// Written by the daemon: one more than `LEFT`, if that stood still from before it has looked at all sockets a first time
    /// until it has a second time, and no socket was of such a form.
    pub const CLEARED: u32 = 1;
}

/// Whom [`Settings::members`] lets in.
pub mod members {
    /// Every member, to whatever it asks for.
    pub const ALL: u8 = 0;
    /// By the set of its role.
    pub const BY_ROLE: u8 = 1;
    /// By its own set, if it has one, and by that of its role.
    pub const BY_HOST: u8 = 2;
}

/// Bits of [`Member::flags`].
pub mod member_flag {
    /// Not a member, but an address that an overlay address stands for: it has names, and no rights.
    pub const OVERRIDE: u8 = 1;
}

/// What an inbound flow is taken for where no socket and no hint decides ([`Settings::identity`]).
pub mod identity {
    /// Servers see real addresses.
    pub const REAL: u8 = 0;
    /// Servers see overlay addresses.
    pub const OVERLAY: u8 = 1;
}

/// Bits of [`Path::flags`].
pub mod path_flag {
    /// The overlay route's next hop may be wrong for this peer: it is on-link, behind another router, or of a family without a
    /// gateway.
    pub const REDIRECT: u8 = 1;
}

/// A network prefix. [`Prefix::NONE`] matches no address.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix<F: Family> {
    /// Network address; host bits are zero.
    pub network: F::Addr,
    pub mask: F::Addr,
}

impl<F: Family> Prefix<F> {
    pub const NONE: Self = Self { network: F::ALL_ONES, mask: F::UNSPECIFIED };

    #[inline(always)]
    pub fn contains(&self, address: &F::Addr) -> bool {
        F::within(address, &self.network, &self.mask)
    }
}

/// A server that must stay reachable whatever the rules say.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint<F: Family> {
    /// [`Family::UNSPECIFIED`] in an unused entry.
    pub address: F::Addr,
    /// TCP port, network order.
    pub port: [u8; 2],
    pub _pad: [u8; 6],
}

impl<F: Family> Endpoint<F> {
    /// An unused entry.
    pub const NONE: Self = Self { address: F::UNSPECIFIED, port: [0; 2], _pad: [0; 6] };
}

/// Who we are on this uplink and what holds for the whole fleet.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings<F: Family> {
    /// Our own real addresses on the uplink; the first is the one we send from. Unused: [`Family::UNSPECIFIED`].
    pub reals: [F::Addr; REALS],
    /// Our own overlay addresses, the primary one first. Unused: [`Family::UNSPECIFIED`].
    pub overlays: [F::Addr; OVERLAYS],
    /// The fleet's overlay ranges, followed by [`Prefix::NONE`].
    pub ranges: [Prefix<F>; RANGES],
    /// Where ssh to us is always let in from. Unused: [`Prefix::NONE`].
    pub failsafe: [Prefix<F>; FAILSAFES],
    /// The registry's own endpoints.
    pub endpoints: [Endpoint<F>; ENDPOINTS],
    /// Interface index of the uplink.
    pub uplink: u32,
    /// First port of the range reserved for twins, native order.
    pub twin_first: u16,
    /// Last port of the range reserved for twins, native order.
    pub twin_last: u16,
    /// A [`mode`].
    pub mode: u8,
    /// An [`identity`].
    pub identity: u8,
    /// 1: strangers may ping us.
    pub echo: u8,
    /// 1 once the daemon has written this slot; until then nothing is judged.
    pub valid: u8,
    /// The slot of the rules that go with these settings, in all maps that have slots.
    pub slot: u32,
    /// Where the search for a source begins: see [`Range::rope`].
    pub rope: u64,
    /// The [`set`] of sources that no range holds.
    pub anywhere: u32,
    /// The [`set`] of members whose role no rule names.
    pub others: u32,
    /// One of [`members`].
    pub members: u8,
    pub _pad: [u8; 7],
}

impl<F: Family> Settings<F> {
    /// No address, no range, observe: what the daemon starts from. A slot that was never written is all zeros instead,
    /// and its prefixes would contain everything.
    pub const UNSET: Self = Self {
        reals: [F::UNSPECIFIED; REALS],
        overlays: [F::UNSPECIFIED; OVERLAYS],
        ranges: [Prefix::NONE; RANGES],
        failsafe: [Prefix::NONE; FAILSAFES],
        endpoints: [Endpoint::NONE; ENDPOINTS],
        uplink: 0,
        twin_first: 0,
        twin_last: 0,
        mode: mode::OBSERVE,
        identity: identity::REAL,
        echo: 0,
        valid: 0,
        slot: 0,
        rope: 0,
        anywhere: set::NONE,
        others: set::NONE,
        members: members::ALL,
        _pad: [0; 7],
    };
}

impl<F: Family> Settings<F> {
    /// Whether an address lies in one of the fleet's overlay ranges.
    #[inline(always)]
    pub fn is_overlay(&self, address: &F::Addr) -> bool {
        for range in &self.ranges {
            if range.contains(address) {
                return true;
            }
            // Those that are unused come last.
            if range.mask == F::UNSPECIFIED {
                return false;
            }
        }
        false
    }

    /// Whether an address is one of our own overlay addresses.
    #[inline(always)]
    pub fn is_own_overlay(&self, address: &F::Addr) -> bool {
        self.overlays.iter().any(|own| own == address)
    }

    /// Whether an address is one of our own real addresses on the uplink.
    #[inline(always)]
    pub fn is_own_real(&self, address: &F::Addr) -> bool {
        self.reals.iter().any(|own| own == address)
    }
}

/// A peer, found by one of its real addresses.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<F: Family> {
    /// Repeats the key: the kernel may reuse an element while it is read, so it is checked after the read.
    pub real: F::Addr,
    /// Its overlay addresses, the primary one first. Unused: [`Family::UNSPECIFIED`].
    pub overlays: [F::Addr; OVERLAYS],
    /// The daemon's number for this host, the same in its [`Path`]s.
    pub host: u32,
    /// Fences a moved overlay address.
    pub generation: u32,
    /// Number of its role; 0 is no role.
    pub role: u32,
    /// How many of `overlays` are used.
    pub overlay_count: u8,
    /// Bits of [`member_flag`].
    pub flags: u8,
    pub _pad: [u8; 2],
}

impl<F: Family> Member<F> {
    /// Whether it is one, and not an address that an overlay address merely stands for.
    #[inline(always)]
    pub fn is_member(&self) -> bool {
        self.flags & member_flag::OVERRIDE == 0
    }
}

/// How to reach a peer, found by one of its overlay addresses.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<F: Family> {
    /// Repeats the key, as in [`Member`].
    pub overlay: F::Addr,
    /// Where packets for it go.
    pub real: F::Addr,
    /// All its real addresses, `real` among them. Unused: [`Family::UNSPECIFIED`].
    pub reals: [F::Addr; REALS],
    /// Its primary overlay address.
    pub primary: F::Addr,
    /// As in [`Member`].
    pub host: u32,
    /// As in [`Member`].
    pub generation: u32,
    /// Bits of [`path_flag`].
    pub flags: u8,
    pub _pad: [u8; 7],
}

/// A source prefix, in one of the slots.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RangeKey<F: Family> {
    /// Host bits are zero.
    pub network: F::Addr,
    /// In bits, from 1.
    pub length: u32,
    pub slot: u32,
}

/// What is known of a source prefix: it is in the rules, or a marker that longer ones are.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Where a source in this prefix is looked for next: prefix lengths, the first in the lowest byte, to be tried one after
    /// another until one is found, which has a rope of its own; 0 ends it.
    pub rope: u64,
    /// The [`set`] of the longest prefix of the rules that holds this one.
    pub set: u32,
    pub _pad: [u8; 4],
}

/// Members that rules name, in one of the slots.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectKey {
    pub slot: u32,
    /// [`members::BY_ROLE`] or [`members::BY_HOST`]: what `number` is of.
    pub kind: u32,
    /// As [`Member::role`] or [`Member::host`].
    pub number: u32,
}

/// A flow's ends, as seen from this host: `src` is always ours, `dst` always the peer's. Seen from the peer, its first part
/// is what `bpf_skc_lookup_tcp` takes (`struct bpf_sock_tuple`).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow<F: Family> {
    pub src: F::Addr,
    pub dst: F::Addr,
    /// Network order; ICMP echo: the identifier in both.
    pub sport: [u8; 2],
    pub dport: [u8; 2],
    /// IP protocol number, native order: a word, because LLVM calls a function to zero three bytes of padding.
    pub protocol: u32,
}

impl<F: Family> Flow<F> {
    /// The length of its first part, the addresses and ports.
    pub const TUPLE: usize = offset_of!(Self, protocol);

    /// The protocol, one byte as on the wire.
    #[inline(always)]
    pub fn transport(&self) -> u8 {
        self.protocol as u8
    }

    /// The same flow, seen from the other end.
    #[inline(always)]
    pub fn reversed(&self) -> Self {
        Self { src: self.dst, dst: self.src, sport: self.dport, dport: self.sport, ..*self }
    }
}

/// How the sockets (or the containers) name the two ends of a flow: in overlay or real addresses.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends<F: Family> {
    pub peer: F::Addr,
    pub own: F::Addr,
}

/// A flow that no socket stands for. Key: the flow as on the wire; of a member its [`crate::hints::member_key`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint<F: Family> {
    /// `CLOCK_MONOTONIC`, nanoseconds, of its last packet out.
    pub seen: u64,
    pub ends: Ends<F>,
    /// One of [`crate::hints::state`].
    pub state: u64,
}

/// A datagram in fragments, as on the wire.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FragmentKey<F: Family> {
    pub src: F::Addr,
    pub dst: F::Addr,
    /// Network order; IPv4 has its 16 bits first, then zeros.
    pub id: [u8; 4],
    /// As in [`Flow`]; 0 where the identification alone tells datagrams apart ([`Family::ID_PER_PROTOCOL`]).
    pub protocol: u32,
}

/// What was decided for the first fragment of a datagram that was let in.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fragment<F: Family> {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub seen: u64,
    pub ends: Ends<F>,
}

/// The port a twin has on the wire. Key: the flow as its socket names it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwinOut {
    /// Network order.
    pub port: [u8; 2],
    pub _pad: [u8; 2],
}

/// The flow behind a port on the wire that twins contend for: the port that one of them got, or the one that the other
/// has by itself. Key: the flow's [`crate::hints::member_key`].
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwinIn<F: Family> {
    pub ends: Ends<F>,
    /// The socket's own port as it lies in memory in network order, then zeros: a word, as in [`Flow`].
    port: u64,
}

impl<F: Family> TwinIn<F> {
    #[inline(always)]
    pub fn new(ends: Ends<F>, port: [u8; 2]) -> Self {
        Self { ends, port: u16::from_ne_bytes(port) as u64 }
    }

    #[inline(always)]
    pub fn port(&self) -> [u8; 2] {
        (self.port as u16).to_ne_bytes()
    }
}

/// Packets and bytes (from the link layer on) of one verdict.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counter {
    pub packets: u64,
    pub bytes: u64,
}

#[cfg(feature = "user")]
mod pod {
    //! aya's promise that a type is plain bytes.
    use super::*;

    macro_rules! pod {
        ($($type:ty),* $(,)?) => {$(
            // SAFETY: repr(C), every field plain bytes or integers, padding explicit (see the layout tests).
            unsafe impl aya::Pod for $type {}
        )*};
    }

    macro_rules! pod_of_family {
        ($($type:ident),* $(,)?) => {$(
            // SAFETY: as above; a family's addresses are `Plain`.
            unsafe impl<F: Family> aya::Pod for $type<F> {}
        )*};
    }

    pod!(hops::Hop, Range, SubjectKey, Dropped, Notes, TwinOut, Counter);
    pod_of_family!(
        Settings,
        Member,
        Path,
        RangeKey,
        DropKey,
        Flow,
        Hint,
        FragmentKey,
        Fragment,
        TwinIn
    );
}

#[cfg(test)]
mod tests;
