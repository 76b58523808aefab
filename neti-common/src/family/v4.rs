//! IPv4 (RFC 791) and its ICMP (RFC 792).

use core::net::{IpAddr, Ipv4Addr};

use network_types::{
    icmp::Icmpv4Type,
    ip::{IpProto, Ipv4Hdr},
};

use super::{Family, LinkMessage};
use crate::{
    checksum,
    headers::{Header, Ip, Part, TCP, ethertype},
    maps::{
        bloom::FACTOR,
        name::{self, FamilyMaps},
    },
    packet::Packet,
    verdict::Reason,
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

    const NAME: &'static str = "IPv4";
    const MAPS: FamilyMaps = name::V4;
    const ETHERTYPE: u16 = ethertype::IPV4;
    const RESOLUTION: Option<u16> = Some(ethertype::ARP);
    const UNSPECIFIED: Self::Addr = [0; 4];
    const ALL_ONES: Self::Addr = [0xff; 4];
    const BITS: u32 = 32;

    const HEADER: usize = Ipv4Hdr::LEN;
    const MAX_HEADER: usize = Ipv4Hdr::LEN + 4 * OPTION_WORDS;
    const SRC: usize = 12;
    const DST: usize = 16;
    const L3_CHECKSUM: Option<usize> = Some(10);
    const ID_PER_PROTOCOL: bool = true;

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
    fn link_message<P: Packet>(_: &P, _: &Ip<Self>, _: u8) -> Option<LinkMessage> {
        None
    }

    #[inline(always)]
    fn is_metadata(address: &Self::Addr) -> bool {
        *address == [169, 254, 169, 254]
    }

    #[inline(always)]
    fn is_dhcp(_: &Self::Addr, sport: u16, dport: u16) -> bool {
        sport == 67 && dport == 68
    }

    #[inline(always)]
    fn within(address: &Self::Addr, network: &Self::Addr, mask: &Self::Addr) -> bool {
        u32::from_ne_bytes(*address) & u32::from_ne_bytes(*mask) == u32::from_ne_bytes(*network)
    }

    #[inline(always)]
    fn blank_if(address: &Self::Addr, blank: bool) -> Self::Addr {
        (u32::from_ne_bytes(*address) & (blank as u32).wrapping_sub(1)).to_ne_bytes()
    }

    fn mask(length: u32) -> Self::Addr {
        u32::MAX.checked_shl(Self::BITS - length).unwrap_or(0).to_be_bytes()
    }

    #[inline(always)]
    fn network(address: &Self::Addr, length: u32) -> Self::Addr {
        // By 64 bits, of which none are shifted past the end.
        let mask = (u32::MAX as u64) << (Self::BITS - length);
        (u32::from_be_bytes(*address) & mask as u32).to_be_bytes()
    }

    #[inline(always)]
    fn difference(old: &Self::Addr, new: &Self::Addr) -> u32 {
        checksum::difference(u32::from_ne_bytes(*old), u32::from_ne_bytes(*new))
    }

    #[inline(always)]
    fn scatter(address: &Self::Addr) -> u64 {
        (u32::from_be_bytes(*address) as u64).wrapping_mul(FACTOR)
    }

    fn to_ip(address: &Self::Addr) -> IpAddr {
        Ipv4Addr::from(*address).into()
    }

    fn of(address: IpAddr) -> Option<Self::Addr> {
        match address {
            IpAddr::V4(address) => Some(address.octets()),
            IpAddr::V6(_) => None,
        }
    }

    #[inline(always)]
    fn parse<P: Packet>(packet: &mut P, l3: usize, quoted: bool) -> Result<Header, Reason> {
        let header: Ipv4Hdr = packet.load(l3).ok_or(Reason::Malformed)?;
        // The mask tells the verifier the bound that `ihl` has anyway.
        let length = ((header.vihl & 0x0f) as usize) * 4;
        if header.vihl >> 4 != 4 || length < Ipv4Hdr::LEN {
            return Err(Reason::Malformed);
        }
        let total = match u16::from_be_bytes(header.tot_len) as usize {
            0 if header.proto == TCP && packet.holds(l3 + BIG_TCP) => BIG_TCP,
            total => total,
        };
        if !quoted && (total < length || !packet.holds(l3 + total)) {
            return Err(Reason::Malformed);
        }
        let fragment = u16::from_be_bytes(header.frags);
        let part = if fragment & FRAGMENT_OFFSET != 0 {
            Part::Later
        } else if fragment & MORE_FRAGMENTS != 0 {
            Part::First
        } else {
            Part::Whole
        };
        Ok(Header {
            l3,
            l4: l3 + length,
            payload: total.saturating_sub(length),
            protocol: header.proto,
            part,
            id: [header.id[0], header.id[1], 0, 0],
        })
    }

    #[inline(always)]
    fn any_option<P: Packet>(
        packet: &P,
        l3: usize,
        _: usize,
        found: impl Fn(&Self::Addr) -> bool,
    ) -> bool {
        // The length is read again, not taken from `l4`: each turn of the loop would teach the verifier another
        // bound of it, and it would follow the rest of the program once for each.
        let Some(vihl) = packet.load::<u8>(l3) else { return false };
        // Addresses in options have no alignment: look at every four bytes in a row.
        let mut window = 0u64;
        for word in 0..OPTION_WORDS {
            let at = l3 + Ipv4Hdr::LEN + 4 * word;
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
