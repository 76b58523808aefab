//! Remembers whose packets were dropped, or would have been. A program of its own does so, to which the others hand over:
//! the verifier would follow it once for each of the ways to a drop.

use crate::{
    family::Family,
    filter::ARP_SENDER,
    headers::{Carried, Ip, Part, TCP, UDP, carried},
    maps::DropKey,
    packet::Packet,
    tables::Tables,
};

/// Notes a packet of this family, with the number of the reason for which it came to its end; `None` if nobody is named in
/// it, or it is of another family.
#[inline(always)]
pub fn note<F: Family, P: Packet, T: Tables<F>>(
    packet: &mut P,
    tables: &T,
    reason: u8,
    would: bool,
) -> Option<()> {
    let Carried { ethertype, l3 } = carried(packet).ok()?;
    let key = |src| DropKey { src, port: [0; 2], protocol: 0, reason, _pad: [0; 4] };
    if Some(ethertype) == F::RESOLUTION {
        tables.note(&key(packet.load(l3 + ARP_SENDER)?), would);
        return Some(());
    }
    if ethertype != F::ETHERTYPE {
        return None;
    }
    let mut key = key(packet.load(l3 + F::SRC)?);
    // What cannot be read has a sender all the same.
    if let Ok(header) = F::parse(packet, l3, false)
        && let Some(ip) = Ip::<F>::read(packet, header)
    {
        key.protocol = ip.protocol;
        if (ip.protocol == TCP || ip.protocol == UDP) && ip.part != Part::Later {
            key.port = packet.load(ip.l4 + 2)?;
        }
    }
    tables.note(&key, would);
    Some(())
}
