//! Hints: the memory of flows that no socket stands for (unconnected UDP, ping, protocols without ports, containers'
//! flows). Kept at egress, they admit and name what comes back.

use crate::{
    demux::{Form, Names},
    family::Family,
    headers::{Ip, Kind, TCP},
    maps::{Ends, Flow, Hint, Settings},
    tables::{Class, Tables},
};

/// Values of [`Hint::state`].
pub mod state {
    /// Sent, no answer.
    pub const OPENED: u64 = 0;
    /// Packets went both ways.
    pub const ANSWERED: u64 = 1;
    /// A forwarded TCP connection whose end we have seen.
    pub const CLOSING: u64 = 2;
}

const SECOND: u64 = 1_000_000_000;
/// How long a hint admits after the last packet out, by protocol and state.
pub const UNANSWERED: u64 = 30 * SECOND;
const ANSWERED: u64 = 180 * SECOND;
/// RFC 5382 REQ-5: two hours and four minutes.
const TCP_ESTABLISHED: u64 = 7_440 * SECOND;
/// RFC 5382 REQ-5: four minutes.
const TCP_TRANSITORY: u64 = 240 * SECOND;
/// A hint that was refreshed less than this long ago is left alone: it spares a write for each packet.
const REFRESH: u64 = SECOND;

/// The key of a member's flow: the same on every path to it, because paths change under live flows. Addresses that are
/// not ours alone (routed containers) stay in the key.
#[inline(always)]
pub fn member_key<F: Family>(settings: &Settings<F>, protocol: u8, names: &Names<F>) -> Flow<F> {
    let mut key = names.flow(Form::OverlayPeer, protocol);
    key.src = F::blank_if(names.real_own, settings.is_own_real(names.real_own));
    key
}

/// Whether the hint of `flow` still admits at time `now`.
#[inline(always)]
pub fn is_fresh<F: Family>(hint: &Hint<F>, flow: &Flow<F>, now: u64) -> bool {
    let age = now.saturating_sub(hint.seen);
    let limit = match (flow.transport(), hint.state) {
        (TCP, state::ANSWERED) => TCP_ESTABLISHED,
        (TCP, _) => TCP_TRANSITORY,
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
    let fresh = |forwarded| {
        let class = Class::of(forwarded, member);
        let hint = tables.hint(class, flow)?;
        is_fresh(&hint, flow, tables.now()).then_some((class, hint))
    };
    // Our own connections have sockets.
    if flow.transport() == TCP {
        return fresh(true);
    }
    match (fresh(false), fresh(true)) {
        (Some(local), Some(forwarded)) if local.1.seen < forwarded.1.seen => Some(forwarded),
        (None, forwarded) => forwarded,
        (local, _) => local,
    }
}

/// Notes that a flow was answered.
#[inline(always)]
pub fn answered<F: Family, T: Tables<F>>(tables: &T, flow: &Flow<F>, class: Class, hint: &Hint<F>) {
    if hint.state == state::OPENED {
        tables.update_hint(class, flow, hint.seen, state::ANSWERED);
    }
}

/// Whether a packet that leaves may open a flow that only a hint can remember. Replies, resets and ICMP errors never do,
/// or whoever makes us answer would own the table. A segment in the middle of a forwarded connection does: the connection
/// may be older than we are, or its hint had to make room.
#[inline(always)]
pub fn may_open(kind: Kind, forwarded: bool) -> bool {
    match kind {
        Kind::Udp | Kind::EchoRequest | Kind::Other => true,
        Kind::TcpSyn | Kind::Tcp => forwarded,
        _ => false,
    }
}

/// Whether a packet that leaves may keep a hint fresh that is there already.
#[inline(always)]
pub fn may_refresh(kind: Kind, forwarded: bool) -> bool {
    may_open(kind, forwarded) || (forwarded && kind == Kind::TcpClose)
}

/// Keeps the hint of a flow that leaves as it should be; `false` if there is none that is fresh and names the same ends.
#[inline(always)]
pub fn refresh<F: Family, T: Tables<F>>(
    tables: &T,
    class: Class,
    flow: &Flow<F>,
    ip: &Ip<F>,
    kind: Kind,
) -> bool {
    let Some(hint) = tables.hint(class, flow) else { return false };
    let now = tables.now();
    // A SYN on a tuple that was used before begins another connection.
    let begins = kind == Kind::TcpSyn && hint.state != state::OPENED;
    let same = hint.ends.peer == ip.dst && hint.ends.own == ip.src;
    if begins || !same || !is_fresh(&hint, flow, now) {
        return false;
    }
    let closing = kind == Kind::TcpClose && hint.state != state::CLOSING;
    if closing || now.saturating_sub(hint.seen) >= REFRESH {
        let state = if closing { state::CLOSING } else { hint.state };
        tables.update_hint(class, flow, now, state);
    }
    true
}

/// The hint of a flow that is seen for the first time.
#[inline(always)]
pub fn opened<F: Family, T: Tables<F>>(tables: &T, ip: &Ip<F>) -> Hint<F> {
    let ends = Ends { peer: ip.dst, own: ip.src };
    Hint { seen: tables.now(), ends, state: state::OPENED }
}
