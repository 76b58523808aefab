//! Map names. The kernel keeps 15 characters.

use crate::tables::Class;

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

impl FamilyMaps {
    /// The hints of a class.
    pub const fn hints(&self, class: Class) -> &'static str {
        match class {
            Class::LocalMember => self.hints_local_member,
            Class::LocalStranger => self.hints_local_stranger,
            Class::ForwardMember => self.hints_forward_member,
            Class::ForwardStranger => self.hints_forward_stranger,
        }
    }
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
