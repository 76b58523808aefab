//! IPv4's scene.

use etherparse::{IpNumber, Ipv4Header};
use neti_common::{family::V4, headers::UDP};

use super::Scene;
use crate::{Case, ipv4, packet::Packet};

/// Options of the header, and what makes it a fragment: its offset in units of 8 bytes, and whether more follow.
#[derive(Debug, Clone, Default)]
pub struct Options {
    bytes: Vec<u8>,
    fragment: (u16, bool),
}

fn options(bytes: &[u8]) -> Options {
    Options { bytes: bytes.to_vec(), fragment: (0, false) }
}

impl Scene for V4 {
    const OWN: Self::Addr = [10, 0, 0, 10];
    const OWN_OVERLAY: Self::Addr = [100, 64, 1, 1];
    const NEAR: Self::Addr = [10, 0, 0, 11];
    const NEAR_OVERLAY: Self::Addr = [100, 64, 1, 2];
    const FAR: Self::Addr = [203, 0, 113, 110];
    const FAR_OVERLAY: Self::Addr = [100, 64, 1, 3];
    const PLAIN: Self::Addr = [203, 0, 113, 120];
    const NOBODY: Self::Addr = [100, 64, 9, 9];
    const STRANGER: Self::Addr = [198, 51, 100, 99];
    const NEIGHBOUR: Self::Addr = [10, 0, 0, 66];
    const ROUTER: Self::Addr = [10, 0, 0, 1];
    const EVERYONE: Self::Addr = [255; 4];
    const METADATA: Self::Addr = [169, 254, 169, 254];
    const RANGE: (Self::Addr, u32) = ([100, 64, 0, 0], 16);
    const FAILSAFE: (Self::Addr, u32) = ([10, 0, 0, 0], 8);
    const STRANGERS: (Self::Addr, u32) = ([198, 51, 100, 0], 24);
    const LINK: u32 = 24;
    const ADDRESS_FLAGS: &str = "";
    const DHCP: (u16, u16) = (67, 68);
    const TOO_BIG: (u8, u8) = (3, 4);
    const PORT_UNREACHABLE: (u8, u8) = (3, 3);
    const TIME_EXCEEDED: (u8, u8) = (11, 0);
    const DATAGRAM: ([u8; 4], u32) = ([0x4e, 0x54, 0, 0], UDP as u32);

    type Options = Options;

    fn harmless() -> Vec<(&'static str, Options)> {
        vec![("options", options(&[1; 8])), ("the longest options", options(&[1; 40]))]
    }

    /// Record route (RFC 791 3.1) with one slot, filled.
    fn carrying(address: Self::Addr) -> Vec<(&'static str, Options)> {
        let record = [&[7, 7, 8][..], &address, &[0]].concat();
        let behind = [&[1, 1][..], &record, &[1, 1]].concat();
        vec![
            ("an option that has recorded it", options(&record)),
            ("an option behind padding that has recorded it", options(&behind)),
        ]
    }

    fn fragment(options: &mut Options, offset: u16, more: bool) {
        options.fragment = (offset, more);
    }

    fn octets(address: &Self::Addr) -> Vec<u8> {
        address.to_vec()
    }

    fn header(packet: &Packet<Self>, transport: usize) -> Vec<u8> {
        let protocol = IpNumber(packet.protocol());
        let payload = u16::try_from(transport).unwrap_or_else(|e| panic!("{e}"));
        let mut header = Ipv4Header::new(payload, packet.hops, protocol, packet.src, packet.dst)
            .unwrap_or_else(|e| panic!("{e}"));
        let Options { bytes, fragment: (offset, more) } = &packet.options;
        let length = usize::from(header.total_len) + bytes.len();
        header.options = bytes[..].try_into().unwrap_or_else(|e| panic!("{e}"));
        header.total_len = length as u16;
        header.identification = 0x4e54;
        header.dont_fragment = false;
        header.fragment_offset = (*offset).try_into().unwrap_or_else(|e| panic!("{e}"));
        header.more_fragments = *more;
        header.header_checksum = header.calc_header_checksum();
        header.to_bytes().to_vec()
    }

    fn own_cases() -> Vec<Case<Self>> {
        ipv4::cases()
    }
}
