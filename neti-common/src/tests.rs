//! The packet logic on two hosts of plain data: hudson, and walden far away.

use etherparse::PacketBuilder;

use crate::{
    egress::egress,
    family::{Family, V4},
    ingress::ingress,
    maps::{Ends, Prefix, identity, mode},
    model::World,
    packet::Frame,
    verdict::{Action, Reason, Verdict},
};

mod errors;
mod flows;
mod hints;
mod roundtrip;
mod twins;

pub type Addr = [u8; 4];

pub const HUDSON: Addr = [10, 0, 0, 10];
pub const HUDSON_OVERLAY: Addr = [100, 64, 1, 1];
pub const WALDEN: Addr = [203, 0, 113, 110];
/// Walden's private address, which hudson does not use but accepts.
pub const WALDEN_OTHER: Addr = [10, 9, 9, 9];
pub const WALDEN_OVERLAY: Addr = [100, 64, 2, 2];
pub const STRANGER: Addr = [198, 51, 100, 66];
pub const ROUTER: Addr = [198, 51, 100, 1];

pub const OVERLAY: Ends<V4> = Ends { peer: WALDEN_OVERLAY, own: HUDSON_OVERLAY };
pub const REAL: Ends<V4> = Ends { peer: WALDEN, own: HUDSON };

pub fn range() -> Prefix<V4> {
    Prefix { network: [100, 64, 0, 0], mask: V4::mask(16) }
}

/// Hudson, which knows walden, under `enforce`.
pub fn hudson(identity: u8) -> World<V4> {
    let mut world = World::new(HUDSON, HUDSON_OVERLAY, range());
    world.settings.mode = mode::ENFORCE;
    world.settings.identity = identity;
    world.add_member(WALDEN_OVERLAY, &[WALDEN, WALDEN_OTHER], false);
    world
}

/// Walden, which knows hudson, under `enforce`.
pub fn walden(identity: u8) -> World<V4> {
    let mut world = World::new(WALDEN, WALDEN_OVERLAY, range());
    world.settings.mode = mode::ENFORCE;
    world.settings.identity = identity;
    world.add_member(HUDSON_OVERLAY, &[HUDSON], false);
    world
}

pub fn both_identities() -> [u8; 2] {
    [identity::REAL, identity::OVERLAY]
}

fn link() -> etherparse::PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
}

pub fn udp(src: Addr, dst: Addr, sport: u16, dport: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    link().ipv4(src, dst, 64).udp(sport, dport).write(&mut frame, b"payload").unwrap();
    frame
}

/// A TCP segment; `flags` of "SARF.".
pub fn tcp(src: Addr, dst: Addr, sport: u16, dport: u16, flags: &str) -> Vec<u8> {
    let mut step = link().ipv4(src, dst, 64).tcp(sport, dport, 0x01020304, 1024);
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

pub fn echo_request(src: Addr, dst: Addr, id: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    link().ipv4(src, dst, 64).icmpv4_echo_request(id, 1).write(&mut frame, b"ping").unwrap();
    frame
}

pub fn echo_reply(src: Addr, dst: Addr, id: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    link().ipv4(src, dst, 64).icmpv4_echo_reply(id, 1).write(&mut frame, b"ping").unwrap();
    frame
}

/// An ICMP "fragmentation needed" about a frame, quoting as much of it as RFC 1812 asks for.
pub fn too_big(src: Addr, dst: Addr, about: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let quoted = &about[14..about.len().min(14 + 548)];
    link().ipv4(src, dst, 64).icmpv4_raw(3, 4, [0, 0, 5, 0]).write(&mut frame, quoted).unwrap();
    frame
}

pub fn leave(world: &World<V4>, frame: &mut [u8]) -> Verdict {
    let verdict = egress(&mut Frame::new(frame), world);
    assert_valid(frame);
    verdict
}

/// As [`leave`], of a packet that came in through another interface.
pub fn forwarded(world: &World<V4>, frame: &mut [u8]) -> Verdict {
    let mut packet = Frame::new(frame);
    packet.forwarded = true;
    let verdict = egress(&mut packet, world);
    assert_valid(frame);
    verdict
}

pub fn arrive(world: &World<V4>, frame: &mut [u8]) -> Verdict {
    let verdict = ingress(&mut Frame::new(frame), world);
    assert_valid(frame);
    verdict
}

/// Source and destination address of an untagged frame.
pub fn addresses(frame: &[u8]) -> (Addr, Addr) {
    (frame[26..30].try_into().unwrap(), frame[30..34].try_into().unwrap())
}

/// Source and destination port of an untagged frame without IP options.
pub fn ports(frame: &[u8]) -> (u16, u16) {
    (u16::from_be_bytes([frame[34], frame[35]]), u16::from_be_bytes([frame[36], frame[37]]))
}

pub fn passes(verdict: Verdict, reason: Reason) {
    assert_eq!((verdict.action, verdict.reason), (Action::Next, reason));
}

pub fn drops(verdict: Verdict, reason: Reason) {
    assert_eq!((verdict.action, verdict.reason), (Action::Drop, reason));
}

/// Every checksum of an untagged IPv4 frame is right, those of a packet quoted in an ICMP error too.
pub fn assert_valid(frame: &[u8]) {
    if frame[12..14] == [0x08, 0x00] {
        assert_valid_ip(&frame[14..], true);
    }
}

fn assert_valid_ip(packet: &[u8], whole: bool) {
    use etherparse::{Icmpv4Type, Ipv4HeaderSlice, TcpHeaderSlice, UdpHeaderSlice, icmpv4};
    let header = Ipv4HeaderSlice::from_slice(packet).unwrap().to_header();
    assert_eq!(header.header_checksum, header.calc_header_checksum(), "IPv4 header checksum");
    let payload = &packet[header.header_len()..];
    if header.is_fragmenting_payload()
        || (!whole && payload.len() < usize::from(header.total_len) - header.header_len())
    {
        return;
    }
    match header.protocol.0 {
        6 => {
            let tcp = TcpHeaderSlice::from_slice(payload).unwrap().to_header();
            let sum = tcp.calc_checksum_ipv4(&header, &payload[tcp.header_len()..]).unwrap();
            assert_eq!(tcp.checksum, sum, "TCP checksum");
        }
        17 => {
            let udp = UdpHeaderSlice::from_slice(payload).unwrap().to_header();
            if udp.checksum != 0 {
                let sum = udp.calc_checksum_ipv4(&header, &payload[8..]).unwrap();
                assert_eq!(udp.checksum, sum, "UDP checksum");
            }
        }
        1 => {
            let sum =
                etherparse::checksum::Sum16BitWords::new().add_slice(payload).ones_complement();
            assert_eq!(sum, 0, "ICMP checksum");
            let kind = payload[0];
            if matches!(kind, icmpv4::TYPE_DEST_UNREACH | icmpv4::TYPE_TIME_EXCEEDED) {
                assert_valid_ip(
                    &payload[Icmpv4Type::Unknown {
                        type_u8: kind,
                        code_u8: 0,
                        bytes5to8: [0; 4],
                    }
                    .header_len()..],
                    false,
                );
            }
        }
        _ => {}
    }
}
