//! What IPv4 alone has: ARP, frames that are no IP at all, and a header that says how long it is.

use neti_common::{
    family::{Family, V4},
    verdict::{Hook, Reason},
};

use crate::{
    Case,
    arriving::{at_both_hooks, to_udp},
    packet::Packet,
    scene::{OWN_MAC, ROUTER_MAC, Scene, come, frame, host, out},
};

type Addr = <V4 as Family>::Addr;

const OWN: Addr = V4::OWN;
const OWN_OVERLAY: Addr = V4::OWN_OVERLAY;
const NEAR: Addr = V4::NEAR;
const FAR_OVERLAY: Addr = V4::FAR_OVERLAY;

pub fn cases() -> Vec<Case<V4>> {
    [at_both_hooks(arriving()), leaving(), beside()].concat()
}

/// An ARP packet for IPv4 over Ethernet (RFC 826).
fn arp(operation: u8, sender: Addr, target: Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    [&head[..], &OWN_MAC, &sender, &[0; 6], &target].concat()
}

fn arriving() -> Vec<Case<V4>> {
    let raw = |name, ethertype, body: &[u8]| {
        Case::new(name, Hook::Ingress, host(), frame(OWN_MAC, ROUTER_MAC, ethertype, body))
    };
    let case = |name, frame| Case::new(name, Hook::Ingress, host(), frame);
    let router = V4::ROUTER;
    vec![
        raw("ARP", 0x0806, &arp(1, router, OWN)).ends(Reason::Link),
        raw("ARP in the name of an overlay address", 0x0806, &arp(1, FAR_OVERLAY, OWN))
            .ends(Reason::SpoofedOverlay),
        raw("ARP for our overlay address", 0x0806, &arp(1, router, OWN_OVERLAY))
            .ends(Reason::SpoofedOverlay),
        raw("ARP cut short", 0x0806, &arp(1, router, OWN)[..20]).ends(Reason::Malformed),
        raw("LLDP", 0x88cc, &[0; 46]).ends(Reason::Link),
        raw("an EtherType that a host does not need", 0x88b5, &[0; 46]).ends(Reason::Unparsed),
        case("a header of 16 bytes", of_16_bytes(come::<V4>(&to_udp(V4::STRANGER))))
            .ends(Reason::Malformed),
        case("a forgery with a header of 16 bytes", of_16_bytes(come::<V4>(&to_udp(FAR_OVERLAY))))
            .ends(Reason::SpoofedOverlay),
    ]
}

fn leaving() -> Vec<Case<V4>> {
    let at = |name, frame| Case::new(name, Hook::Egress, host(), frame);
    let question = |sender, target| frame([0xff; 6], OWN_MAC, 0x0806, &arp(1, sender, target));
    let answer = |sender| frame(ROUTER_MAC, OWN_MAC, 0x0806, &arp(2, sender, V4::NEIGHBOUR));
    let udp = |src, dst| out::<V4>(&Packet::udp((src, 4000), (dst, 53)));
    vec![
        at("ARP with our real address", question(OWN, NEAR)).ends(Reason::Link),
        at("ARP asked in the overlay's name", question(OWN_OVERLAY, NEAR))
            .becomes(question(OWN, NEAR))
            .ends(Reason::Translated),
        at("ARP that answers for the overlay", answer(OWN_OVERLAY)).ends(Reason::OverlaySource),
        at("ARP for an overlay address", question(OWN, FAR_OVERLAY)).ends(Reason::UnknownOverlay),
        at("ARP in a forged name", question(V4::NOBODY, NEAR)).ends(Reason::OverlaySource),
        at("another EtherType", frame(ROUTER_MAC, OWN_MAC, 0x88b5, &[0; 50])),
        at(
            "a header of 16 bytes with an overlay address",
            of_16_bytes(udp(OWN_OVERLAY, FAR_OVERLAY)),
        )
        .ends(Reason::OverlaySource),
        at("a header of 16 bytes without one", of_16_bytes(udp(OWN, V4::STRANGER))),
    ]
}

fn beside() -> Vec<Case<V4>> {
    let raw = |name, ethertype, body: &[u8]| {
        Case::new(name, Hook::Guard, host(), frame(OWN_MAC, ROUTER_MAC, ethertype, body))
    };
    let forged = arp(2, FAR_OVERLAY, OWN);
    vec![
        raw("ARP", 0x0806, &arp(1, V4::NEIGHBOUR, OWN)),
        raw("ARP for our overlay address", 0x0806, &arp(1, V4::NEIGHBOUR, OWN_OVERLAY)),
        raw("ARP in the name of an overlay address", 0x0806, &forged).ends(Reason::SpoofedOverlay),
        raw("ARP cut short", 0x0806, &forged[..16]),
        raw("another EtherType", 0x88b5, &[0; 46]),
        Case::new(
            "a forgery with a header of 16 bytes",
            Hook::Guard,
            host(),
            of_16_bytes(come::<V4>(&to_udp(FAR_OVERLAY))),
        )
        .ends(Reason::SpoofedOverlay),
    ]
}

/// The header says that it has 16 bytes, which is less than it needs.
fn of_16_bytes(mut frame: Vec<u8>) -> Vec<u8> {
    frame[14] = 0x44;
    frame
}
