//! Hints: the memory of flows that no socket stands for (unconnected UDP, ping, protocols without ports, containers'
//! flows). Kept at egress, they admit and name what comes back.

use crate::{
    family::Family,
    headers::Kind,
    maps::{Ends, Flow, Hint, Settings},
    tables::{Class, Tables},
};

/// Values of [`Hint::state`].
pub mod state {
    /// Sent, no answer.
    pub const OPENED: u8 = 0;
    /// Packets went both ways.
    pub const ANSWERED: u8 = 1;
    /// A forwarded TCP connection whose end we have seen.
    pub const CLOSING: u8 = 2;
}

const SECOND: u64 = 1_000_000_000;
/// How long a hint admits after the last packet out, by protocol and state.
const UNANSWERED: u64 = 30 * SECOND;
const ANSWERED: u64 = 180 * SECOND;
/// RFC 5382 REQ-5: two hours and four minutes.
const TCP_ESTABLISHED: u64 = 7_440 * SECOND;
/// RFC 5382 REQ-5: four minutes.
const TCP_TRANSITORY: u64 = 240 * SECOND;
/// A hint that was refreshed less than this long ago is left alone: it spares a write for each packet.
const REFRESH: u64 = SECOND;

/// The key of a member's flow: the same on every path to it, because paths change under live flows. `flow` is seen from
/// here, on the wire; `primary` is the member's primary overlay address. Addresses that are not ours alone (routed
/// containers) stay in the key.
#[inline(always)]
pub fn member_key<F: Family>(settings: &Settings<F>, flow: &Flow<F>, primary: &F::Addr) -> Flow<F> {
    let mut key = *flow;
    key.tuple.dst = *primary;
    if settings.is_own_real(&flow.tuple.src) {
        key.tuple.src = F::UNSPECIFIED;
    }
    key
}

/// Whether a hint still admits at time `now`.
#[inline(always)]
pub fn is_fresh<F: Family>(hint: &Hint<F>, protocol: u8, now: u64) -> bool {
    let age = now.saturating_sub(hint.seen);
    let limit = match (protocol, hint.state) {
        (crate::headers::TCP, state::ANSWERED) => TCP_ESTABLISHED,
        (crate::headers::TCP, _) => TCP_TRANSITORY,
        (_, state::ANSWERED) => ANSWERED,
        _ => UNANSWERED,
    };
    age < limit
}

/// The fresh hint of a flow, our own or forwarded; `flow` is on the wire, of a member its [`member_key`]. Where both have
/// one (two pings of one identifier), it is the answer of the last to send.
#[inline(always)]
pub fn find<F: Family, T: Tables<F>>(
    tables: &T,
    flow: &Flow<F>,
    member: bool,
) -> Option<(Class, Hint<F>)> {
    let now = tables.now();
    let fresh = |forwarded| {
        let class = Class::of(forwarded, member);
        let hint = tables.hint(class, flow)?;
        is_fresh(&hint, flow.protocol, now).then_some((class, hint))
    };
    match (fresh(false), fresh(true)) {
        (Some(local), Some(forwarded)) if local.1.seen < forwarded.1.seen => Some(forwarded),
        (None, forwarded) => forwarded,
        (local, _) => local,
    }
}

/// Notes that a flow was answered.
#[inline(always)]
pub fn answered<F: Family, T: Tables<F>>(
    tables: &T,
    flow: &Flow<F>,
    class: Class,
    mut hint: Hint<F>,
) {
    if hint.state == state::OPENED {
        hint.state = state::ANSWERED;
        tables.keep_hint(class, flow, &hint);
    }
}

/// Whether a packet that leaves may open a flow that only a hint can remember. Replies, resets and ICMP errors never do,
/// or whoever makes us answer would own the table.
#[inline(always)]
pub fn may_open(kind: Kind, forwarded: bool) -> bool {
    match kind {
        Kind::Udp | Kind::EchoRequest | Kind::Other => true,
        Kind::TcpSyn => forwarded,
        _ => false,
    }
}

/// Whether a packet that leaves may keep a hint fresh that is there already.
#[inline(always)]
pub fn may_refresh(kind: Kind, forwarded: bool) -> bool {
    may_open(kind, forwarded) || (forwarded && matches!(kind, Kind::Tcp | Kind::TcpClose))
}

/// A hint as a packet that leaves finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept<F: Family> {
    /// None that is fresh and names the same ends.
    None,
    /// It is as it should be.
    Same,
    /// It is to be written like this.
    Refreshed(Hint<F>),
}

/// What the table has for a flow that leaves.
#[inline(always)]
pub fn kept<F: Family, T: Tables<F>>(
    tables: &T,
    class: Class,
    flow: &Flow<F>,
    ends: &Ends<F>,
    kind: Kind,
) -> Kept<F> {
    let Some(mut hint) = tables.hint(class, flow) else { return Kept::None };
    let now = tables.now();
    // A SYN on a tuple that was used before begins another connection.
    let begins = kind == Kind::TcpSyn && hint.state != state::OPENED;
    if begins || hint.ends != *ends || !is_fresh(&hint, flow.protocol, now) {
        return Kept::None;
    }
    let closing = kind == Kind::TcpClose && hint.state != state::CLOSING;
    if !closing && now.saturating_sub(hint.seen) < REFRESH {
        return Kept::Same;
    }
    hint.seen = now;
    if closing {
        hint.state = state::CLOSING;
    }
    Kept::Refreshed(hint)
}

/// The hint of a flow that is seen for the first time.
#[inline(always)]
pub fn opened<F: Family, T: Tables<F>>(tables: &T, ends: &Ends<F>) -> Hint<F> {
    Hint { seen: tables.now(), ends: *ends, state: state::OPENED, _pad: [0; 7] }
}
