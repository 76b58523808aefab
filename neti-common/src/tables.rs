//! What the datapath may ask of the host it runs on: the maps that the daemon fills, the kernel's socket table, and the
//! small tables that the datapath keeps itself.

use crate::{
    family::Family,
    headers::{Ip, TCP},
    maps::{
        DropKey, Flow, Fragment, FragmentKey, Hint, Member, Path, Range, RangeKey, Settings,
        SubjectKey, TwinIn, TwinOut, hops::Mac,
    },
};

/// What the socket table has for a tuple.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Socket {
    None,
    /// A TCP listener or unconnected UDP socket on all addresses.
    Wildcard,
    /// A TCP listener or unconnected UDP socket on this very address.
    Specific,
    /// A half-open connection: a request that our listener has answered (`TCP_NEW_SYN_RECV`).
    HalfOpen,
    /// A connection in any other state, TIME-WAIT included, or a connected UDP socket.
    Live,
}

/// The classes of hints. Each has a bounded table of its own, so that no class evicts another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    LocalMember,
    LocalStranger,
    ForwardMember,
    ForwardStranger,
}

impl Class {
    #[inline(always)]
    pub fn of(forwarded: bool, member: bool) -> Self {
        match (forwarded, member) {
            (false, true) => Self::LocalMember,
            (false, false) => Self::LocalStranger,
            (true, true) => Self::ForwardMember,
            (true, false) => Self::ForwardStranger,
        }
    }
}

/// Whose header it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    Packet,
    Quoted,
}

/// The tables. References and lookups are those of one packet's run; times are `CLOCK_MONOTONIC` nanoseconds.
pub trait Tables<F: Family> {
    /// `None` until the daemon has written them.
    fn settings(&self) -> Option<&Settings<F>>;
    /// The member that has this real address.
    fn member(&self, real: &F::Addr) -> Option<&Member<F>>;
    /// The member that has this real address, if it has an overlay address too: one that has none is let in, and there is
    /// nothing to translate.
    #[inline(always)]
    fn translated(&self, real: &F::Addr) -> Option<&Member<F>> {
        self.member(real).filter(|member| member.overlay_count != 0)
    }
    /// The path to the member that has this overlay address.
    fn path(&self, overlay: &F::Addr) -> Option<&Path<F>>;
    /// What is known of a source prefix.
    fn range(&self, key: &RangeKey<F>) -> Option<Range>;
    /// The class of a [`crate::maps::service`].
    fn class(&self, slot: u32, service: u32) -> u32;
    /// Whether a class is in a [`crate::maps::set`].
    fn has_class(&self, slot: u32, set: u32, class: u32) -> bool;
    /// The set that members with this role or host number may reach, if rules name them.
    fn subject(&self, key: &SubjectKey) -> Option<u32>;
    /// Whether the uplink has an interface for this VLAN.
    fn has_vlan(&self, id: u16) -> bool;

    /// The TCP socket that a packet of this flow, seen from the peer, would reach.
    fn tcp_socket(&self, inbound: &Flow<F>) -> Socket;
    /// The UDP socket that a packet of this flow, seen from the peer, would reach.
    fn udp_socket(&self, inbound: &Flow<F>) -> Socket;
    /// The one of the two that a flow of this protocol, one of theirs, would reach.
    #[inline(always)]
    fn socket(&self, protocol: u8, inbound: &Flow<F>) -> Socket {
        if protocol == TCP { self.tcp_socket(inbound) } else { self.udp_socket(inbound) }
    }

    fn hint(&self, class: Class, flow: &Flow<F>) -> Option<Hint<F>>;
    fn keep_hint(&self, class: Class, flow: &Flow<F>, hint: &Hint<F>);
    /// Changes a hint in place, if it is still there.
    fn update_hint(&self, class: Class, flow: &Flow<F>, seen: u64, state: u64);
    fn fragment(&self, key: &FragmentKey<F>) -> Option<Fragment<F>>;
    fn keep_fragment(&self, key: &FragmentKey<F>, fragment: &Fragment<F>);

    /// Notes a drop, or one that `would` have been.
    fn note(&self, key: &DropKey<F>, would: bool);
    /// When such a packet was noted last.
    fn noted(&self, key: &DropKey<F>) -> Option<u64>;

    /// Whether sockets may have names of a mixed form. One that is connected and has not sent anything counts when the daemon
    /// has found it, within a minute or so.
    fn has_mixed(&self) -> bool;
    /// Notes that one has.
    fn note_mixed(&self);

    /// The hardware address of the next hop to this peer, if a packet went there a moment ago.
    fn hop(&self, real: &F::Addr) -> Option<Mac>;
    /// Keeps the one that a packet goes to.
    fn keep_hop(&self, real: &F::Addr, address: [u8; 6]);

    /// Whether the twins tables may have entries.
    fn has_twins(&self) -> bool;
    fn twin_out(&self, flow: &Flow<F>) -> Option<TwinOut>;
    fn twin_in(&self, flow: &Flow<F>) -> Option<TwinIn<F>>;
    /// Says which of twins a port on the wire belongs to.
    fn keep_twin_in(&self, wire: &Flow<F>, twin: &TwinIn<F>);
    /// Takes a port on the wire for a flow; `false` if it is taken or the table is full.
    fn claim_twin(&self, wire: &Flow<F>, twin: &TwinIn<F>) -> bool;
    /// Keeps the way to a port that was claimed; `false`, and the claim undone, if the table is full.
    fn keep_twin_out(&self, socket: &Flow<F>, wire: &Flow<F>) -> bool;

    /// The same header where it takes none of the kernel's stack, of which there are 512 bytes: there is a place for the
    /// packet's own and one for that of the packet that it quotes. `None` never comes, but the verifier cannot know.
    #[inline(always)]
    fn place<'a>(&'a self, _: Place, ip: &'a Ip<F>) -> Option<&'a Ip<F>> {
        Some(ip)
    }

    fn now(&self) -> u64;
    fn random(&self) -> u32;
}
