//! The packet logic on two hosts of plain data: hudson, and walden far away. Every test is one of both families, but for
//! what one of them alone has.

use crate::{
    egress::egress,
    ingress::ingress,
    maps::{Ends, Prefix, identity, mode},
    model::World,
    packet::Frame,
    verdict::{Action, Reason, Verdict},
};

/// Makes a test of each family of every function named.
macro_rules! in_both_families {
    ($($name:ident),+ $(,)?) => {
        mod ipv4 {
            $(#[test] fn $name() { super::$name::<crate::family::V4>(); })+
        }
        mod ipv6 {
            $(#[test] fn $name() { super::$name::<crate::family::V6>(); })+
        }
    };
}

mod errors;
mod extensions;
mod flows;
mod guard;
mod hints;
mod hops;
mod roundtrip;
mod rules;
mod scene;
mod twins;
mod unread;

use scene::{ETHERNET, Scene, link};

/// Hudson, which knows walden, under `enforce`.
pub fn hudson<F: Scene>(identity: u8) -> World<F> {
    let mut world = World::new(F::HUDSON, F::HUDSON_OVERLAY, F::range());
    world.settings.mode = mode::ENFORCE;
    world.settings.identity = identity;
    world.add_member(F::WALDEN_OVERLAY, &[F::WALDEN, F::WALDEN_OTHER], false);
    world
}

/// Walden, which knows hudson, under `enforce`.
pub fn walden<F: Scene>(identity: u8) -> World<F> {
    let mut world = World::new(F::WALDEN, F::WALDEN_OVERLAY, F::range());
    world.settings.mode = mode::ENFORCE;
    world.settings.identity = identity;
    world.add_member(F::HUDSON_OVERLAY, &[F::HUDSON], false);
    world
}

pub fn both_identities() -> [u8; 2] {
    [identity::REAL, identity::OVERLAY]
}

pub fn leave<F: Scene>(world: &World<F>, frame: &mut [u8]) -> Verdict {
    let verdict = egress(&mut Frame::new(frame), world);
    assert_valid(frame);
    verdict
}

/// As [`leave`], of a packet that came in through another interface.
pub fn forwarded<F: Scene>(world: &World<F>, frame: &mut [u8]) -> Verdict {
    let mut packet = Frame::new(frame);
    packet.forwarded = true;
    let verdict = egress(&mut packet, world);
    assert_valid(frame);
    verdict
}

pub fn arrive<F: Scene>(world: &World<F>, frame: &mut [u8]) -> Verdict {
    let verdict = ingress(&mut Frame::new(frame), world);
    assert_valid(frame);
    verdict
}

pub fn passes(verdict: Verdict, reason: Reason) {
    assert_eq!((verdict.action, verdict.reason), (Action::Next, reason));
}

pub fn drops(verdict: Verdict, reason: Reason) {
    assert_eq!((verdict.action, verdict.reason), (Action::Drop, reason));
}

/// Every checksum of an untagged IP frame is right, those of a packet quoted in an ICMP error too.
pub fn assert_valid(frame: &[u8]) {
    if matches!(frame[12..ETHERNET], [0x08, 0x00] | [0x86, 0xdd]) {
        assert_valid_ip(&frame[ETHERNET..]);
    }
}

fn assert_valid_ip(packet: &[u8]) {
    use etherparse::{LaxIpSlice, checksum::Sum16BitWords, ip_number};
    // What is cut short so that no header is left has no checksum either.
    let Ok((ip, _)) = LaxIpSlice::from_slice(packet) else { return };
    if let LaxIpSlice::Ipv4(ip) = &ip {
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum(), "IPv4 header checksum");
    }
    let body = ip.payload();
    let (is_v4, payload) = (ip.ipv4().is_some(), body.payload);
    if body.fragmented || body.incomplete {
        return;
    }
    let sums = match body.ip_number {
        ip_number::TCP | ip_number::IPV6_ICMP => true,
        ip_number::UDP => payload.get(6..8) != Some(&[0, 0]),
        _ => is_v4 && body.ip_number == ip_number::ICMP,
    };
    let mut sum = Sum16BitWords::new().add_slice(payload);
    if body.ip_number != ip_number::ICMP {
        for address in [ip.source_addr(), ip.destination_addr()] {
            sum = match address {
                std::net::IpAddr::V4(address) => sum.add_4bytes(address.octets()),
                std::net::IpAddr::V6(address) => sum.add_16bytes(address.octets()),
            };
        }
        // Either family's pseudo-header has these two and zeros.
        sum = sum.add_4bytes((payload.len() as u32).to_be_bytes());
        sum = sum.add_2bytes([0, body.ip_number.0]);
    }
    assert!(!sums || sum.ones_complement() == 0, "checksum of protocol {:?}", body.ip_number);
    let quotes = match body.ip_number {
        ip_number::ICMP => matches!(payload.first(), Some(3 | 11 | 12)),
        ip_number::IPV6_ICMP => matches!(payload.first(), Some(1..=4)),
        _ => false,
    };
    if quotes {
        assert_valid_ip(payload.get(8..).unwrap_or_default());
    }
}
