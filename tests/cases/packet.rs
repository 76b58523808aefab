//! Packets by their parts. Whatever is asked for is built with complete checksums, so that a frame with other addresses
//! is what a rewritten one must equal, byte for byte.

use etherparse::{TcpHeader, UdpHeader, checksum::Sum16BitWords};
use neti_common::headers::{TCP, UDP};

use crate::scene::Scene;

/// What follows the IP header.
#[derive(Debug, Clone)]
pub enum Body<F: Scene> {
    Tcp {
        sport: u16,
        dport: u16,
        flags: u8,
        /// Of the first byte, and of the next one expected.
        numbers: (u32, u32),
    },
    Udp {
        sport: u16,
        dport: u16,
        summed: bool,
    },
    /// An ICMP message: type and code, the rest of its header, and what follows it.
    Icmp {
        kind: (u8, u8),
        rest: [u8; 4],
        bytes: Vec<u8>,
    },
    /// An ICMP error (type, code) that quotes the first bytes of a packet.
    Error {
        kind: (u8, u8),
        quoted: Box<Packet<F>>,
        bytes: usize,
    },
    /// Another protocol, or a later fragment of one.
    Raw {
        protocol: u8,
        bytes: Vec<u8>,
    },
}

/// TCP flags.
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// An IP packet.
#[derive(Debug, Clone)]
pub struct Packet<F: Scene> {
    pub src: F::Addr,
    pub dst: F::Addr,
    /// How many routers may forward it.
    pub hops: u8,
    /// What stands between the fixed header and the transport's.
    pub options: F::Options,
    pub body: Body<F>,
}

pub const PAYLOAD: &[u8] = b"The quick brown fox jumps over the lazy dog";

impl<F: Scene> Packet<F> {
    pub fn new(src: F::Addr, dst: F::Addr, body: Body<F>) -> Self {
        Self { src, dst, hops: 64, options: F::Options::default(), body }
    }

    pub fn tcp((src, sport): (F::Addr, u16), (dst, dport): (F::Addr, u16), flags: u8) -> Self {
        Self::new(src, dst, Body::Tcp { sport, dport, flags, numbers: (0x1000_0000, 0) })
    }

    pub fn udp((src, sport): (F::Addr, u16), (dst, dport): (F::Addr, u16)) -> Self {
        Self::new(src, dst, Body::Udp { sport, dport, summed: true })
    }

    pub fn unsummed_udp((src, sport): (F::Addr, u16), (dst, dport): (F::Addr, u16)) -> Self {
        Self::new(src, dst, Body::Udp { sport, dport, summed: false })
    }

    /// A datagram whose checksum comes out as zero, which stands for none (RFC 768), so that 0xffff is sent.
    pub fn zero_sum_udp(src: F::Addr, dst: (F::Addr, u16)) -> Self {
        let from = |port| Self::udp((src, port), dst);
        let sums_to_zero = |packet: &Self| packet.body_bytes()[6..8] == [0xff; 2];
        let mut packets = (1024..=u16::MAX).map(from);
        packets.find(sums_to_zero).unwrap_or_else(|| panic!("no port makes the sum zero"))
    }

    /// The same packet between others.
    pub fn between(mut self, src: F::Addr, dst: F::Addr) -> Self {
        (self.src, self.dst) = (src, dst);
        self
    }

    pub fn ping(src: F::Addr, dst: F::Addr, id: u16) -> Self {
        Self::echo(src, dst, F::ECHO_REQUEST, id)
    }

    pub fn pong(src: F::Addr, dst: F::Addr, id: u16) -> Self {
        Self::echo(src, dst, F::ECHO_REPLY, id)
    }

    fn echo(src: F::Addr, dst: F::Addr, kind: u8, id: u16) -> Self {
        let [high, low] = id.to_be_bytes();
        Self::icmp(src, dst, (kind, 0), [high, low, 0, 1], PAYLOAD)
    }

    pub fn icmp(src: F::Addr, dst: F::Addr, kind: (u8, u8), rest: [u8; 4], bytes: &[u8]) -> Self {
        Self::new(src, dst, Body::Icmp { kind, rest, bytes: bytes.to_vec() })
    }

    /// The error that tells a path's MTU, quoting the 8 bytes after the header that RFC 792 asks for.
    pub fn too_big(src: F::Addr, dst: F::Addr, quoted: Packet<F>) -> Self {
        let bytes = quoted.header_length() + 8;
        Self::error(src, dst, F::TOO_BIG, quoted, bytes)
    }

    /// "Port unreachable", quoting as much as Linux does.
    pub fn port_unreachable(src: F::Addr, dst: F::Addr, quoted: Packet<F>) -> Self {
        Self::error(src, dst, F::PORT_UNREACHABLE, quoted, usize::MAX)
    }

