//! Frames built for a link.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep, TcpHeader};

use crate::family::Family;

/// Frames with a broadcast destination or source cannot tell whose they are; the two ends on one link.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub from: [u8; 6],
    pub to: [u8; 6],
}

impl Link {
    /// A UDP datagram.
    pub fn udp(&self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let builder = self.ip(source.ip(), destination.ip());
        let builder = builder.udp(source.port(), destination.port());
        written(|frame| builder.write(frame, payload))
    }

    /// A TCP SYN.
    pub fn syn(&self, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        self.tcp(source, destination, 0x02, &[])
    }

    /// A TCP segment with these flags: FIN is the lowest bit, then come SYN, RST, PSH, ACK and URG.
    pub fn tcp(
        &self,
        source: SocketAddr,
        destination: SocketAddr,
        flags: u8,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut header = TcpHeader::new(source.port(), destination.port(), 1, 64_000);
        let set = |bit: u8| flags >> bit & 1 != 0;
        (header.fin, header.syn, header.rst) = (set(0), set(1), set(2));
        (header.psh, header.ack, header.urg) = (set(3), set(4), set(5));
        let builder = self.ip(source.ip(), destination.ip()).tcp_header(header);
        written(|frame| builder.write(frame, payload))
    }

    /// A TCP segment of a connection, without data.
    pub fn ack(&self, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let builder = self.ip(source.ip(), destination.ip());
        let builder = builder.tcp(source.port(), destination.port(), 1, 64_000).ack(1);
        written(|frame| builder.write(frame, &[]))
    }

    /// An ICMP echo request.
    pub fn echo(&self, source: IpAddr, destination: IpAddr, id: u16) -> Vec<u8> {
        let kind = if source.is_ipv4() { 8 } else { 128 };
        let [high, low] = id.to_be_bytes();
        self.icmp((source, destination), [kind, 0], [high, low, 0, 1], b"neti")
    }

    /// An ICMP message of this type and code; `rest` is the rest of its header.
    pub fn icmp(
        &self,
        (source, destination): (IpAddr, IpAddr),
        [kind, code]: [u8; 2],
        rest: [u8; 4],
        payload: &[u8],
    ) -> Vec<u8> {
        let builder = self.ip(source, destination);
        written(|frame| match Family::of(source) {
            Family::V4 => builder.icmpv4_raw(kind, code, rest).write(frame, payload),
            Family::V6 => builder.icmpv6_raw(kind, code, rest).write(frame, payload),
        })
    }

    /// A packet with this protocol number and payload.
    pub fn raw(
        &self,
        (source, destination): (IpAddr, IpAddr),
        protocol: u8,
        payload: &[u8],
    ) -> Vec<u8> {
        let builder = self.ip(source, destination);
        written(|frame| builder.write(frame, protocol.into(), payload))
    }

    /// The headers in front of the transport.
    pub fn ip(&self, source: IpAddr, destination: IpAddr) -> PacketBuilderStep<IpHeaders> {
        let builder = PacketBuilder::ethernet2(self.from, self.to);
        match (source, destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => builder.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => builder.ipv6(from.octets(), to.octets(), 64),
            _ => panic!("{source} to {destination}: two families"),
        }
    }
}

/// The frame that a builder writes.
fn written<E: std::fmt::Display>(
    write: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), E>,
) -> Vec<u8> {
    let mut frame = Vec::new();
    write(&mut frame).unwrap_or_else(|e| panic!("build a frame: {e}"));
    frame
}
