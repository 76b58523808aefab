//! Packets that leave: no overlay address gets out, and what is for a member gets its real addresses.

use neti_common::{
    headers::{TCP, UDP},
    maps::{TwinIn, TwinOut},
    tables::Class,
    verdict::{Hook, Reason},
};

use crate::{
    Case,
    packet::{ACK, Packet, RST, SYN},
    scene::{
        FAR, FAR_OVERLAY, NEAR, NEAR_OVERLAY, NEIGHBOUR, NOBODY, OWN, OWN_MAC, OWN_OVERLAY,
        ROUTER_MAC, STRANGER, arp, ends, flow, frame, hint, host, host_with, member_flow, out,
        tagged,
    },
};

fn leaves(name: &'static str, packet: &Packet) -> Case {
    Case::new(name, Hook::Egress, host(), out(packet))
}

/// A case whose packet becomes another on the wire.
fn translated(name: &'static str, packet: &Packet, wire: &Packet) -> Case {
    leaves(name, packet).becomes(out(wire)).ends(Reason::Translated)
}

fn dropped(name: &'static str, packet: &Packet, reason: Reason) -> Case {
    leaves(name, packet).ends(reason)
}

pub fn cases() -> Vec<Case> {
    let mut cases = transports();
    cases.extend(forms());
    cases.extend(unusual());
    cases.extend(errors());
    cases.extend(twins());
    cases.extend(links());
    cases
}

fn transports() -> Vec<Case> {
    let (own, far, wire, real) =
        ((OWN_OVERLAY, 40_000), (FAR_OVERLAY, 80), (OWN, 40_000), (FAR, 80));
    let tcp = |flags| (Packet::tcp(own, far, flags), Packet::tcp(wire, real, flags));
    let ((syn, wire_syn), (text, wire_text), (rst, wire_rst)) =
        (tcp(SYN), tcp(ACK), tcp(RST | ACK));
    let near = Packet::tcp(own, (NEAR_OVERLAY, 80), ACK);
    let sctp = |src, dst| Packet::raw(src, dst, 132);
    vec![
        translated("a SYN", &syn, &wire_syn),
        translated("TCP with text", &text, &wire_text),
        translated("a RST", &rst, &wire_rst),
        translated("UDP", &Packet::udp(own, far), &Packet::udp(wire, real)),
        translated(
            "UDP without a checksum",
            &Packet::unsummed_udp(own, far),
            &Packet::unsummed_udp(wire, real),
        ),
        translated(
            "a ping",
            &Packet::ping(OWN_OVERLAY, FAR_OVERLAY, 7),
            &Packet::ping(OWN, FAR, 7),
        ),
        translated(
            "a ping's answer",
            &Packet::pong(OWN_OVERLAY, FAR_OVERLAY, 7),
            &Packet::pong(OWN, FAR, 7),
        ),
        translated(
            "a protocol without a checksum over addresses",
            &sctp(OWN_OVERLAY, FAR_OVERLAY),
            &sctp(OWN, FAR),
        ),
        leaves("a member on the link gets it directly", &near)
            .becomes(out(&Packet::tcp(wire, (NEAR, 80), ACK)))
            .ends(Reason::Redirected),
    ]
}

fn forms() -> Vec<Case> {
    let udp = |src, dst| Packet::udp((src, 4000), (dst, 53));
    vec![
        translated("own real to a member's overlay", &udp(OWN, FAR_OVERLAY), &udp(OWN, FAR)),
        translated("own overlay to a member's real", &udp(OWN_OVERLAY, FAR), &udp(OWN, FAR)),
        leaves("own real to a member's real", &udp(OWN, FAR)),
        leaves("own real to a stranger", &udp(OWN, STRANGER)),
        dropped(
            "to an overlay address nobody has",
            &udp(OWN_OVERLAY, NOBODY),
            Reason::UnknownOverlay,
        ),
        dropped("own real to nobody", &udp(OWN, NOBODY), Reason::UnknownOverlay),
        dropped("own overlay to a stranger", &udp(OWN_OVERLAY, STRANGER), Reason::OverlaySource),
        dropped("a forged overlay source", &udp(NOBODY, FAR_OVERLAY), Reason::OverlaySource),
        dropped(
            "a member's overlay as source",
            &udp(NEAR_OVERLAY, FAR_OVERLAY),
            Reason::OverlaySource,
        ),
        dropped("own overlay to everyone", &udp(OWN_OVERLAY, [255; 4]), Reason::OverlaySource),
        Case::new(
            "nothing is touched before there are settings",
            Hook::Egress,
            host_with(|world| world.settings = neti_common::maps::Settings::UNSET),
            out(&udp(OWN_OVERLAY, FAR_OVERLAY)),
        ),
    ]
}

