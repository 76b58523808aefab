//! Remembers whose packets were dropped, or would have been.

use crate::{
    family::Family,
    headers::{Ip, Part, TCP, UDP},
    maps::DropKey,
    packet::Packet,
    tables::Tables,
    verdict::{Kind, Reason, Verdict},
};

/// Notes a packet that comes to an end other than passing, as far as there is time for it.
#[inline(always)]
pub fn note<F: Family, P: Packet, T: Tables<F>>(
    packet: &P,
    tables: &T,
    ip: &Ip<F>,
    reason: Reason,
    mode: u8,
) {
    if reason.kind() == Kind::Pass || !tables.may_note() {
        return;
    }
    let has_ports = (ip.protocol == TCP || ip.protocol == UDP) && ip.part != Part::Later;
    let port = if has_ports { packet.load(ip.l4 + 2) } else { None };
    let key = DropKey {
        src: ip.src,
        port: port.unwrap_or([0; 2]),
        protocol: ip.protocol,
        reason: reason as u8,
        _pad: [0; 4],
    };
    tables.note(&key, Verdict::of(reason, mode).would);
}
