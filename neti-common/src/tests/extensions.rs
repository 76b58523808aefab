//! IPv6 extension headers: whatever stands behind as many as we look behind is found, and behind more nothing is.

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    family::{Family, V6},
    headers::{TCP, UDP},
};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// A UDP packet from a stranger, behind extension headers: the number of each and its length in units of eight bytes.
fn behind(chain: &[(u8, usize)]) -> Vec<u8> {
    let mut frame = V6::udp(V6::STRANGER, V6::HUDSON, 5_000, 53);
    let mut headers = Vec::new();
    for (n, (_, units)) in chain.iter().enumerate() {
        let next = chain.get(n + 1).map_or(UDP, |(next, _)| *next);
        let start = headers.len();
        // One segment-less routing header, padding, or the fragment header of a whole packet.
        headers.extend([next, *units as u8 - 1, 0, 0]);
        headers.resize(start + 8 * units, 0);
    }
    if let Some((first, _)) = chain.first() {
        frame[ETHERNET + V6::PROTOCOL] = *first;
    }
    let l4 = ETHERNET + V6::HEADER;
    let length = (frame.len() - l4 + headers.len()) as u16;
    frame[ETHERNET + V6::LENGTH..][..2].copy_from_slice(&length.to_be_bytes());
    frame.splice(l4..l4, headers);
    frame
}

/// Extension headers, hop-by-hop options first.
fn chain() -> impl Strategy<Value = Vec<(u8, usize)>> {
    let header = prop_oneof![
        (Just(ROUTING), 1..9usize),
        (Just(DESTINATION), 1..9usize),
        Just((FRAGMENT, 1)),
    ];
    (any::<bool>(), 1..9usize, vec(header, 0..6)).prop_map(|(hop_by_hop, units, mut chain)| {
        if hop_by_hop {
            chain.insert(0, (HOP_BY_HOP, units));
        }
        chain
    })
}

/// As the kernel sends TCP that a card is to cut (`ip6_xmit`): the length stands in a hop-by-hop option (RFC 2675).
#[test]
fn a_jumbogram_is_translated_by_its_option() {
    let mut frame = V6::tcp(V6::HUDSON_OVERLAY, V6::WALDEN_OVERLAY, 40_000, 80, "A");
    frame[ETHERNET + V6::LENGTH..][..2].fill(0);
    frame[ETHERNET + V6::PROTOCOL] = HOP_BY_HOP;
    let option = [TCP, 0, 0xc2, 4, 0, 1, 0, 8];
    frame.splice(ETHERNET + V6::HEADER..ETHERNET + V6::HEADER, option);
    frame.resize(ETHERNET + V6::HEADER + 0x1_0008, 0);
    let mut hudson = hudson::<V6>(identity::OVERLAY);
    passes(egress(&mut Frame::new(&mut frame), &hudson), Reason::Translated);
    assert_eq!(V6::addresses(&frame), (V6::HUDSON, V6::WALDEN));

    frame.truncate(ETHERNET + V6::HEADER + 0x1_0000 - 1);
    hudson.open(TCP, 80);
    drops(ingress(&mut Frame::new(&mut frame), &hudson), Reason::Malformed);
}

proptest! {
    #[test]
    fn a_port_is_found_behind_any_chain_of_eight_headers_and_128_bytes(chain in chain()) {
        let mut world = hudson::<V6>(identity::REAL);
        world.open(UDP, 53);
        let mut frame = behind(&chain);
        let verdict = ingress(&mut Frame::new(&mut frame), &world);
        if chain.len() <= 8 && chain.iter().map(|(_, units)| 8 * units).sum::<usize>() <= 128 {
            passes(verdict, Reason::OpenPort);
        } else {
            drops(verdict, Reason::LongChain);
        }
    }

    #[test]
    fn a_chain_cut_anywhere_is_malformed(chain in chain(), cut in 0..200usize) {
        let mut world = hudson::<V6>(identity::REAL);
        world.open(UDP, 53);
        let mut frame = behind(&chain);
        frame.truncate(cut % frame.len());
        let verdict = ingress(&mut Frame::new(&mut frame), &world);
        drops(verdict, Reason::Malformed);
    }
}
