//! `neti_guard`: nobody behind another interface than the uplink, a container or a second network, speaks in the name of a
//! member. Overlay addresses come in by the uplink alone, and there only after [`crate::ingress`] has given them.

use crate::{
    family::Family,
    headers::{Carried, MAX_TAGS, TAG, ethertype, is_tag},
    packet::Received,
    tables::Tables,
    verdict::{Reason, Verdict},
};

/// Judges a packet that comes in through an interface that is not the uplink: in any mode, for what it drops is no
/// stranger's but a forgery. One of the other family passes as [`Reason::Ipv6`], to be judged in its own.
#[inline(always)]
pub fn guard<F: Family, P: Received, T: Tables<F>>(packet: &P, tables: &T) -> Verdict {
    let Some(settings) = tables.settings() else { return Verdict::UNSET };
    let Carried { ethertype, l3 } = match carried(packet) {
        Ok(carried) => carried,
        Err(Reason::TooManyTags) => return Verdict::drop(Reason::TooManyTags),
        // The stack takes nothing that is cut short.
        Err(_) => return Verdict::pass(Reason::NotOurs),
    };
    let source = if ethertype == F::ETHERTYPE {
        packet.load_inner(l3 + F::SRC)
    } else if Some(ethertype) == F::RESOLUTION {
        arp_sender::<F, P>(packet, l3)
    } else if ethertype == ethertype::IPV6 {
        return Verdict::pass(Reason::Ipv6);
    } else {
        None
    };
    match source {
        Some(source) if settings.is_overlay(&source) => Verdict::drop(Reason::SpoofedOverlay),
        _ => Verdict::pass(Reason::NotOurs),
    }
}

/// Looks behind up to two VLAN tags, whichever of them are still in the frame. Whose they are does not matter: what the
/// uplink lets pass for a VLAN interface comes by that one, without the tag.
#[inline(always)]
fn carried<P: Received>(packet: &P) -> Result<Carried, Reason> {
    let (mut ethertype, mut l3) = (packet.ethertype(), 0);
    let mut tags = packet.was_tagged() as usize;
    for _ in 0..MAX_TAGS {
        if is_tag(ethertype) != 0 {
            let inner: [u8; 2] = packet.load_inner(l3 + TAG - 2).ok_or(Reason::Malformed)?;
            (ethertype, l3, tags) = (u16::from_be_bytes(inner), l3 + TAG, tags + 1);
        }
    }
    if is_tag(ethertype) != 0 || tags > MAX_TAGS {
        return Err(Reason::TooManyTags);
    }
    Ok(Carried { ethertype, l3 })
}

/// Offsets in an ARP packet (RFC 826): the length of a link-layer address, and the first of these.
const ARP_LINK_LENGTH: usize = 4;
const ARP_LINK_SENDER: usize = 8;

/// The address that an ARP packet's sender claims. It follows a link-layer address, which is not on every link of six
/// bytes.
#[inline(always)]
fn arp_sender<F: Family, P: Received>(packet: &P, l3: usize) -> Option<F::Addr> {
    let length: u8 = packet.load_inner(l3 + ARP_LINK_LENGTH)?;
    packet.load_inner(l3 + ARP_LINK_SENDER + length as usize)
}
