//! The maps: their names, keys and values, as both sides see them.
//!
//! Addresses and ports are bytes in network order, exactly as on the wire; counts, times and port *bounds* are native
//! integers and say so. Every type is `repr(C)` without implicit padding, so that the kernel may compare keys bytewise;
//! the tests at the end hold sizes and offsets. A change of any of them raises [`LAYOUT`].

use core::mem::offset_of;

use crate::family::Family;

/// Version of everything in this file; part of the pin path, so that no program ever meets maps of another shape.
pub const LAYOUT: u32 = 2;

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
/// Protocol/port entries of one allow rule.
pub const ALLOW_ENTRIES: usize = 8;

/// Map names. The kernel keeps 15 characters.
pub mod name {
    /// `Array<u32>`, 1: which slot of the settings is in force, in both families.
    pub const SETTINGS_SLOT: &str = "settings_slot";
    /// `Array<u64>`, [`super::OPEN_PORT_WORDS`]: a bit per open port, TCP's first, then UDP's.
    pub const OPEN_PORTS: &str = "open_ports";
    /// `Array<u64>`, [`super::VLAN_WORDS`]: a bit per VLAN id that has an interface on the uplink.
    pub const VLANS: &str = "vlans";
    /// `Array<u32>`, 1: not 0 while the twins maps may have entries.
    pub const TWINS_USED: &str = "twins_used";
    /// `PerCpuArray<Counter>`, indexed by [`crate::verdict::counter_index`].
    pub const COUNTERS: &str = "counters";
    /// `ProgramArray`, 1: the XDP program for IPv6.
    pub const XDP_IPV6: &str = "xdp_ipv6";
    /// `ProgramArray`, 2: the tc programs for IPv6, ingress first.
    pub const TC_IPV6: &str = "tc_ipv6";

    /// The names of the maps that hold addresses, which each family has.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct FamilyMaps {
        /// `Array<Settings>`, 2 slots: the daemon writes the idle one, then flips [`SETTINGS_SLOT`]; a value this wide
        /// would tear under a reader.
        pub settings: &'static str,
        /// `HashMap<Addr, Member>`: real -> overlay.
        pub members: &'static str,
        /// `HashMap<Addr, Path>`: overlay -> real.
        pub overlays: &'static str,
        /// `LpmTrie<Addr, Allow>`: allow rules by source.
        pub allow: &'static str,
        /// `LruHashMap<Flow, Hint>`: the host's own flows to members.
        pub hints_local_member: &'static str,
        /// `LruHashMap<Flow, Hint>`: the host's own flows to strangers.
        pub hints_local_stranger: &'static str,
        /// `LruHashMap<Flow, Hint>`: forwarded flows to members.
        pub hints_forward_member: &'static str,
        /// `LruHashMap<Flow, Hint>`: forwarded flows to strangers.
        pub hints_forward_stranger: &'static str,
        /// `LruHashMap<FragmentKey, Fragment>`: what was decided for a datagram's first fragment.
        pub fragments: &'static str,
        /// `HashMap<Flow, TwinOut>`: flow as its socket names it -> the port it has on the wire.
        pub twins_out: &'static str,
        /// `HashMap<Flow, TwinIn>`: port on the wire -> the flow as its socket names it.
        pub twins_in: &'static str,
    }

    pub const V4: FamilyMaps = FamilyMaps {
        settings: "settings4",
        members: "members4",
        overlays: "overlays4",
        allow: "allow4",
        hints_local_member: "hints_lm4",
        hints_local_stranger: "hints_ls4",
        hints_forward_member: "hints_fm4",
        hints_forward_stranger: "hints_fs4",
        fragments: "fragments4",
        twins_out: "twins_out4",
        twins_in: "twins_in4",
    };

    pub const V6: FamilyMaps = FamilyMaps {
        settings: "settings6",
        members: "members6",
        overlays: "overlays6",
        allow: "allow6",
        hints_local_member: "hints_lm6",
        hints_local_stranger: "hints_ls6",
        hints_forward_member: "hints_fm6",
        hints_forward_stranger: "hints_fs6",
        fragments: "fragments6",
        twins_out: "twins_out6",
        twins_in: "twins_in6",
    };
}

/// Words of [`name::OPEN_PORTS`]: 65,536 TCP and 65,536 UDP ports.
pub const OPEN_PORT_WORDS: u32 = 2 * 65_536 / 64;
/// Words of [`name::VLANS`].
pub const VLAN_WORDS: u32 = 4_096 / 64;

/// What the filter does with what nothing admits ([`Settings::mode`]).
pub mod mode {
    /// Let it pass and count it as would-drop.
    pub const OBSERVE: u8 = 0;
    /// Drop it.
    pub const ENFORCE: u8 = 1;
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
    /// The overlay route's next hop is wrong for this peer (it is on-link): send it to the peer's own neighbour entry.
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

/// Who we are on this uplink and what holds for the whole fleet.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings<F: Family> {
    /// Our own real addresses on the uplink; the first is the one we send from. Unused: [`Family::UNSPECIFIED`].
    pub reals: [F::Addr; REALS],
    /// Our own overlay addresses, the primary one first. Unused: [`Family::UNSPECIFIED`].
    pub overlays: [F::Addr; OVERLAYS],
    /// The fleet's overlay ranges. Unused: [`Prefix::NONE`].
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
    pub _pad: [u8; 4],
}