fn unusual() -> Vec<Case> {
    let udp = |src, dst| Packet::udp((src, 4000), (dst, 53));
    let (packet, wire) = (udp(OWN_OVERLAY, FAR_OVERLAY), udp(OWN, FAR));
    let nops = [1; 8];
    let most = [1; 40];
    // Record route (RFC 791, 3.1) with one slot, filled.
    let recorded = [7, 7, 8, 100, 64, 1, 1, 0];
    // The header says 16 bytes.
    let mut short = out(&packet);
    short[14] = 0x44;
    let mut short_stranger = out(&udp(OWN, STRANGER));
    short_stranger[14] = 0x44;
    vec![
        translated("options", &packet.clone().options(&nops), &wire.clone().options(&nops)),
        translated(
            "the longest options",
            &packet.clone().options(&most),
            &wire.clone().options(&most),
        ),
        dropped(
            "an option that has recorded our overlay address",
            &packet.clone().options(&recorded),
            Reason::OverlayOption,
        ),
        translated(
            "a first fragment",
            &packet.clone().fragment(0, true),
            &wire.clone().fragment(0, true),
        ),
        translated(
            "a later fragment",
            &packet.clone().fragment(6, true),
            &wire.clone().fragment(6, true),
        ),
        translated(
            "a last fragment",
            &packet.clone().fragment(99, false),
            &wire.clone().fragment(99, false),
        ),
        Case::new("a broken header with an overlay address", Hook::Egress, host(), short)
            .ends(Reason::OverlaySource),
        Case::new("a broken header without one", Hook::Egress, host(), short_stranger),
    ]
}

fn errors() -> Vec<Case> {
    let asked = |peer, own| Packet::udp((peer, 5000), (own, 9));
    let refuse = Packet::port_unreachable;
    vec![
        translated(
            "an error about an overlay packet",
            &refuse(OWN_OVERLAY, FAR_OVERLAY, asked(FAR_OVERLAY, OWN_OVERLAY)),
            &refuse(OWN, FAR, asked(FAR, OWN)),
        ),
        translated(
            "an error that quotes 8 bytes of TCP",
            &Packet::too_big(
                OWN_OVERLAY,
                FAR_OVERLAY,
                Packet::tcp((FAR_OVERLAY, 5000), (OWN_OVERLAY, 80), ACK),
            ),
            &Packet::too_big(OWN, FAR, Packet::tcp((FAR, 5000), (OWN, 80), ACK)),
        ),
        leaves("an error about a direct packet", &refuse(OWN, FAR, asked(FAR, OWN))),
        leaves("an error for a stranger", &refuse(OWN, STRANGER, asked(STRANGER, OWN))),
        translated(
            "an error that quotes options",
            &refuse(OWN_OVERLAY, FAR_OVERLAY, asked(FAR_OVERLAY, OWN_OVERLAY).options(&[1; 12])),
            &refuse(OWN, FAR, asked(FAR, OWN).options(&[1; 12])),
        ),
        dropped(
            "an error that quotes an address nobody has",
            &refuse(OWN, STRANGER, asked(NOBODY, OWN)),
            Reason::UnknownOverlay,
        ),
    ]
}

