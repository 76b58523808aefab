//! IPv4's scene.

use etherparse::{IpHeaders, Ipv4Header, PacketBuilderStep, ip_number};

use super::Scene;
use crate::family::{Family, V4};

impl Scene for V4 {
    const HUDSON: Self::Addr = [10, 0, 0, 10];
    const HUDSON_OVERLAY: Self::Addr = [100, 64, 1, 1];
    const WALDEN: Self::Addr = [203, 0, 113, 110];
    const WALDEN_OTHER: Self::Addr = [10, 9, 9, 9];
    const WALDEN_OVERLAY: Self::Addr = [100, 64, 2, 2];
    const STRANGER: Self::Addr = [198, 51, 100, 66];
    const ROUTER: Self::Addr = [198, 51, 100, 1];
    const NOBODY: Self::Addr = [100, 64, 9, 9];
    const CONTAINER: Self::Addr = [10, 5, 5, 5];
    const ADMIN: Self::Addr = [192, 168, 3, 4];
    const SERVER: Self::Addr = [10, 0, 0, 1];
    const METADATA: Self::Addr = [169, 254, 169, 254];
    const RANGE: (u128, u32) = (0x6440_0000, 16);
    const DHCP: (u16, u16) = (67, 68);
    const FIRST_BYTE: u8 = 0x45;
    const LENGTH: usize = 2;
    const PROTOCOL: usize = 9;
    const TOO_BIG: (u8, u8) = (3, 4);
    const REDIRECT: (u8, u8) = (5, 1);

    fn address(bits: u128) -> Self::Addr {
        (bits as u32).to_be_bytes()
    }

    fn octets(address: &Self::Addr) -> Vec<u8> {
        address.to_vec()
    }

    fn total(payload: usize) -> usize {
        Self::HEADER + payload
    }

    fn header(src: Self::Addr, dst: Self::Addr) -> IpHeaders {
        let header = Ipv4Header::new(0, 64, ip_number::UDP, src, dst).unwrap();
        IpHeaders::Ipv4(header, Default::default())
    }

    fn fragment(header: IpHeaders, offset: u16, more: bool) -> IpHeaders {
        let IpHeaders::Ipv4(mut header, extensions) = header else { unreachable!() };
        header.identification = 99;
        header.dont_fragment = false;
        header.fragment_offset = offset.try_into().unwrap();
        header.more_fragments = more;
        IpHeaders::Ipv4(header, extensions)
    }

    fn with_options(header: IpHeaders) -> Vec<IpHeaders> {
        [0, 4, 12, 40].map(|length| options(&header, &vec![1; length])).to_vec()
    }

    /// Record route (RFC 791 3.1), which puts the address at an odd offset, and a router alert before it.
    fn carrying(header: IpHeaders, address: Self::Addr) -> Vec<IpHeaders> {
        let record = [&[7, 7, 8][..], &address, &[0]].concat();
        let behind = [&[148, 4, 0, 0][..], &record].concat();
        vec![options(&header, &record), options(&header, &behind)]
    }

    /// ARP (RFC 826), asked and answered.
    fn link_messages(_: Self::Addr, _: Self::Addr, a: Self::Addr, b: Self::Addr) -> Vec<Vec<u8>> {
        let arp = |operation| {
            let head = [0, 1, 8, 0, 6, 4, 0, operation];
            [&[2; 12][..], &[8, 6], &head, &[2; 6], &a, &[0; 6], &b].concat()
        };
        vec![arp(1), arp(2)]
    }

    fn icmp(
        step: PacketBuilderStep<IpHeaders>,
        (kind, code): (u8, u8),
        rest: [u8; 4],
        body: &[u8],
    ) -> Vec<u8> {
        let mut frame = Vec::new();
        step.icmpv4_raw(kind, code, rest).write(&mut frame, body).unwrap();
        frame
    }
}

/// The same header with IPv4 options.
fn options(header: &IpHeaders, options: &[u8]) -> IpHeaders {
    let IpHeaders::Ipv4(header, extensions) = header.clone() else { unreachable!() };
    IpHeaders::Ipv4(Ipv4Header { options: options.try_into().unwrap(), ..header }, extensions)
}
