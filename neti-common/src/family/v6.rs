//! IPv6 (RFC 8200) and its ICMP (RFC 4443), neighbour discovery (RFC 4861) and listener discovery (RFC 3810).

use core::net::{IpAddr, Ipv6Addr};

use network_types::{
    icmp::Icmpv6Type,
    ip::{IpProto, Ipv6Hdr},
};

use super::{Family, LinkMessage};
use crate::{
    checksum,
    headers::{Header, Ip, Part, ethertype},
    maps::{
        bloom::FACTOR,
        name::{self, FamilyMaps},
    },
    packet::{Packet, Plain},
    verdict::Reason,
};

/// IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct V6;

/// Extension headers that we look behind, and bytes of them. Senders use one or two of 8 to 40 bytes.
const MAX_EXTENSIONS: usize = 8;
const MAX_EXTENSION_BYTES: usize = 128;

const HOP_BY_HOP: u8 = IpProto::HopOpt as u8;
const ROUTING: u8 = IpProto::Ipv6Route as u8;
const FRAGMENT: u8 = IpProto::Ipv6Frag as u8;
const DESTINATION: u8 = IpProto::Ipv6Opts as u8;

/// Offset in the fixed header.
const HOP_LIMIT: usize = 7;

/// The fragment offset's bits in a fragment header's third and fourth byte, and "more fragments".
const FRAGMENT_OFFSET: u16 = 0xfff8;
const MORE_FRAGMENTS: u16 = 1;

/// The smallest packet whose length stands in a jumbo payload option (RFC 2675) and not in the header, as TCP that was
/// merged into one has it (`ipv6_gro_complete`).
const JUMBOGRAM: usize = 0x1_0000;

/// ICMP types that `Icmpv6Type` does not name.
const DESTINATION_UNREACHABLE: u8 = 1;
const LISTENER_QUERY: u8 = 130;
const LISTENER_DONE: u8 = 132;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = Icmpv6Type::RedirectMessage as u8;
const LISTENER_REPORT: u8 = 143;