impl<F: Family> Settings<F> {
    /// No address, no range, observe: what the daemon starts from. A slot that was never written is all zeros instead,
    /// and its prefixes would contain everything.
    pub const UNSET: Self = Self {
        reals: [F::UNSPECIFIED; REALS],
        overlays: [F::UNSPECIFIED; OVERLAYS],
        ranges: [Prefix::NONE; RANGES],
        failsafe: [Prefix::NONE; FAILSAFES],
        endpoints: [Endpoint { address: F::UNSPECIFIED, port: [0; 2], _pad: [0; 6] }; ENDPOINTS],
        uplink: 0,
        twin_first: 0,
        twin_last: 0,
        mode: mode::OBSERVE,
        identity: identity::REAL,
        echo: 0,
        valid: 0,
        _pad: [0; 4],
    };
}

impl<F: Family> Settings<F> {
    /// Whether an address lies in one of the fleet's overlay ranges.
    #[inline(always)]
    pub fn is_overlay(&self, address: &F::Addr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
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
    /// Repeats the key: a preallocated element may be reused while it is read, so it is checked after the read.
    pub real: F::Addr,
    /// Its overlay addresses, the primary one first. Unused: [`Family::UNSPECIFIED`].
    pub overlays: [F::Addr; OVERLAYS],
    /// The daemon's number for this host, the same in its [`Path`]s.
    pub host: u32,
    /// Fences a moved overlay address.
    pub generation: u32,
    /// Number of its role in the fleet settings; 0 is no role.
    pub role: u16,
    /// How many of `overlays` are used.
    pub overlay_count: u8,
    pub flags: u8,
    pub _pad: [u8; 4],
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

/// One protocol and port range of an allow rule.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct AllowEntry {
    /// First port, native order.
    pub first: u16,
    /// Last port, native order; 65,535 with `first` 0 for protocols without ports.
    pub last: u16,
    /// IP protocol number; [`AllowEntry::ANY_PROTOCOL`] for all.
    pub protocol: u8,
    pub _pad: u8,
}

impl AllowEntry {
    /// In [`AllowEntry::protocol`]: every protocol. (255 is reserved by IANA, 0 is hop-by-hop options.)
    pub const ANY_PROTOCOL: u8 = 255;
}

/// What a source prefix may reach. The longest prefix alone answers, so the daemon merges the rules of the shorter ones
/// into it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allow {
    /// How many of `entries` are used.
    pub count: u32,
    pub entries: [AllowEntry; ALLOW_ENTRIES],
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

    pod!(Allow, TwinOut, Counter);
    pod_of_family!(Settings, Member, Path, Flow, Hint, FragmentKey, Fragment, TwinIn);
}

#[cfg(test)]
mod tests {
    use core::mem::size_of;

    use super::*;
    use crate::family::{V4, V6};

    #[test]
    fn layout_is_fixed() {
        assert_eq!(size_of::<Settings<V4>>(), 8 + 32 + 32 + 64 + 96 + 16);
        assert_eq!(offset_of!(Settings<V4>, uplink), 232);
        assert_eq!(size_of::<Member<V4>>(), 52);
        assert_eq!(offset_of!(Member<V4>, host), 36);
        assert_eq!(size_of::<Path<V4>>(), 36);
        assert_eq!(size_of::<Allow>(), 52);
        assert_eq!(Flow::<V4>::TUPLE, 12);
        assert_eq!(size_of::<Flow<V4>>(), 16);
        assert_eq!(size_of::<Hint<V4>>(), 24);
        assert_eq!(size_of::<FragmentKey<V4>>(), 16);
        assert_eq!(size_of::<Fragment<V4>>(), 16);
        assert_eq!(size_of::<TwinOut>(), 4);
        assert_eq!(size_of::<TwinIn<V4>>(), 16);
        assert_eq!(size_of::<Counter>(), 16);

        assert_eq!(size_of::<Settings<V6>>(), 32 + 128 + 128 + 256 + 192 + 16);
        assert_eq!(offset_of!(Settings<V6>, uplink), 736);
        assert_eq!(size_of::<Member<V6>>(), 160);
        assert_eq!(offset_of!(Member<V6>, host), 144);
        assert_eq!(size_of::<Path<V6>>(), 96);
        assert_eq!(Flow::<V6>::TUPLE, 36);
        assert_eq!(size_of::<Flow<V6>>(), 40);
        assert_eq!(size_of::<Hint<V6>>(), 48);
        assert_eq!(size_of::<FragmentKey<V6>>(), 40);
        assert_eq!(size_of::<Fragment<V6>>(), 40);
        assert_eq!(size_of::<TwinIn<V6>>(), 40);
    }

    #[test]
    fn none_prefix_contains_nothing() {
        for address in [[0, 0, 0, 0], [255, 255, 255, 255], [10, 0, 0, 1]] {
            assert!(!Prefix::<V4>::NONE.contains(&address));
        }
        let prefix = Prefix::<V4> { network: [10, 1, 0, 0], mask: V4::mask(16) };
        assert!(prefix.contains(&[10, 1, 255, 7]));
        assert!(!prefix.contains(&[10, 2, 0, 0]));
        assert_eq!(V4::mask(0), [0; 4]);
        assert_eq!(V4::mask(32), [255; 4]);
    }
}
