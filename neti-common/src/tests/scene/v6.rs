//! IPv6's scene.

use std::net::{IpAddr, Ipv6Addr};

use etherparse::{
    IpHeaders, Ipv6Extensions, Ipv6FlowLabel, Ipv6FragmentHeader, Ipv6Header, Ipv6RawExtHeader,
    Ipv6RoutingExtensions, PacketBuilderStep, ip_number,
};

use super::{Scene, link};
use crate::family::{Family, V6};

impl Scene for V6 {
    const HUDSON: Self::Addr = v6([0xfd00, 1, 0, 0, 0, 0, 0, 0x10]);
    const HUDSON_OVERLAY: Self::Addr = v6([0xfd64, 0, 0, 0, 0, 0, 1, 1]);
    const WALDEN: Self::Addr = v6([0x2001, 0xdb8, 0x113, 0, 0, 0, 0, 0x110]);
    const WALDEN_OTHER: Self::Addr = v6([0xfd00, 9, 0, 0, 0, 0, 0, 9]);
    const WALDEN_OVERLAY: Self::Addr = v6([0xfd64, 0, 0, 0xffff, 0, 0xffff, 2, 2]);
    const STRANGER: Self::Addr = v6([0x2001, 0xdb8, 0x66, 0, 0, 0, 0, 0x66]);
    const ROUTER: Self::Addr = v6([0x2001, 0xdb8, 0x66, 0, 0, 0, 0, 1]);
    const NOBODY: Self::Addr = v6([0xfd64, 0, 0, 0, 0, 0, 9, 9]);
    const CONTAINER: Self::Addr = v6([0xfd00, 5, 0, 0, 0, 0, 5, 5]);
    const ADMIN: Self::Addr = v6([0xfd00, 3, 0, 0, 0, 0, 0, 4]);
    const SERVER: Self::Addr = v6([0xfe80, 0, 0, 0, 0, 0, 0, 1]);
    const METADATA: Self::Addr = v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]);
    const RANGE: (u128, u32) = (0xfd64 << 112, 48);
    const DHCP: (u16, u16) = (547, 546);
    const FIRST_BYTE: u8 = 0x60;
    const LENGTH: usize = 4;
    const PROTOCOL: usize = 6;
    const TOO_BIG: (u8, u8) = (2, 0);
    const REDIRECT: (u8, u8) = (137, 0);

    fn address(bits: u128) -> Self::Addr {
        Self::of(Ipv6Addr::from_bits(bits).into()).unwrap()
    }

    fn octets(address: &Self::Addr) -> Vec<u8> {
        match Self::to_ip(address) {
            IpAddr::V6(address) => address.octets().to_vec(),
            IpAddr::V4(_) => unreachable!(),
        }
    }

    fn total(payload: usize) -> usize {
        payload
    }

    fn header(src: Self::Addr, dst: Self::Addr) -> IpHeaders {
        let header = Ipv6Header {
            traffic_class: 0xb8,
            flow_label: Ipv6FlowLabel::try_new(0x5_4321).unwrap(),
            hop_limit: 64,
            source: Self::octets(&src).try_into().unwrap(),
            destination: Self::octets(&dst).try_into().unwrap(),
            ..Default::default()
        };
        IpHeaders::Ipv6(header, Default::default())
    }

    fn fragment(header: IpHeaders, offset: u16, more: bool) -> IpHeaders {
        let IpHeaders::Ipv6(header, mut extensions) = header else { unreachable!() };
        let offset = offset.try_into().unwrap();
        extensions.fragment = Some(Ipv6FragmentHeader::new(ip_number::UDP, offset, more, 99));
        IpHeaders::Ipv6(header, extensions)
    }

    /// Every choice of four extension headers; the fragment header is that of a whole packet.
    fn with_options(header: IpHeaders) -> Vec<IpHeaders> {
        let IpHeaders::Ipv6(header, _) = header else { unreachable!() };
        let fragment = Ipv6FragmentHeader::new(ip_number::UDP, Default::default(), false, 99);
        (0..16)
            .map(|choice| {
                let wanted = |bit| choice & 1 << bit != 0;
                let extensions = Ipv6Extensions {
                    hop_by_hop_options: wanted(0).then(|| extension(&ROUTER_ALERT)),
                    destination_options: wanted(1).then(|| extension(&PADDING)),
                    routing: wanted(2).then(|| routing(0, &[])),
                    fragment: wanted(3).then(|| fragment.clone()),
                    auth: None,
                };
                IpHeaders::Ipv6(header.clone(), extensions)
            })
            .collect()
    }

    /// A routing header whose last segment is reached, with the address first and last, before and behind others.
    fn carrying(header: IpHeaders, address: Self::Addr) -> Vec<IpHeaders> {
        let segments = [[address, Self::STRANGER], [Self::STRANGER, address]];
        let mut headers = Vec::new();
        for header in Self::with_options(header) {
            for segments in segments {
                let IpHeaders::Ipv6(header, mut extensions) = header.clone() else {
                    unreachable!()
                };
                extensions.routing = Some(routing(0, &segments));
                headers.push(IpHeaders::Ipv6(header, extensions));
            }
        }
        headers
    }

    /// Neighbour discovery (RFC 4861): solicitation, advertisement and redirect.
    fn link_messages(
        src: Self::Addr,
        dst: Self::Addr,
        a: Self::Addr,
        b: Self::Addr,
    ) -> Vec<Vec<u8>> {
        let (a, b) = (Self::octets(&a), Self::octets(&b));
        let message = |kind, body: &[u8]| {
            let IpHeaders::Ipv6(mut header, extensions) = Self::header(src, dst) else {
                unreachable!()
            };
            header.hop_limit = 255;
            let step = link().ip(IpHeaders::Ipv6(header, extensions));
            Self::icmp(step, (kind, 0), [0; 4], body)
        };
        vec![message(135, &a), message(136, &a), message(137, &[a.clone(), b].concat())]
    }

    fn icmp(
        step: PacketBuilderStep<IpHeaders>,
        (kind, code): (u8, u8),
        rest: [u8; 4],
        body: &[u8],
    ) -> Vec<u8> {
        let mut frame = Vec::new();
        step.icmpv6_raw(kind, code, rest).write(&mut frame, body).unwrap();
        frame
    }
}

/// An address by its eight groups.
const fn v6(groups: [u16; 8]) -> <V6 as Family>::Addr {
    let [a, b, c, d, e, f, g, h] = groups;
    <V6 as Family>::Addr::new(Ipv6Addr::new(a, b, c, d, e, f, g, h))
}

/// A hop-by-hop option (RFC 2711), and padding that fills an options header of eight bytes.
pub const ROUTER_ALERT: [u8; 6] = [5, 2, 0, 0, 1, 0];
pub const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];

/// An extension header, from its third byte on.
fn extension(body: &[u8]) -> Ipv6RawExtHeader {
    Ipv6RawExtHeader::new_raw(ip_number::UDP, body).unwrap()
}

/// A routing header of type 0.
fn routing(left: u8, segments: &[<V6 as Family>::Addr]) -> Ipv6RoutingExtensions {
    let segments: Vec<u8> = segments.iter().flat_map(V6::octets).collect();
    let routing = extension(&[&[0, left, 0, 0, 0, 0][..], &segments].concat());
    Ipv6RoutingExtensions { routing, final_destination_options: None }
}
