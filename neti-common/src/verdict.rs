//! What happened to a packet and why: one [`Reason`] for every end a packet can come to, and the counter it is counted
//! in.

/// A hook: the program that judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Hook {
    /// `neti_filter`, XDP.
    Filter = 0,
    /// `neti_ingress`, tc.
    Ingress = 1,
    /// `neti_egress`, tc.
    Egress = 2,
    /// `neti_guard`, tc on every other interface.
    Guard = 3,
}

impl Hook {
    pub const ALL: [Self; 4] = [Self::Filter, Self::Ingress, Self::Egress, Self::Guard];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::Guard => "guard",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal, $kind:ident;)+) => {
        /// Why a packet passed or was dropped.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name used in output, counters and help.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// One sentence for a reader of `neti show stats`.
            pub const fn explain(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+),)+ }
            }

            /// What becomes of a packet with this reason.
            pub const fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)+ }
            }
        }
    };
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It goes on.
    Pass,
    /// The filter refuses it: dropped under `enforce`, passed and counted as would-drop under `observe`.
    Refuse,
    /// It must not go on in any mode: it would forge or leak an overlay address.
    Drop,
}

// Their numbers stand in pinned maps (`counters`, `drops4`, `drops6`, `notes`): another order is another layout
// ([`crate::maps::LAYOUT`]).
reasons! {
    /// Not IP: ARP, or the layer-2 control traffic that a host needs.
    Link = "link", Pass;
    /// A VLAN that has an interface of its own on the uplink.
    OtherVlan = "other-vlan", Pass;
    /// IPv6 neighbour discovery, from the link itself.
    NeighbourDiscovery = "neighbour-discovery", Pass;
    /// IPv6 multicast listener discovery, from the link itself.
    ListenerDiscovery = "listener-discovery", Pass;
    /// Not for the overlay; goes on as it is.
    NotOurs = "not-ours", Pass;
    /// Addresses rewritten between overlay and real.
    Translated = "translated", Pass;
    /// Rewritten, and sent by another next hop than the overlay route has: the peer itself, or another router.
    Redirected = "redirected", Pass;
    /// Two UDP users of one fixed port, by overlay and direct, are one flow on the wire: answers go to the last to send.
    PortShared = "port-shared", Pass;
    /// From a member, in real addresses on both ends.
    Member = "member", Pass;
    /// From a member or an override that no rule lets in: neti_ingress finds out whether it is a reply.
    LeftToIngress = "left-to-ingress", Pass;
    /// Never refused: ssh from the failsafe ranges, DHCP, cloud metadata, the registry.
    Failsafe = "failsafe", Pass;
    /// Admitted by an allow rule.
    Allowed = "allowed", Pass;
    /// To an open port.
    OpenPort = "open-port", Pass;
    /// A reply: one of our sockets is connected to the sender.
    Reply = "reply", Pass;
    /// A reply to something that has no socket of its own: unconnected UDP, ping, a container.
    Hinted = "hinted", Pass;
    /// An ICMP error about a packet of ours.
    IcmpError = "icmp-error", Pass;
    /// A ping from a stranger, which the fleet lets in.
    Echo = "echo", Pass;
    /// A later fragment of a datagram that was let in.
    Fragment = "fragment", Pass;

    /// Neither IP nor ARP nor layer-2 control.
    Unparsed = "unparsed", Refuse;
    /// A VLAN that has no interface here.
    UnknownVlan = "unknown-vlan", Refuse;
    /// IPv6 whose program is missing; only a broken installation has it.
    Ipv6 = "ipv6", Refuse;
    /// A header that contradicts itself or is cut short.
    Malformed = "malformed", Refuse;
    /// IPv6 with more extension headers than we look behind: eight, or 128 bytes of them.
    LongChain = "long-chain", Refuse;
    /// IPv6 with a routing header that would send it on from here.
    RoutingHeader = "routing-header", Refuse;
    /// A flow begun by somebody who is not a member and whom no rule admits.
    Stranger = "stranger", Refuse;
    /// From a member whose role no rule lets in here.
    Role = "role", Refuse;
    /// TCP from a stranger that belongs to none of our connections.
    NotAReply = "not-a-reply", Refuse;
    /// An ICMP error about a packet that we did not send.
    IcmpUnrelated = "icmp-unrelated", Refuse;
    /// A stranger's later fragment whose first one was not seen.
    FragmentWithoutFirst = "fragment-without-first", Refuse;

    /// More than two VLAN tags: the kernel may strip them and find what was not judged.
    TooManyTags = "too-many-tags", Drop;
    /// An overlay address on the wire, or as a source behind another interface than the uplink.
    SpoofedOverlay = "spoofed-overlay", Drop;
    /// To an overlay address that no member has.
    UnknownOverlay = "unknown-overlay", Drop;
    /// From an overlay address to somebody who is not a member, or from an overlay address that is not ours.
    OverlaySource = "overlay-source", Drop;
    /// An IP option or routing header that would carry an overlay address onto the wire.
    OverlayOption = "overlay-option", Drop;
    /// No port found to tell this flow from its twin in the other form; a connection is reset.
    PortTwin = "port-twin", Drop;
    /// The packet could not be rewritten.
    RewriteFailed = "rewrite-failed", Drop;
}

