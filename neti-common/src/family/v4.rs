//! IPv4 (RFC 791) and its ICMP (RFC 792).

use network_types::{
    icmp::Icmpv4Type,
    ip::{IpProto, Ipv4Hdr},
};

use super::Family;
use crate::{
    checksum,
    headers::{Ip, Part, TCP},
    packet::Packet,
};

/// IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct V4;

/// "More fragments" in the flags and fragment offset field.
const MORE_FRAGMENTS: u16 = 0x2000;
/// The fragment offset's bits in that field.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// ICMP type 11, which `Icmpv4Type` does not name.
const TIME_EXCEEDED: u8 = 11;

/// TCP that was merged into more than a total length can say has 0 there (`iph_totlen`).
const BIG_TCP: usize = 0x1_0000;

/// Words of options a header can have.
const OPTION_WORDS: usize = 10;

impl Family for V4 {
    type Addr = [u8; 4];

    const ETHERTYPE: u16 = 0x0800;
    const UNSPECIFIED: Self::Addr = [0; 4];
    const ALL_ONES: Self::Addr = [0xff; 4];
    const BITS: u32 = 32;
    const METADATA: Self::Addr = [169, 254, 169, 254];

    const SRC: usize = 12;
    const DST: usize = 16;
    const L3_CHECKSUM: Option<usize> = Some(10);

    const ICMP: u8 = IpProto::Icmp as u8;
    const ECHO_REQUEST: u8 = Icmpv4Type::Echo as u8;
    const ECHO_REPLY: u8 = Icmpv4Type::EchoReply as u8;
    const ICMP_PSEUDO_HEADER: bool = false;

    #[inline(always)]
    fn is_icmp_error(kind: u8) -> bool {
        kind == Icmpv4Type::DestinationUnreachable as u8
            || kind == TIME_EXCEEDED
            || kind == Icmpv4Type::ParameterProblem as u8
    }

    #[inline(always)]
    fn within(address: &Self::Addr, network: &Self::Addr, mask: &Self::Addr) -> bool {
        u32::from_ne_bytes(*address) & u32::from_ne_bytes(*mask) == u32::from_ne_bytes(*network)
    }

    fn mask(length: u32) -> Self::Addr {
        u32::MAX.checked_shl(Self::BITS - length).unwrap_or(0).to_be_bytes()
    }

    #[inline(always)]
    fn difference(old: &Self::Addr, new: &Self::Addr) -> u32 {
        checksum::difference(u32::from_ne_bytes(*old), u32::from_ne_bytes(*new))
    }

    #[inline(always)]
    fn parse<P: Packet>(packet: &P, l3: usize, quoted: bool) -> Option<Ip<Self>> {
        let header: Ipv4Hdr = packet.load(l3)?;
        // The mask tells the verifier the bound that `ihl` has anyway.
        let length = ((header.vihl & 0x0f) as usize) * 4;
        if header.vihl >> 4 != 4 || length < Ipv4Hdr::LEN {
            return None;
        }
        let total = match u16::from_be_bytes(header.tot_len) as usize {
            0 if header.proto == TCP && packet.holds(l3 + BIG_TCP) => BIG_TCP,
            total => total,
        };
        if !quoted && (total < length || !packet.holds(l3 + total)) {
            return None;
        }
        let fragment = u16::from_be_bytes(header.frags);
        let part = if fragment & FRAGMENT_OFFSET != 0 {
            Part::Later
        } else if fragment & MORE_FRAGMENTS != 0 {
            Part::First
        } else {
            Part::Whole
        };
        Some(Ip {
            l3,
            l4: l3 + length,
            payload: total.saturating_sub(length),
            src: header.src_addr,
            dst: header.dst_addr,
            protocol: header.proto,
            part,
            id: [header.id[0], header.id[1], 0, 0],
        })
    }

    #[inline(always)]
    fn any_option<P: Packet>(
        packet: &P,
        ip: &Ip<Self>,
        found: impl Fn(&Self::Addr) -> bool,
    ) -> bool {
        // The length is read again, not taken from `ip.l4`: each turn of the loop would teach the verifier another
        // bound of `l4`, and it would follow the rest of the program once for each.
        let Some(vihl) = packet.load::<u8>(ip.l3) else { return false };
        // Addresses in options have no alignment: look at every four bytes in a row.
        let mut window = 0u64;
        for word in 0..OPTION_WORDS {
            let at = ip.l3 + Ipv4Hdr::LEN + 4 * word;
            if word + Ipv4Hdr::LEN / 4 >= (vihl & 0x0f) as usize {
                return false;
            }
            let Some(bytes) = packet.load::<[u8; 4]>(at) else { return false };
            window = window << 32 | u32::from_be_bytes(bytes) as u64;
            for shift in [24, 16, 8, 0] {
                if found(&((window >> shift) as u32).to_be_bytes()) {
                    return true;
                }
            }
        }
        false
    }
}