    pub fn error(
        src: F::Addr,
        dst: F::Addr,
        kind: (u8, u8),
        quoted: Packet<F>,
        bytes: usize,
    ) -> Self {
        Self::new(src, dst, Body::Error { kind, quoted: Box::new(quoted), bytes })
    }

    pub fn raw(src: F::Addr, dst: F::Addr, protocol: u8) -> Self {
        Self::new(src, dst, Body::Raw { protocol, bytes: PAYLOAD.to_vec() })
    }

    /// The same packet as a fragment, with its offset in units of 8 bytes. A first one keeps its transport header; a later
    /// one has only payload.
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        F::fragment(&mut self.options, offset, more);
        if offset > 0 {
            let protocol = self.protocol();
            self.body = Body::Raw { protocol, bytes: PAYLOAD[..40].to_vec() };
        }
        self
    }

    pub fn options(mut self, options: &F::Options) -> Self {
        self.options = options.clone();
        self
    }

    pub fn hops(mut self, hops: u8) -> Self {
        self.hops = hops;
        self
    }

    pub fn protocol(&self) -> u8 {
        match self.body {
            Body::Tcp { .. } => TCP,
            Body::Udp { .. } => UDP,
            Body::Icmp { .. } | Body::Error { .. } => F::ICMP,
            Body::Raw { protocol, .. } => protocol,
        }
    }

    /// From the IP header on.
    pub fn bytes(&self) -> Vec<u8> {
        let body = self.body_bytes();
        [F::header(self, body.len()), body].concat()
    }

    /// Length of the IP header with all that stands before the transport's.
    pub fn header_length(&self) -> usize {
        F::header(self, 0).len()
    }

    fn body_bytes(&self) -> Vec<u8> {
        match &self.body {
            Body::Tcp { sport, dport, flags, numbers: (sequence, acknowledged) } => {
                let mut tcp = TcpHeader::new(*sport, *dport, *sequence, 64_000);
                tcp.acknowledgment_number = *acknowledged;
                (tcp.syn, tcp.ack, tcp.rst) =
                    (flags & SYN != 0, flags & ACK != 0, flags & RST != 0);
                // A reset carries no text here, or Linux would not count it as one of a connection.
                let payload = if flags & (SYN | RST) == 0 { PAYLOAD } else { &[] };
                self.summed([&tcp.to_bytes()[..], payload].concat(), 16, true)
            }
            Body::Udp { sport, dport, summed } => {
                let udp = UdpHeader {
                    source_port: *sport,
                    destination_port: *dport,
                    length: (UdpHeader::LEN + PAYLOAD.len()) as u16,
                    checksum: 0,
                };
                let bytes = [&udp.to_bytes()[..], PAYLOAD].concat();
                if !summed {
                    return bytes;
                }
                let mut bytes = self.summed(bytes, 6, true);
                // Zero says that there is none (RFC 768).
                if bytes[6..8] == [0, 0] {
                    bytes[6..8].fill(0xff);
                }
                bytes
            }
            Body::Icmp { kind, rest, bytes } => self.icmp_bytes(*kind, *rest, bytes),
            Body::Error { kind, quoted, bytes } => {
                let quoted = quoted.bytes();
                // The rest of the header is an MTU, where there is one.
                let rest = if *kind == F::TOO_BIG { [0, 0, 0x05, 0x14] } else { [0; 4] };
                self.icmp_bytes(*kind, rest, &quoted[..quoted.len().min(*bytes)])
            }
            Body::Raw { bytes, .. } => bytes.clone(),
        }
    }

    fn icmp_bytes(&self, (kind, code): (u8, u8), rest: [u8; 4], bytes: &[u8]) -> Vec<u8> {
        let message = [&[kind, code, 0, 0][..], &rest, bytes].concat();
        self.summed(message, 2, F::ICMP_PSEUDO_HEADER)
    }

    /// A transport header and its payload, with the checksum in its place. The pseudo-headers of both families have the
    /// same sum: addresses, length, protocol and zeros.
    fn summed(&self, mut bytes: Vec<u8>, at: usize, pseudo_header: bool) -> Vec<u8> {
        let mut sum = Sum16BitWords::new().add_slice(&bytes);
        if pseudo_header {
            sum = sum.add_slice(&F::octets(&self.src)).add_slice(&F::octets(&self.dst));
            sum = sum.add_2bytes((bytes.len() as u16).to_be_bytes());
            sum = sum.add_2bytes([0, self.protocol()]);
        }
        bytes[at..at + 2].copy_from_slice(&sum.ones_complement().to_ne_bytes());
        bytes
    }
}
