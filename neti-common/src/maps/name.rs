//! Map names. The kernel keeps 15 characters.

use crate::tables::Class;

/// `Array<u32>`, 1: which slot of the settings is in force, in both families.
pub const SETTINGS_SLOT: &str = "settings_slot";
/// `Array<u64>`, 2 slots of [`super::CLASS_WORDS`]: the class of each [`super::service`]; 0 is no rule's.
pub const CLASSES: &str = "classes";
/// `Array<u64>`, 2 slots of [`super::SLOT_SETS_WORDS`]: sets of classes.
pub const SETS: &str = "sets";
/// `HashMap<SubjectKey, u32>`: the set that a member may reach.
pub const SUBJECTS: &str = "subjects";
/// `PerCpuArray<Notes>`, 1: how many drops were noted, and were not.
pub const NOTES: &str = "notes";
/// `Array<u64>`, [`super::VLAN_WORDS`]: a bit per VLAN id that has an interface on the uplink.
pub const VLANS: &str = "vlans";
/// `Array<u32>`, 1: not 0 while the twins maps may have entries.
pub const TWINS_USED: &str = "twins_used";
/// `Array<u64>`, 2: whether sockets may have names of a mixed form ([`super::mixed`]).
pub const MIXED: &str = "mixed";
/// `Array<Hop>`, [`super::hops::ENTRIES`]: the hardware addresses of next hops.
pub const HOPS: &str = "hops";
/// `PerCpuArray<Counter>`, indexed by [`crate::verdict::counter_index`].
pub const COUNTERS: &str = "counters";
/// `ProgramArray`, [`PROGRAMS`]: the XDP programs that others hand over to.
pub const XDP_PROGRAMS: &str = "xdp_programs";
/// `ProgramArray`, [`PROGRAMS`]: the tc programs that others hand over to.
pub const TC_PROGRAMS: &str = "tc_programs";

/// Who is where in both of them: what arrives or leaves and is IPv6, and what is noted.
pub const ARRIVES6: u32 = 0;
pub const LEAVES6: u32 = 1;
pub const NOTE: u32 = 2;
pub const PROGRAMS: u32 = 3;

/// The names of the maps that hold addresses, which each family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FamilyMaps {
    /// `Array<Settings>`, 2 slots: the daemon writes the idle one, then flips [`SETTINGS_SLOT`]; a value this wide
    /// would tear under a reader.
    pub settings: &'static str,
    /// `HashMap<Addr, Member>`: real -> overlay.
    pub members: &'static str,
    /// `Array<u64>`, [`super::bloom::WORDS`]: which addresses may be in `members`.
    pub bloom: &'static str,
    /// `HashMap<Addr, Path>`: overlay -> real.
    pub overlays: &'static str,
    /// `HashMap<RangeKey, Range>`: what sources may reach, 2 slots.
    pub ranges: &'static str,
    /// `LruHashMap<DropKey, Dropped>`: whose packets were dropped.
    pub drops: &'static str,
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
    bloom: "bloom4",
    overlays: "overlays4",
    ranges: "ranges4",
    drops: "drops4",
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
    bloom: "bloom6",
    overlays: "overlays6",
    ranges: "ranges6",
    drops: "drops6",
    hints_local_member: "hints_lm6",
    hints_local_stranger: "hints_ls6",
    hints_forward_member: "hints_fm6",
    hints_forward_stranger: "hints_fs6",
    fragments: "fragments6",
    twins_out: "twins_out6",
    twins_in: "twins_in6",
};