/// What the hook does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// Leave it to whoever is next.
    Next,
    Drop,
    /// Send it by the same interface to the neighbour entry of its next hop, which the kernel looks up by its destination
    /// (`bpf_redirect_neigh`).
    Redirect,
    /// It was turned into a reset: give it back to the stack, untouched by ingress.
    Reset,
}

/// The end a packet comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    pub action: Action,
    pub reason: Reason,
    /// The packet was refused, but `observe` lets it pass.
    pub would: bool,
}

impl Verdict {
    /// The daemon has not written any settings: nothing is known, nothing is touched.
    pub const UNSET: Self = Self::pass(Reason::NotOurs);

    #[inline(always)]
    pub const fn pass(reason: Reason) -> Self {
        Self { action: Action::Next, reason, would: false }
    }

    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self { action: Action::Drop, reason, would: false }
    }

    #[inline(always)]
    pub const fn redirect() -> Self {
        Self { action: Action::Redirect, reason: Reason::Redirected, would: false }
    }

    #[inline(always)]
    pub const fn reset(reason: Reason) -> Self {
        Self { action: Action::Reset, reason, would: false }
    }

    /// Whether it is noted whose packet came to this end. What `observe` lets pass in XDP comes to `neti_ingress`, which would
    /// note it again. What leaves is the host's own, and who forges an overlay address elsewhere has no other.
    #[inline(always)]
    pub fn is_noted(self, hook: Hook) -> bool {
        let dropped = matches!(self.action, Action::Drop);
        match hook {
            Hook::Filter => dropped,
            Hook::Ingress => dropped || self.would,
            Hook::Egress | Hook::Guard => false,
        }
    }

    /// What a [`crate::maps::mode`] makes of a reason.
    #[inline(always)]
    pub const fn of(reason: Reason, mode: u8) -> Self {
        match reason.kind() {
            Kind::Pass => Self::pass(reason),
            Kind::Drop => Self::drop(reason),
            Kind::Refuse if mode == crate::maps::mode::ENFORCE => Self::drop(reason),
            Kind::Refuse => Self { action: Action::Next, reason, would: true },
        }
    }
}

/// Counters of one hook: a reason each, and each again for would-drop.
pub const REASONS: u32 = 64;
/// Entries of the counters map.
pub const COUNTERS: u32 = Hook::ALL.len() as u32 * 2 * REASONS;

/// Where `reason` is counted; `would` where `observe` let a refused packet pass.
#[inline(always)]
pub const fn counter_index(hook: Hook, reason: Reason, would: bool) -> u32 {
    (hook as u32 * 2 + would as u32) * REASONS + reason as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        assert!(Reason::ALL.len() <= REASONS as usize);
        let mut seen = std::collections::BTreeSet::new();
        let mut names = std::collections::BTreeSet::new();
        for (number, &reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason as usize, number);
            assert!(names.insert(reason.as_str()));
            for hook in Hook::ALL {
                for would in [false, true] {
                    let index = counter_index(hook, reason, would);
                    assert!(index < COUNTERS);
                    assert!(seen.insert(index));
                }
            }
        }
    }

    #[test]
    fn a_number_means_the_same_as_before() {
        // Pinned maps hold these numbers: if this changes, so must `LAYOUT`.
        let expected = [
            "link",
            "other-vlan",
            "neighbour-discovery",
            "listener-discovery",
            "not-ours",
            "translated",
            "redirected",
            "port-shared",
            "member",
            "left-to-ingress",
            "failsafe",
            "allowed",
            "open-port",
            "reply",
            "hinted",
            "icmp-error",
            "echo",
            "fragment",
            "unparsed",
            "unknown-vlan",
            "ipv6",
            "malformed",
            "long-chain",
            "routing-header",
            "stranger",
            "role",
            "not-a-reply",
            "icmp-unrelated",
            "fragment-without-first",
            "too-many-tags",
            "spoofed-overlay",
            "unknown-overlay",
            "overlay-source",
            "overlay-option",
            "port-twin",
            "rewrite-failed",
        ];
        assert_eq!(Reason::ALL.iter().map(|reason| reason.as_str()).collect::<Vec<_>>(), expected);
    }
}
