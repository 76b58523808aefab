//! Frames by their parts. Whatever is asked for is built with complete checksums, so that a frame with other addresses
//! is what a rewritten one must equal, byte for byte.

use etherparse::{
    IcmpEchoHeader, Icmpv4Type, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, TcpHeader,
    UdpHeader,
};

pub type Addr = [u8; 4];

/// What follows the IP header.
#[derive(Debug, Clone)]
pub enum Body {
    Tcp {
        sport: u16,
        dport: u16,
        flags: u8,
    },
    Udp {
        sport: u16,
        dport: u16,
        summed: bool,
    },
    Echo {
        reply: bool,
        id: u16,
    },
    /// An ICMP error (type, code) that quotes the first bytes of a packet.
    Error {
        kind: u8,
        code: u8,
        quoted: Box<Packet>,
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

/// An IPv4 packet.
#[derive(Debug, Clone)]
pub struct Packet {
    pub src: Addr,
    pub dst: Addr,
    pub options: Vec<u8>,
    /// Offset in units of 8 bytes, and whether more fragments follow.
    pub fragment: (u16, bool),
    pub body: Body,
}

const PAYLOAD: &[u8] = b"The quick brown fox jumps over the lazy dog";

impl Packet {
    fn new(src: Addr, dst: Addr, body: Body) -> Self {
        Self { src, dst, options: Vec::new(), fragment: (0, false), body }
    }

    pub fn tcp((src, sport): (Addr, u16), (dst, dport): (Addr, u16), flags: u8) -> Self {
        Self::new(src, dst, Body::Tcp { sport, dport, flags })
    }

    pub fn udp((src, sport): (Addr, u16), (dst, dport): (Addr, u16)) -> Self {
        Self::new(src, dst, Body::Udp { sport, dport, summed: true })
    }

    pub fn unsummed_udp((src, sport): (Addr, u16), (dst, dport): (Addr, u16)) -> Self {
        Self::new(src, dst, Body::Udp { sport, dport, summed: false })
    }

    pub fn ping(src: Addr, dst: Addr, id: u16) -> Self {
        Self::new(src, dst, Body::Echo { reply: false, id })
    }

    pub fn pong(src: Addr, dst: Addr, id: u16) -> Self {
        Self::new(src, dst, Body::Echo { reply: true, id })
    }

    /// "Fragmentation needed", quoting the 8 bytes after the header that RFC 792 asks for.
    pub fn too_big(src: Addr, dst: Addr, quoted: Packet) -> Self {
        let bytes = 20 + quoted.options.len() + 8;
        Self::error(src, dst, (3, 4), quoted, bytes)
    }

    /// "Port unreachable", quoting as much as Linux does.
    pub fn port_unreachable(src: Addr, dst: Addr, quoted: Packet) -> Self {
        Self::error(src, dst, (3, 3), quoted, usize::MAX)
    }

    pub fn error(
        src: Addr,
        dst: Addr,
        (kind, code): (u8, u8),
        quoted: Packet,
        bytes: usize,
    ) -> Self {
        Self::new(src, dst, Body::Error { kind, code, quoted: Box::new(quoted), bytes })
    }

    pub fn raw(src: Addr, dst: Addr, protocol: u8) -> Self {
        Self::new(src, dst, Body::Raw { protocol, bytes: PAYLOAD.to_vec() })
    }

    /// The same packet as a fragment. A first one keeps its transport header; a later one has only payload.
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = (offset, more);
        if offset > 0 {
            let protocol = self.protocol();
            self.body = Body::Raw { protocol, bytes: PAYLOAD[..40].to_vec() };
        }
        self
    }

    pub fn options(mut self, options: &[u8]) -> Self {
        self.options = options.to_vec();
        self
    }

    fn protocol(&self) -> u8 {
        match self.body {
            Body::Tcp { .. } => 6,
            Body::Udp { .. } => 17,
            Body::Echo { .. } | Body::Error { .. } => 1,
            Body::Raw { protocol, .. } => protocol,
        }
    }

    /// From the IP header on.
    pub fn bytes(&self) -> Vec<u8> {
        let mut header = Ipv4Header::new(0, 64, IpNumber(self.protocol()), self.src, self.dst)
            .unwrap_or_else(|e| panic!("{e}"));
        header.options = Ipv4Options::try_from(&self.options[..]).unwrap_or_else(|e| panic!("{e}"));
        header.identification = 0x4e54;
        header.dont_fragment = false;
        header.fragment_offset =
            IpFragOffset::try_new(self.fragment.0).unwrap_or_else(|e| panic!("{e}"));
        header.more_fragments = self.fragment.1;
        let body = self.body_bytes(&header);
        header.set_payload_len(body.len()).unwrap_or_else(|e| panic!("{e}"));
        header.header_checksum = header.calc_header_checksum();
        let mut bytes = Vec::new();
        header.write(&mut bytes).unwrap_or_else(|e| panic!("{e}"));
        bytes.extend(body);
        bytes
    }

    fn body_bytes(&self, ip: &Ipv4Header) -> Vec<u8> {
        match &self.body {
            Body::Tcp { sport, dport, flags } => {
                let mut tcp = TcpHeader::new(*sport, *dport, 0x1000_0000, 64_000);
                (tcp.syn, tcp.ack, tcp.rst) =
                    (flags & SYN != 0, flags & ACK != 0, flags & RST != 0);
                // A reset carries no text here, or Linux would not count it as one of a connection.
                let payload = if flags & (SYN | RST) == 0 { PAYLOAD } else { &[] };
                tcp.checksum =
                    tcp.calc_checksum_ipv4(ip, payload).unwrap_or_else(|e| panic!("{e}"));
                [&tcp.to_bytes()[..], payload].concat()
            }
            Body::Udp { sport, dport, summed } => {
                let length = PAYLOAD.len();
                let udp = if *summed {
                    UdpHeader::with_ipv4_checksum(*sport, *dport, ip, PAYLOAD)
                } else {
                    UdpHeader::without_ipv4_checksum(*sport, *dport, length)
                };
                [&udp.unwrap_or_else(|e| panic!("{e}")).to_bytes()[..], PAYLOAD].concat()
            }
            Body::Echo { reply, id } => {
                let echo = IcmpEchoHeader { id: *id, seq: 1 };
                let kind = if *reply {
                    Icmpv4Type::EchoReply(echo)
                } else {
                    Icmpv4Type::EchoRequest(echo)
                };
                [&etherparse::Icmpv4Header::with_checksum(kind, PAYLOAD).to_bytes()[..], PAYLOAD]
                    .concat()
            }
            Body::Error { kind, code, quoted, bytes } => {
                let quoted = quoted.bytes();
                let quote = &quoted[..quoted.len().min(*bytes)];
                // The rest of the header is the next hop's MTU, where there is one.
                let rest = if (*kind, *code) == (3, 4) { [0, 0, 0x05, 0x14] } else { [0; 4] };
                let unknown =
                    Icmpv4Type::Unknown { type_u8: *kind, code_u8: *code, bytes5to8: rest };
                [&etherparse::Icmpv4Header::with_checksum(unknown, quote).to_bytes()[..], quote]
                    .concat()
            }
            Body::Raw { bytes, .. } => bytes.clone(),
        }
    }
}
