//! One frame of a flood, whose source changes from packet to packet. Its checksums are right, and cost next to nothing:
//! they are those of the frame without a source, plus the source (RFC 1071).

use std::net::{IpAddr, SocketAddr};

use super::Kind;
use crate::{family::Family, packets::Link};

/// Length of an Ethernet header.
const ETHERNET: usize = 14;

/// A frame.
pub(super) struct Frame {
    bytes: Vec<u8>,
    /// Where the source address is.
    source: usize,
    /// Where the source port is.
    port: usize,
    /// Where the transport's checksum is.
    checksum: usize,
    /// The sums of the IPv4 header and of the transport, without a source.
    sums: (u32, u32),
}

impl Frame {
    pub fn new(kind: Kind, link: &Link, to: IpAddr) -> Self {
        let family = Family::of(to);
        let bytes = build(kind, link, (family.any(), 0).into(), to);
        let source = match family {
            Family::V4 => ETHERNET + 12,
            Family::V6 => ETHERNET + 8,
        };
        let port = ETHERNET + family.header();
        let checksum = port + if kind == Kind::Udp { 6 } else { 16 };
        let sum = |at: usize| u32::from(!u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let sums = (sum(HEADER_CHECKSUM), sum(checksum));
        Self { bytes, source, port, checksum, sums }
    }

    /// Gives it another source.
    pub fn set(&mut self, source: IpAddr, port: u16) {
        let (header, transport) = self.sums;
        let added = match source {
            IpAddr::V4(source) => {
                let added = self.write(&source.octets());
                self.put(HEADER_CHECKSUM, folded(header + added));
                added
            }
            IpAddr::V6(source) => self.write(&source.octets()),
        };
        self.put(self.port, port);
        // An IPv6 or UDP checksum is never 0, which would mean that there is none; its other form is as good for TCP.
        let sum = match folded(transport + added + u32::from(port)) {
            0 => 0xffff,
            sum => sum,
        };
        self.put(self.checksum, sum);
    }

    /// Where it is, for as long as it lives.
    pub fn vector(&mut self) -> libc::iovec {
        libc::iovec { iov_base: self.bytes.as_mut_ptr().cast(), iov_len: self.bytes.len() }
    }

    /// Writes the source and gives the sum of its words.
    fn write(&mut self, address: &[u8]) -> u32 {
        self.bytes[self.source..self.source + address.len()].copy_from_slice(address);
        address.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum()
    }

    fn put(&mut self, at: usize, word: u16) {
        self.bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
    }
}

/// Where the checksum of an IPv4 header is.
const HEADER_CHECKSUM: usize = ETHERNET + 10;

fn build(kind: Kind, link: &Link, from: SocketAddr, to: IpAddr) -> Vec<u8> {
    const HTTP: u16 = 80;
    const DNS: u16 = 53;
    match kind {
        Kind::Syn => link.syn(from, (to, HTTP).into()),
        Kind::Udp => link.udp(from, (to, DNS).into(), b"a question"),
        Kind::Ack => link.ack(from, (to, HTTP).into()),
    }
}

/// The checksum of what adds up to this.
fn folded(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flood::source;

    #[test]
    fn checksums_are_those_of_a_frame_built_anew() {
        let link = Link { from: [2, 0, 0, 0, 0, 1], to: [2, 0, 0, 0, 0, 2] };
        for family in Family::ALL {
            let to = crate::topology::LAN.host(family, 11);
            for kind in [Kind::Syn, Kind::Ack, Kind::Udp] {
                let mut frame = Frame::new(kind, &link, to);
                for number in [0, 1, 0x0f_ffff, 0x0a_5a5a, 0x01_fffe] {
                    let (source, port) = (source(family, number), 40_000);
                    frame.set(source, port);
                    let anew = build(kind, &link, (source, port).into(), to);
                    assert_eq!(frame.bytes, anew, "{kind:?} from {source}");
                }
            }
        }
    }
}