fn twins() -> Vec<Case> {
    let syn = |src, sport, dst| Packet::tcp((src, sport), (dst, 80), SYN);
    let text = |src, sport, dst| Packet::tcp((src, sport), (dst, 80), ACK);
    let direct = |world: &mut neti_common::model::World<_>| {
        world.connect(TCP, ends(FAR, OWN), 40_000, 80);
    };
    let known = host_with(|world| {
        let socket = flow(TCP, (OWN_OVERLAY, 40_000), (FAR_OVERLAY, 80));
        let twin = TwinIn {
            ends: ends(FAR_OVERLAY, OWN_OVERLAY),
            port: 40_000_u16.to_be_bytes(),
            _pad: [0; 2],
        };
        let port = 61_500_u16.to_be_bytes();
        world.twins_out.get_mut().insert(socket, TwinOut { port, _pad: [0; 2] });
        let wire = member_flow(TCP, 61_500, (FAR_OVERLAY, 80));
        world.twins_in.get_mut().insert(wire, twin);
    });
    // One port only, so that which one is taken is no accident.
    let one_port = host_with(|world| {
        direct(world);
        (world.settings.twin_first, world.settings.twin_last) = (61_000, 61_000);
    });
    let no_port = host_with(|world| {
        direct(world);
        (world.settings.twin_first, world.settings.twin_last) = (0, 0);
    });
    let mut refused = frame(OWN_MAC, ROUTER_MAC, 0x0800, &refusal().bytes());
    // The window stays the SYN's.
    refused.truncate(14 + 40);
    let hinted = host_with(|world| {
        let key = member_flow(UDP, 4000, (FAR_OVERLAY, 53));
        hint(world, Class::LocalMember, key, ends(FAR, OWN), 1);
        (world.settings.twin_first, world.settings.twin_last) = (61_000, 61_000);
    });
    // NTP and gossip use one port on both sides, so that another one would cut them off.
    let fixed = host_with(|world| {
        let key = member_flow(UDP, 123, (FAR_OVERLAY, 123));
        hint(world, Class::LocalMember, key, ends(FAR, OWN), 1);
    });
    vec![
        Case::new(
            "two UDP users of one port on both sides",
            Hook::Egress,
            fixed,
            out(&Packet::udp((OWN_OVERLAY, 123), (FAR_OVERLAY, 123))),
        )
        .becomes(out(&Packet::udp((OWN, 123), (FAR, 123))))
        .ends(Reason::PortShared),
        Case::new(
            "a twin keeps its port",
            Hook::Egress,
            known,
            out(&text(OWN_OVERLAY, 40_000, FAR_OVERLAY)),
        )
        .becomes(out(&text(OWN, 61_500, FAR)))
        .ends(Reason::Translated),
        Case::new(
            "a SYN beside a direct connection gets a port",
            Hook::Egress,
            one_port,
            out(&syn(OWN_OVERLAY, 40_000, FAR_OVERLAY)),
        )
        .becomes(out(&syn(OWN, 61_000, FAR)))
        .ends(Reason::Translated),
        Case::new(
            "a SYN for which there is no port is reset",
            Hook::Egress,
            no_port,
            out(&syn(OWN_OVERLAY, 40_000, FAR_OVERLAY)),
        )
        .becomes(refused)
        .is_reset(Reason::PortTwin),
        Case::new(
            "UDP beside a direct question gets a port",
            Hook::Egress,
            hinted,
            out(&Packet::udp((OWN_OVERLAY, 4000), (FAR_OVERLAY, 53))),
        )
        .becomes(out(&Packet::udp((OWN, 61_000), (FAR, 53))))
        .ends(Reason::Translated),
    ]
}

/// What a refused SYN of the host is answered with; see [`Packet::tcp`] for its sequence number.
fn refusal() -> Reset {
    Reset { src: (FAR_OVERLAY, 80), dst: (OWN_OVERLAY, 40_000), acknowledged: 0x1000_0001 }
}

/// A RST that acknowledges a SYN (RFC 9293, 3.10.7.1).
struct Reset {
    src: ([u8; 4], u16),
    dst: ([u8; 4], u16),
    acknowledged: u32,
}

impl Reset {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Packet::tcp(self.src, self.dst, RST | ACK).bytes();
        bytes[20 + 4..20 + 8].fill(0);
        bytes[20 + 8..20 + 12].copy_from_slice(&self.acknowledged.to_be_bytes());
        let ip = etherparse::Ipv4Header::from_slice(&bytes).unwrap_or_else(|e| panic!("{e}")).0;
        let (mut tcp, _) =
            etherparse::TcpHeader::from_slice(&bytes[20..]).unwrap_or_else(|e| panic!("{e}"));
        tcp.checksum = tcp.calc_checksum_ipv4(&ip, &[]).unwrap_or_else(|e| panic!("{e}"));
        bytes[20..40].copy_from_slice(&tcp.to_bytes());
        bytes
    }
}

fn links() -> Vec<Case> {
    let question = |sender, target| frame([0xff; 6], OWN_MAC, 0x0806, &arp(1, sender, target));
    let answer = |sender| frame(ROUTER_MAC, OWN_MAC, 0x0806, &arp(2, sender, NEIGHBOUR));
    let at = |name, frame| Case::new(name, Hook::Egress, host(), frame);
    let packet = Packet::udp((OWN_OVERLAY, 4000), (FAR_OVERLAY, 53));
    let wire = Packet::udp((OWN, 4000), (FAR, 53));
    vec![
        at("ARP with our real address", question(OWN, NEAR)).ends(Reason::Link),
        at("ARP asked in the overlay's name", question(OWN_OVERLAY, NEAR))
            .becomes(question(OWN, NEAR))
            .ends(Reason::Translated),
        at("ARP that answers for the overlay", answer(OWN_OVERLAY)).ends(Reason::OverlaySource),
        at("ARP for an overlay address", question(OWN, FAR_OVERLAY)).ends(Reason::UnknownOverlay),
        at("ARP in a forged name", question(NOBODY, NEAR)).ends(Reason::OverlaySource),
        at("IPv6", frame(ROUTER_MAC, OWN_MAC, 0x86dd, &[0x60; 60])),
        at("another EtherType", frame(ROUTER_MAC, OWN_MAC, 0x88b5, &[0; 50])),
        at("a tagged packet", tagged(&out(&packet), &[7]))
            .becomes(tagged(&out(&wire), &[7]))
            .ends(Reason::Translated),
        at("a packet with two tags", tagged(&out(&packet), &[7, 8]))
            .becomes(tagged(&out(&wire), &[7, 8]))
            .ends(Reason::Translated),
    ]
}
