//! Rewriting addresses and ports in place. Whatever fails has changed the packet half-way, so the caller drops it.

use crate::{
    checksum,
    family::Family,
    headers::{Ip, Part, UDP, checksum_offset},
    maps::Ends,
    packet::{Covers, Skb},
};

/// Where a port stands in TCP and UDP headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    Source = 0,
    Destination = 2,
}

/// Gives a packet other addresses. A later fragment has no checksum of its own: the first one's covers the datagram.
#[inline(always)]
pub fn addresses<F: Family, P: Skb>(
    packet: &mut P,
    ip: &Ip<F>,
    src: &F::Addr,
    dst: &F::Addr,
) -> Option<()> {
    let change = checksum::add(F::difference(&ip.src, src), F::difference(&ip.dst, dst));
    packet.store(ip.l3 + F::SRC, src)?;
    packet.store(ip.l3 + F::DST, dst)?;
    if let Some(offset) = F::L3_CHECKSUM {
        let old = packet.load(ip.l3 + offset)?;
        packet.store(ip.l3 + offset, &checksum::apply(old, change))?;
    }
    match checksum_offset::<F>(ip.protocol) {
        Some(offset) if ip.part != Part::Later => {
            let covers = if ip.protocol == UDP {
                Covers::OptionalPseudoHeader
            } else {
                Covers::PseudoHeader
            };
            packet.update_l4::<F>(ip.l4 + offset, change, covers)
        }
        _ => {
            if F::L3_CHECKSUM.is_none() {
                packet.update_sum(change);
            }
            Some(())
        }
    }
}

/// Gives a TCP or UDP packet another port (network order).
#[inline(always)]
pub fn port<F: Family, P: Skb>(
    packet: &mut P,
    ip: &Ip<F>,
    which: Port,
    port: [u8; 2],
) -> Option<()> {
    let offset = ip.l4 + which as usize;
    let old: [u8; 2] = packet.load(offset)?;
    packet.store(offset, &port)?;
    let covers = if ip.protocol == UDP { Covers::OptionalPayload } else { Covers::Payload };
    packet.update_l4::<F>(
        ip.l4 + checksum_offset::<F>(ip.protocol)?,
        checksum::difference16(old, port),
        covers,
    )
}

/// What a packet quoted in an ICMP error is to have; its source is whoever gets the error.
#[derive(Debug, Clone, Copy)]
pub struct Quote<F: Family> {
    pub src: F::Addr,
    pub dst: F::Addr,
    /// Another port, network order.
    pub port: Option<(Port, [u8; 2])>,
}

/// Rewrites a packet quoted in the ICMP error `outer`, its checksums as far as they are quoted, and the error's own.
#[inline(always)]
pub fn quoted<F: Family, P: Skb>(
    packet: &mut P,
    outer: &Ip<F>,
    inner: &Ip<F>,
    quote: &Quote<F>,
) -> Option<()> {
    let addresses =
        checksum::add(F::difference(&inner.src, &quote.src), F::difference(&inner.dst, &quote.dst));
    // What the error's checksum sees of all changes.
    let mut change = addresses;
    packet.store(inner.l3 + F::SRC, &quote.src)?;
    packet.store(inner.l3 + F::DST, &quote.dst)?;
    if let Some(offset) = F::L3_CHECKSUM {
        let old = packet.load(inner.l3 + offset)?;
        let new = checksum::apply(old, addresses);
        packet.store(inner.l3 + offset, &new)?;
        change = checksum::add(change, checksum::difference16(old, new));
    }
    let mut covered = addresses;
    if let Some((which, port)) = quote.port {
        let offset = inner.l4 + which as usize;
        let old = packet.load(offset)?;
        packet.store(offset, &port)?;
        let difference = checksum::difference16(old, port);
        covered = checksum::add(covered, difference);
        change = checksum::add(change, difference);
    }
    // TCP's checksum is often cut off; UDP's may be absent.
    if let Some(offset) = checksum_offset::<F>(inner.protocol)
        && inner.part != Part::Later
        && let Some(old) = packet.load::<[u8; 2]>(inner.l4 + offset)
        && !(inner.protocol == UDP && old == [0, 0])
    {
        let new = checksum::apply(old, covered);
        packet.store(inner.l4 + offset, &new)?;
        change = checksum::add(change, checksum::difference16(old, new));
    }
    let offset = outer.l4 + ICMP_CHECKSUM;
    let old = packet.load(offset)?;
    packet.store(offset, &checksum::apply(old, change))
}

/// Offset of the checksum in an ICMP header, of either family.
const ICMP_CHECKSUM: usize = 2;

/// Whether giving a packet that came in these ends would change nothing.
#[inline(always)]
pub fn is_same<F: Family>(ip: &Ip<F>, ends: &Ends<F>) -> bool {
    ip.src == ends.peer && ip.dst == ends.own
}
