//! IPv6's scene.

use std::net::{IpAddr, Ipv6Addr};

use etherparse::{IpNumber, Ipv6FlowLabel, Ipv6Header};
use neti_common::family::{Family, V6};

use super::Scene;
use crate::{Case, ipv6, packet::Packet};

pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const DESTINATION: u8 = 60;

/// An extension header: its number, and its bytes from the third on. Their number is 6 more than a multiple of 8.
#[derive(Debug, Clone)]
pub struct Extension {
    pub number: u8,
    pub bytes: Vec<u8>,
}

/// Destination options of this many bytes with their header: an experimental one (RFC 4727), which who does not know it skips. Linux
/// takes no more than seven bytes of padding.
pub fn options(length: usize) -> Extension {
    let mut bytes = vec![0x1e, length as u8 - 4];
    bytes.resize(length - 2, 0);
    Extension { number: DESTINATION, bytes }
}

/// Hop-by-hop options with a router alert (RFC 2711), as listener discovery has them.
pub fn router_alert() -> Extension {
    Extension { number: HOP_BY_HOP, bytes: vec![5, 2, 0, 0, 1, 0] }
}

/// A routing header of type 0 with these segments, so many of them left.
pub fn routing(left: u8, segments: &[<V6 as Family>::Addr]) -> Extension {
    let head = [0, left, 0, 0, 0, 0];
    let segments = segments.iter().flat_map(V6::octets).collect();
    Extension { number: ROUTING, bytes: [head.to_vec(), segments].concat() }
}

/// A fragment header; the offset is in units of 8 bytes.
pub fn fragment(offset: u16, more: bool) -> Extension {
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    Extension { number: FRAGMENT, bytes: [&[high, low][..], &V6::DATAGRAM.0].concat() }
}

/// An address by its eight groups.
pub const fn address(groups: [u16; 8]) -> <V6 as Family>::Addr {
    let [a, b, c, d, e, f, g, h] = groups;
    <V6 as Family>::Addr::new(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

/// As many extension headers as are looked behind.
pub fn eight_headers() -> Vec<Extension> {
    let mut chain =
        vec![Extension { number: HOP_BY_HOP, ..options(8) }, options(16), routing(0, &[])];
    chain.resize_with(7, || options(8));
    chain.push(fragment(0, false));
    chain
}

impl Scene for V6 {
    const OWN: Self::Addr = address([0xfd00, 0, 0, 1, 0, 0, 0, 0x10]);
    const OWN_OVERLAY: Self::Addr = address([0xfd64, 0, 0, 0, 0, 0, 1, 1]);
    const NEAR: Self::Addr = address([0xfd00, 0, 0, 1, 0, 0, 0, 0x11]);
    const NEAR_OVERLAY: Self::Addr = address([0xfd64, 0, 0, 0, 0, 0, 1, 2]);
    const FAR: Self::Addr = address([0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x110]);
    const FAR_OVERLAY: Self::Addr = address([0xfd64, 0, 0, 0, 0xfff0, 0, 1, 3]);
    const PLAIN: Self::Addr = address([0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x120]);
    const NOBODY: Self::Addr = address([0xfd64, 0, 0, 0, 0, 0, 9, 9]);
    const STRANGER: Self::Addr = address([0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0x99]);
    const NEIGHBOUR: Self::Addr = address([0xfd00, 0, 0, 1, 0, 0, 0, 0x66]);
    const ROUTER: Self::Addr = address([0xfd00, 0, 0, 1, 0, 0, 0, 1]);
    const EVERYONE: Self::Addr = address([0xff02, 0, 0, 0, 0, 0, 0, 1]);
    const METADATA: Self::Addr = address([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]);
    const RANGE: (Self::Addr, u32) = (address([0xfd64, 0, 0, 0, 0, 0, 0, 0]), 64);
    const FAILSAFE: (Self::Addr, u32) = (address([0xfc00, 0, 0, 0, 0, 0, 0, 0]), 7);
    const STRANGERS: (Self::Addr, u32) = (address([0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0]), 48);
    const LINK: u32 = 64;
    const ADDRESS_FLAGS: &str = "nodad";
    const DHCP: (u16, u16) = (547, 546);
    const TOO_BIG: (u8, u8) = (2, 0);
    const PORT_UNREACHABLE: (u8, u8) = (1, 4);
    const TIME_EXCEEDED: (u8, u8) = (3, 0);
    const DATAGRAM: ([u8; 4], u32) = ([0x4e, 0x54, 0x49, 0x36], 0);

    type Options = Vec<Extension>;

    fn harmless() -> Vec<(&'static str, Vec<Extension>)> {
        vec![
            ("hop-by-hop options", vec![router_alert()]),
            ("destination options", vec![options(24)]),
            ("a routing header at its end", vec![routing(0, &[Self::ROUTER])]),
            ("the fragment header of a whole packet", vec![fragment(0, false)]),
            ("eight extension headers", eight_headers()),
            (
                "128 bytes of extension headers",
                vec![
                    Extension { number: HOP_BY_HOP, ..options(104) },
                    options(16),
                    fragment(0, false),
                ],
            ),
            ("one extension header of 128 bytes", vec![options(128)]),
        ]
    }

    fn carrying(address: Self::Addr) -> Vec<(&'static str, Vec<Extension>)> {
        let before = [Self::ROUTER, address];
        vec![
            ("a routing header that has been there", vec![routing(0, &[address])]),
            (
                "the last segment of a routing header",
                vec![
                    Extension { number: HOP_BY_HOP, ..options(8) },
                    options(16),
                    routing(0, &before),
                ],
            ),
        ]
    }

    fn fragment(chain: &mut Vec<Extension>, offset: u16, more: bool) {
        chain.push(fragment(offset, more));
    }

    fn octets(address: &Self::Addr) -> Vec<u8> {
        match Self::to_ip(address) {
            IpAddr::V6(address) => address.octets().to_vec(),
            IpAddr::V4(_) => unreachable!(),
        }
    }

    fn header(packet: &Packet<Self>, transport: usize) -> Vec<u8> {
        let octets = |address| Self::octets(address).try_into().unwrap_or_default();
        let chain = &packet.options;
        let numbers = chain.iter().map(|extension| extension.number).chain([packet.protocol()]);
        let mut numbers = numbers.map(IpNumber);
        let next_header = numbers.next().unwrap_or_default();
        let mut extensions = Vec::new();
        for (Extension { bytes, .. }, next) in chain.iter().zip(numbers) {
            let units = (bytes.len() + 2) / 8;
            // Of a fragment header this byte is reserved, and zero as well.
            extensions.extend([next.0, units as u8 - 1]);
            extensions.extend(bytes);
        }
        let header = Ipv6Header {
            traffic_class: 0xb8,
            flow_label: Ipv6FlowLabel::try_new(0x5_4321).unwrap_or_default(),
            payload_length: (extensions.len() + transport) as u16,
            next_header,
            hop_limit: packet.hops,
            source: octets(&packet.src),
            destination: octets(&packet.dst),
        };
        [&header.to_bytes()[..], &extensions].concat()
    }

    fn own_cases() -> Vec<Case<Self>> {
        ipv6::cases()
    }
}
