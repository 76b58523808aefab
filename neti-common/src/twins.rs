//! Twins: Linux picks ephemeral ports per destination, so a connection by overlay and a direct one may use the same port
//! to the same peer, and are one 5-tuple on the wire. The second gets another source port there, and both ports are
//! written down, because the socket table would find either flow for the first one's.

use crate::{
    family::Family,
    headers::{self, Ip, TCP},
    hints,
    maps::{Ends, Flow, Path, Settings, TwinIn},
    packet::{Covers, Skb},
    tables::{Class, Socket, Tables},
};

/// Ports that are tried before the range counts as full.
const TRIES: u32 = 8;

/// The flow behind a port on the wire, where it is one of twins; `key` is the flow's [`hints::member_key`].
#[inline(always)]
pub fn inbound<F: Family, T: Tables<F>>(tables: &T, key: &Flow<F>) -> Option<TwinIn<F>> {
    if !tables.has_twins() {
        return None;
    }
    tables.twin_in(key)
}

/// The port on the wire of a flow that leaves, where it is a twin's; `flow` as its socket names it.
#[inline(always)]
pub fn outbound<F: Family, T: Tables<F>>(tables: &T, flow: &Flow<F>) -> Option<[u8; 2]> {
    if !tables.has_twins() {
        return None;
    }
    tables.twin_out(flow).map(|twin| twin.port)
}

/// Whether a flow that leaves for the first time has a twin: another flow with the same port on the wire and other names
/// for the same two hosts. `socket` is the flow as its socket names it, `key` its [`hints::member_key`]. Names are tried
/// under every real address of the peer, because paths change. The twin's names go into `ends`.
#[inline(always)]
pub fn find<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    path: &Path<F>,
    socket: &Flow<F>,
    key: &Flow<F>,
    ends: &mut Ends<F>,
) -> bool {
    let Flow { src: own_name, dst: peer_name, .. } = socket;
    for mixed in [true, false] {
        if mixed && !tables.has_mixed() {
            continue;
        }
        for (n, peer) in [&path.primary, &path.reals[0], &path.reals[1]].into_iter().enumerate() {
            let by_overlay = (n == 0) != mixed;
            let own = if by_overlay { &settings.overlays[0] } else { &settings.reals[0] };
            if *peer == F::UNSPECIFIED || (peer_name == peer && own_name == own) {
                continue;
            }
            let other = Flow { src: *own, dst: *peer, ..*socket };
            let found = tables.socket(socket.transport(), &other.reversed());
            if !matches!(found, Socket::Live | Socket::HalfOpen) {
                continue;
            }
            // A flow that has another port on the wire already is in nobody's way.
            if outbound(tables, &other).is_none() {
                (ends.peer, ends.own) = (*peer, *own);
                return true;
            }
        }
    }
    for class in [Class::LocalMember, Class::ForwardMember] {
        // Our own connections have sockets.
        if class == Class::LocalMember && socket.transport() == TCP {
            continue;
        }
        if let Some(hint) = tables.hint(class, key)
            && (hint.ends.peer != *peer_name || hint.ends.own != *own_name)
            && hints::is_fresh(&hint, key, tables.now())
        {
            *ends = hint.ends;
            return true;
        }
    }
    false
}

/// The flow of a socket that has its own port on the wire.
#[inline(always)]
pub fn own_port<F: Family>(socket: &Flow<F>) -> TwinIn<F> {
    let ends = Ends { peer: socket.dst, own: socket.src };
    TwinIn::new(ends, socket.sport)
}

/// Finds and keeps a port on the wire for a flow whose `twin` has this one, and puts it into the flow's key; `false` where
/// none of the ports tried is free or the table is full. The range is reserved, so that only twins can be in the way.
#[inline(always)]
pub fn separate<F: Family, T: Tables<F>>(
    tables: &T,
    settings: &Settings<F>,
    socket: &Flow<F>,
    key: &mut Flow<F>,
    mut twin: TwinIn<F>,
) -> bool {
    let first = settings.twin_first as u32;
    let span = (settings.twin_last as u32 + 1).saturating_sub(first);
    if first == 0 || span == 0 {
        return false;
    }
    tables.keep_twin_in(key, &twin);
    (twin.ends.peer, twin.ends.own) = (socket.dst, socket.src);
    // From anywhere in the range, by an odd step: neighbours of a taken port are taken more often than others.
    let random = tables.random();
    let step = (random >> 16) | 1;
    for n in 0..TRIES {
        let offset = random.wrapping_add(step.wrapping_mul(n)) % span;
        key.sport = ((first + offset) as u16).to_be_bytes();
        if tables.claim_twin(key, &twin) {
            return tables.keep_twin_out(socket, key);
        }
    }
    false
}

/// Turns a SYN that cannot leave into the reset that its socket is told with (RFC 9293 3.10.7.1): addresses and ports
/// swapped, RST and ACK set, the SYN acknowledged. It goes back into the stack untranslated.
#[inline(always)]
pub fn refuse<F: Family, P: Skb>(packet: &mut P, ip: &Ip<F>) -> Option<()> {
    let dst_mac: [u8; 6] = packet.load(0)?;
    let src_mac: [u8; 6] = packet.load(6)?;
    packet.store(0, &src_mac)?;
    packet.store(6, &dst_mac)?;
    // Swapping leaves every checksum as it is.
    packet.store(ip.l3 + F::SRC, &ip.dst)?;
    packet.store(ip.l3 + F::DST, &ip.src)?;
    let [s0, s1, d0, d1]: [u8; 4] = packet.load(ip.l4)?;
    packet.store(ip.l4, &[d0, d1, s0, s1])?;
    let old: [u8; 4] = packet.load(ip.l4 + 4)?;
    let acknowledged = u32::from_be_bytes(old).wrapping_add(1).to_be_bytes();
    replace::<F, P>(packet, ip.l4, 4, [0; 4])?;
    replace::<F, P>(packet, ip.l4, 8, acknowledged)?;
    let [offset, _, w0, w1]: [u8; 4] = packet.load(ip.l4 + 12)?;
    replace::<F, P>(packet, ip.l4, 12, [offset, headers::RST | headers::ACK, w0, w1])
}

/// Replaces a word of a TCP header.
#[inline(always)]
fn replace<F: Family, P: Skb>(
    packet: &mut P,
    l4: usize,
    offset: usize,
    new: [u8; 4],
) -> Option<()> {
    let old: [u8; 4] = packet.load(l4 + offset)?;
    packet.store(l4 + offset, &new)?;
    let change = crate::checksum::difference(u32::from_ne_bytes(old), u32::from_ne_bytes(new));
    packet.update_l4::<F>(l4 + 16, change, Covers::Payload)
}