/// Where AWS and Google serve an instance's metadata.
const METADATA: [Halves; 2] = [
    Halves::new(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    Halves::new(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// An IPv6 address in two halves, each as it lies in memory: LLVM keeps two words in registers, and copies an array by
/// calling a function.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Halves {
    a: u64,
    b: u64,
}

// SAFETY: two integers.
unsafe impl Plain for Halves {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Halves {}

impl Halves {
    /// [`Family::of`] for constants.
    pub const fn new(address: Ipv6Addr) -> Halves {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address.octets();
        Halves {
            a: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            b: u64::from_ne_bytes([i, j, k, l, m, n, o, p]),
        }
    }
}

/// Whether an address is of the link's own (fe80::/10).
#[inline(always)]
fn is_link_local(address: &Halves) -> bool {
    address.a & u64::from_be(0xffc0 << 48) == u64::from_be(0xfe80 << 48)
}

const fn is_extension(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION)
}

impl Family for V6 {
    type Addr = Halves;

    const NAME: &'static str = "IPv6";
    const MAPS: FamilyMaps = name::V6;
    const ETHERTYPE: u16 = ethertype::IPV6;
    const RESOLUTION: Option<u16> = None;
    const UNSPECIFIED: Self::Addr = Halves { a: 0, b: 0 };
    const ALL_ONES: Self::Addr = Halves { a: u64::MAX, b: u64::MAX };
    const BITS: u32 = 128;

    const HEADER: usize = Ipv6Hdr::LEN;
    const MAX_HEADER: usize = Ipv6Hdr::LEN + MAX_EXTENSION_BYTES;
    const SRC: usize = 8;
    const DST: usize = 24;
    const L3_CHECKSUM: Option<usize> = None;
    const ID_PER_PROTOCOL: bool = false;

    const ICMP: u8 = IpProto::Ipv6Icmp as u8;
    const ECHO_REQUEST: u8 = Icmpv6Type::EchoRequest as u8;
    const ECHO_REPLY: u8 = Icmpv6Type::EchoReply as u8;
    const ICMP_PSEUDO_HEADER: bool = true;

    #[inline(always)]
    fn is_icmp_error(kind: u8) -> bool {
        (DESTINATION_UNREACHABLE..=Icmpv6Type::ParameterProblem as u8).contains(&kind)
    }

    /// Nobody off the link can have sent them, by their hop limit (RFC 4861 3.1) or source (RFC 3810 5).
    #[inline(always)]
    fn link_message<P: Packet>(packet: &P, ip: &Ip<Self>, kind: u8) -> Option<LinkMessage> {
        let (hops, message) = match kind {
            ROUTER_SOLICITATION | ROUTER_ADVERTISEMENT => (255, LinkMessage::Discovery),
            NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT => (255, LinkMessage::About(1)),
            REDIRECT => (255, LinkMessage::About(2)),
            LISTENER_QUERY..=LISTENER_DONE | LISTENER_REPORT => (1, LinkMessage::Listener),
            _ => return None,
        };
        let near = message != LinkMessage::Listener
            || ip.src == Self::UNSPECIFIED
            || is_link_local(&ip.src);
        (near && packet.load::<u8>(ip.l3 + HOP_LIMIT)? == hops).then_some(message)
    }

    #[inline(always)]
    fn is_metadata(address: &Self::Addr) -> bool {
        *address == METADATA[0] || *address == METADATA[1]
    }

    /// A server listens on port 547, and may send from another (RFC 8415 7.2).
    #[inline(always)]
    fn is_dhcp(src: &Self::Addr, sport: u16, dport: u16) -> bool {
        dport == 546 && (sport == 547 || is_link_local(src))
    }

    #[inline(always)]
    fn within(address: &Self::Addr, network: &Self::Addr, mask: &Self::Addr) -> bool {
        ((address.a & mask.a) ^ network.a) | ((address.b & mask.b) ^ network.b) == 0
    }

    #[inline(always)]
    fn blank_if(address: &Self::Addr, blank: bool) -> Self::Addr {
        let mask = (blank as u64).wrapping_sub(1);
        Halves { a: address.a & mask, b: address.b & mask }
    }

    fn mask(length: u32) -> Self::Addr {
        Halves::new(Ipv6Addr::from_bits(u128::MAX.checked_shl(Self::BITS - length).unwrap_or(0)))
    }

    #[inline(always)]
    fn network(address: &Self::Addr, length: u32) -> Self::Addr {
        // By arithmetic, as `blank_if`. All bits of a half are set from 64 or 128 on, none of the second up to 64.
        let reaches = |bit: u32| ((length >> bit & 1) as u64).wrapping_neg();
        let (half, all) = (reaches(6) | reaches(7), reaches(7));
        let first = !(u64::MAX >> (length & 63));
        let a = first | half;
        let b = (first & half) | all;
        Halves { a: address.a & a.to_be(), b: address.b & b.to_be() }
    }

    #[inline(always)]
    fn difference(old: &Self::Addr, new: &Self::Addr) -> u32 {
        let half = |old: u64, new: u64| {
            let (old, new) = (!old, new);
            checksum::add(
                checksum::add(old as u32, (old >> 32) as u32),
                checksum::add(new as u32, (new >> 32) as u32),
            )
        };
        checksum::add(half(old.a, new.a), half(old.b, new.b))
    }

    #[inline(always)]
    fn scatter(address: &Self::Addr) -> u64 {
        let network = u64::from_be(address.a).wrapping_mul(FACTOR);
        (network ^ u64::from_be(address.b)).wrapping_mul(FACTOR)
    }

    fn to_ip(address: &Self::Addr) -> IpAddr {
        let mut octets = [0; 16];
        for (bytes, word) in octets.chunks_exact_mut(8).zip([address.a, address.b]) {
            bytes.copy_from_slice(&word.to_ne_bytes());
        }
        Ipv6Addr::from(octets).into()
    }

    fn of(address: IpAddr) -> Option<Self::Addr> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(Halves::new(address)),
        }
    }

    #[inline(always)]
    fn parse<P: Packet>(packet: &mut P, l3: usize, quoted: bool) -> Result<Header, Reason> {
        let [version, _, _, _, l0, l1, mut next, _]: [u8; 8] =
            packet.load(l3).ok_or(Reason::Malformed)?;
        if version >> 4 != 6 {
            return Err(Reason::Malformed);
        }
        let length = match u16::from_be_bytes([l0, l1]) as usize {
            0 if packet.holds(l3 + Self::HEADER + JUMBOGRAM) => JUMBOGRAM,
            length => length,
        };
        if !quoted && !packet.holds(l3 + Self::HEADER + length) {
            return Err(Reason::Malformed);
        }
        let mut extensions = 0;
        let mut part = Part::Whole;
        let mut id = [0; 4];
        let mut goes_on = false;
        if is_extension(next) {
            packet.pull(l3 + Self::MAX_HEADER);
            for _ in 0..MAX_EXTENSIONS {
                let at = l3 + Self::HEADER + extensions;
                let [following, size, a, b]: [u8; 4] = packet.load(at).ok_or(Reason::Malformed)?;
                match next {
                    HOP_BY_HOP if extensions != 0 => return Err(Reason::Malformed),
                    // The segments left.
                    ROUTING => goes_on |= b != 0,
                    FRAGMENT => {
                        id = packet.load(at + 4).ok_or(Reason::Malformed)?;
                        let fragment = u16::from_be_bytes([a, b]);
                        if fragment & FRAGMENT_OFFSET != 0 {
                            part = Part::Later;
                        } else if fragment & MORE_FRAGMENTS != 0 {
                            part = Part::First;
                        }
                    }
                    _ => {}
                }
                // A fragment header has a reserved byte there.
                extensions += if next == FRAGMENT { 8 } else { (size as usize + 1) * 8 };
                next = following;
                if extensions > MAX_EXTENSION_BYTES {
                    return Err(Reason::LongChain);
                }
                if part == Part::Later || !is_extension(next) {
                    break;
                }
            }
            if part != Part::Later && is_extension(next) {
                return Err(Reason::LongChain);
            }
            if !quoted && extensions > length {
                return Err(Reason::Malformed);
            }
            // Only here, where all of the chain is known to be where [`Self::any_option`] looks.
            if goes_on {
                return Err(Reason::RoutingHeader);
            }
        }
        let l4 = packet.opaque(l3 + Self::HEADER + extensions);
        let payload = length.saturating_sub(extensions);
        Ok(Header { l3, l4, payload, protocol: next, part, id })
    }

    /// Routing headers and the home address option have addresses, which begin where eight bytes do (RFC 8754 2, RFC 6275
    /// 6.3 and 6.4): a scan finds those of every kind.
    #[inline(always)]
    fn any_option<P: Packet>(
        packet: &P,
        l3: usize,
        l4: usize,
        found: impl Fn(&Self::Addr) -> bool,
    ) -> bool {
        let start = l3 + Self::HEADER;
        // The verifier follows a count to its end, and not an offset.
        for n in 0..MAX_EXTENSION_BYTES / 8 - 1 {
            let at = start + 8 * n;
            if at + size_of::<Self::Addr>() > l4 {
                return false;
            }
            if packet.load(at).is_some_and(|address| found(&address)) {
                return true;
            }
        }
        false
    }
}
