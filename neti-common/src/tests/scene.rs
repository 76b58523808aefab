//! Who is who in each family, and frames of either.

use etherparse::{Ethernet2Header, IpHeaders, PacketBuilder, PacketBuilderStep};

use crate::{
    family::Family,
    maps::{Ends, Prefix},
};

mod v4;
mod v6;

/// Length of the link-layer header.
pub const ETHERNET: usize = 14;

pub fn link() -> PacketBuilderStep<Ethernet2Header> {
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
}

/// What a family calls the hosts, and how it builds its frames.
pub trait Scene: Family {
    const HUDSON: Self::Addr;
    const HUDSON_OVERLAY: Self::Addr;
    const WALDEN: Self::Addr;
    /// Walden's private address, which hudson does not use but accepts.
    const WALDEN_OTHER: Self::Addr;
    const WALDEN_OVERLAY: Self::Addr;
    const STRANGER: Self::Addr;
    const ROUTER: Self::Addr;
    /// An overlay address that no member has.
    const NOBODY: Self::Addr;
    /// A container behind hudson that is routed, not masqueraded.
    const CONTAINER: Self::Addr;
    /// An administrator's host.
    const ADMIN: Self::Addr;
    /// The DHCP server.
    const SERVER: Self::Addr;
    /// The cloud's metadata service.
    const METADATA: Self::Addr;
    /// The fleet's overlay range: network and length in bits.
    const RANGE: (u128, u32);
    /// DHCP's ports, the server's first.
    const DHCP: (u16, u16);
    /// The header's first byte.
    const FIRST_BYTE: u8;
    /// Offset of the length in the header, and of the protocol.
    const LENGTH: usize;
    const PROTOCOL: usize;
    /// Type and code of the ICMP error that tells the MTU of a path, and of a redirect.
    const TOO_BIG: (u8, u8);
    const REDIRECT: (u8, u8);

    const OVERLAY: Ends<Self> = Ends { peer: Self::WALDEN_OVERLAY, own: Self::HUDSON_OVERLAY };
    const REAL: Ends<Self> = Ends { peer: Self::WALDEN, own: Self::HUDSON };

    /// The address of these low bits.
    fn address(bits: u128) -> Self::Addr;
    /// An address as on the wire.
    fn octets(address: &Self::Addr) -> Vec<u8>;
    /// What the header gives as length before so many bytes.
    fn total(payload: usize) -> usize;
    /// The header of a packet without options or extension headers.
    fn header(src: Self::Addr, dst: Self::Addr) -> IpHeaders;
    /// The header of a fragment; the offset is in units of 8 bytes.
    fn fragment(header: IpHeaders, offset: u16, more: bool) -> IpHeaders;
    /// The same headers with options or extension headers, in many ways.
    fn with_options(header: IpHeaders) -> Vec<IpHeaders>;
    /// The same headers with an address in an option or extension header.
    fn carrying(header: IpHeaders, address: Self::Addr) -> Vec<IpHeaders>;
    /// Messages of the link's own protocols about two addresses.
    fn link_messages(
        src: Self::Addr,
        dst: Self::Addr,
        a: Self::Addr,
        b: Self::Addr,
    ) -> Vec<Vec<u8>>;
    /// An ICMP message behind a header.
    fn icmp(
        step: PacketBuilderStep<IpHeaders>,
        kind: (u8, u8),
        rest: [u8; 4],
        body: &[u8],
    ) -> Vec<u8>;

    fn range() -> Prefix<Self> {
        Prefix { network: Self::address(Self::RANGE.0), mask: Self::mask(Self::RANGE.1) }
    }

    fn ip(src: Self::Addr, dst: Self::Addr) -> PacketBuilderStep<IpHeaders> {
        link().ip(Self::header(src, dst))
    }

    fn udp(src: Self::Addr, dst: Self::Addr, sport: u16, dport: u16) -> Vec<u8> {
        let mut frame = Vec::new();
        Self::ip(src, dst).udp(sport, dport).write(&mut frame, b"payload").unwrap();
        frame
    }

    /// A TCP segment; `flags` of "SARF.".
    fn tcp(src: Self::Addr, dst: Self::Addr, sport: u16, dport: u16, flags: &str) -> Vec<u8> {
        let mut step = Self::ip(src, dst).tcp(sport, dport, 0x01020304, 1024);
        for flag in flags.chars() {
            step = match flag {
                'S' => step.syn(),
                'A' => step.ack(77),
                'R' => step.rst(),
                'F' => step.fin(),
                _ => step,
            };
        }
        let mut frame = Vec::new();
        step.write(&mut frame, b"").unwrap();
        frame
    }

    fn echo_request(src: Self::Addr, dst: Self::Addr, id: u16) -> Vec<u8> {
        Self::echo(src, dst, Self::ECHO_REQUEST, id)
    }

    fn echo_reply(src: Self::Addr, dst: Self::Addr, id: u16) -> Vec<u8> {
        Self::echo(src, dst, Self::ECHO_REPLY, id)
    }

    fn echo(src: Self::Addr, dst: Self::Addr, kind: u8, id: u16) -> Vec<u8> {
        let [high, low] = id.to_be_bytes();
        Self::icmp(Self::ip(src, dst), (kind, 0), [high, low, 0, 1], b"ping")
    }

    /// The ICMP error that tells the MTU of a path, about a frame; it quotes as much as RFC 1812 asks for.
    fn too_big(src: Self::Addr, dst: Self::Addr, about: &[u8]) -> Vec<u8> {
        let quoted = &about[ETHERNET..about.len().min(ETHERNET + 548)];
        Self::icmp(Self::ip(src, dst), Self::TOO_BIG, [0, 0, 5, 0], quoted)
    }

    /// Source and destination address of an untagged frame.
    fn addresses(frame: &[u8]) -> (Self::Addr, Self::Addr) {
        Self::addresses_at(frame, ETHERNET)
    }

    /// Source and destination of the packet that an ICMP error quotes.
    fn quoted(frame: &[u8]) -> (Self::Addr, Self::Addr) {
        Self::addresses_at(frame, ETHERNET + Self::HEADER + 8)
    }

    fn addresses_at(frame: &[u8], l3: usize) -> (Self::Addr, Self::Addr) {
        let at = |offset| {
            let mut bits = [0; 16];
            let length = Self::BITS as usize / 8;
            bits[16 - length..].copy_from_slice(&frame[l3 + offset..][..length]);
            Self::address(u128::from_be_bytes(bits))
        };
        (at(Self::SRC), at(Self::DST))
    }

    /// Source and destination port of an untagged frame without options or extension headers.
    fn ports(frame: &[u8]) -> (u16, u16) {
        Self::ports_at(frame, ETHERNET + Self::HEADER)
    }

    /// Those of the packet that an ICMP error quotes.
    fn quoted_ports(frame: &[u8]) -> (u16, u16) {
        Self::ports_at(frame, ETHERNET + Self::HEADER + 8 + Self::HEADER)
    }

    fn ports_at(frame: &[u8], l4: usize) -> (u16, u16) {
        let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        (port(l4), port(l4 + 2))
    }
}
