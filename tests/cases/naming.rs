//! Packets from members that arrive and get the names that their receiver knows.

use neti_common::{
    family::V4,
    headers::{TCP, UDP},
    maps::{Fragment, FragmentKey, TwinIn, TwinOut},
    model::World,
    tables::Class,
    verdict::{Hook, Reason},
};

use crate::{
    Case,
    arriving::{ANY, PEER, PORT, at, to_port, to_udp},
    packet::{ACK, Addr, Packet, SYN},
    scene::{
        FAR, FAR_OVERLAY, NEIGHBOUR, OWN, OWN_OVERLAY, ROUTER, STRANGER, come, ends, flow, hint,
        host, host_with, member_flow, overlay_host, tagged,
    },
};

/// Of the one half-open connection, which outlives its case.
const HALF_OPEN_PEER: u16 = 50_007;

pub fn cases() -> Vec<Case> {
    [demux(), flows_without_sockets(), fragments(), errors(), unusual()]
        .into_iter()
        .flatten()
        .collect()
}

/// A case whose packet from a member is given other names.
fn named(name: &'static str, world: World<V4>, packet: &Packet, names: &Packet) -> Case {
    at(name, world, packet).becomes(come(names)).ends(Reason::Translated)
}

/// Which form a member's packet belongs to is told by the sockets.
fn demux() -> Vec<Case> {
    let syn = |src, dst| Packet::tcp((src, PEER), (dst, PORT), SYN);
    let text = |src, dst| Packet::tcp((src, PEER), (dst, PORT), ACK);
    let udp = |src, dst| Packet::udp((src, PEER), (dst, PORT));
    let listening = |mut world: World<V4>, protocol, local| {
        world.listen(protocol, local, PORT);
        world
    };
    let connected = |protocol, ends| {
        host_with(|world| {
            world.listen(protocol, ANY, PORT);
            world.connect(protocol, ends, PORT, PEER);
        })
    };
    let half_open = host_with(|world| {
        world.listen(TCP, ANY, PORT);
        world.connect(TCP, ends(FAR_OVERLAY, OWN_OVERLAY), PORT, HALF_OPEN_PEER);
        if let Some(socket) = world.sockets.last_mut() {
            socket.half_open = true;
        }
    });
    let both = (
        ends(FAR_OVERLAY, OWN_OVERLAY),
        syn(FAR_OVERLAY, OWN_OVERLAY),
        text(FAR_OVERLAY, OWN_OVERLAY),
    );
    let mixed = [
        ("TCP of a connection from our real address", FAR_OVERLAY, OWN),
        ("TCP of a connection to a real address", FAR, OWN_OVERLAY),
    ];
    let mut cases = vec![
        at("a SYN to a wildcard listener", listening(host(), TCP, ANY), &syn(FAR, OWN))
            .ends(Reason::Member),
        named(
            "a SYN to a wildcard listener, identity overlay",
            listening(overlay_host(), TCP, ANY),
            &syn(FAR, OWN),
            &both.1,
        ),
        named(
            "a SYN to a listener on our overlay address",
            listening(host(), TCP, Some(OWN_OVERLAY)),
            &syn(FAR, OWN),
            &both.1,
        ),
        at(
            "a SYN to a listener on our real address, identity overlay",
            listening(overlay_host(), TCP, Some(OWN)),
            &syn(FAR, OWN),
        )
        .ends(Reason::Member),
        at("a SYN to a closed port", host(), &syn(FAR, OWN)).ends(Reason::Member),
        named("a SYN to a closed port, identity overlay", overlay_host(), &syn(FAR, OWN), &both.1),
        named("TCP of an overlay connection", connected(TCP, both.0), &text(FAR, OWN), &both.2),
        at("TCP of a direct connection", connected(TCP, ends(FAR, OWN)), &text(FAR, OWN))
            .ends(Reason::Member),
        named(
            "TCP of a half-open overlay connection",
            half_open,
            &Packet::tcp((FAR, HALF_OPEN_PEER), (OWN, PORT), ACK),
            &Packet::tcp((FAR_OVERLAY, HALF_OPEN_PEER), (OWN_OVERLAY, PORT), ACK),
        ),
        named(
            "UDP to a connected overlay socket",
            connected(UDP, both.0),
            &udp(FAR, OWN),
            &udp(FAR_OVERLAY, OWN_OVERLAY),
        ),
        at("UDP to a connected direct socket", connected(UDP, ends(FAR, OWN)), &udp(FAR, OWN))
            .ends(Reason::Member),
        named(
            "UDP to a socket on our overlay address",
            listening(host(), UDP, Some(OWN_OVERLAY)),
            &udp(FAR, OWN),
            &udp(FAR_OVERLAY, OWN_OVERLAY),
        ),
        at(
            "UDP to a socket on our real address, identity overlay",
            listening(overlay_host(), UDP, Some(OWN)),
            &udp(FAR, OWN),
        )
        .ends(Reason::Member),
        named(
            "UDP to a wildcard socket, identity overlay",
            listening(overlay_host(), UDP, ANY),
            &udp(FAR, OWN),
            &udp(FAR_OVERLAY, OWN_OVERLAY),
        ),
        named(
            "UDP without a checksum",
            overlay_host(),
            &Packet::unsummed_udp((FAR, PEER), (OWN, PORT)),
            &Packet::unsummed_udp((FAR_OVERLAY, PEER), (OWN_OVERLAY, PORT)),
        ),
    ];
    for (name, peer, own) in mixed {
        let world = connected(TCP, ends(peer, own));
        cases.push(named(name, world, &text(FAR, OWN), &text(peer, own)));
    }
    cases.push(twin());
    cases
}

/// A packet to a port that a twin has on the wire.
fn twin() -> Case {
    let world = host_with(|world| {
        let wire = member_flow(TCP, 61_500, (FAR_OVERLAY, PEER));
        let twin =
            TwinIn { ends: ends(FAR_OVERLAY, OWN_OVERLAY), port: PORT.to_be_bytes(), _pad: [0; 2] };
        let socket = flow(TCP, (OWN_OVERLAY, PORT), (FAR_OVERLAY, PEER));
        let port = 61_500_u16.to_be_bytes();
        world.twins_out.get_mut().insert(socket, TwinOut { port, _pad: [0; 2] });
        world.twins_in.get_mut().insert(wire, twin);
    });
    named(
        "a twin's packet gets its socket's port",
        world,
        &Packet::tcp((FAR, PEER), (OWN, 61_500), ACK),
        &Packet::tcp((FAR_OVERLAY, PEER), (OWN_OVERLAY, PORT), ACK),
    )
}

fn flows_without_sockets() -> Vec<Case> {
    let pinged = |age| {
        let world = host();
        let flow = member_flow(1, 9, (FAR_OVERLAY, 9));
        hint(&world, Class::LocalMember, flow, ends(FAR_OVERLAY, OWN_OVERLAY), age);
        world
    };
    let asked = host_with(|world| world.listen(UDP, ANY, PORT));
    let key = member_flow(UDP, PORT, (FAR_OVERLAY, PEER));
    hint(&asked, Class::LocalMember, key, ends(FAR_OVERLAY, OWN_OVERLAY), 1);
    let overlay_pong = Packet::pong(FAR_OVERLAY, OWN_OVERLAY, 9);
    vec![
        named(
            "the answer to an overlay ping",
            pinged(1),
            &Packet::pong(FAR, OWN, 9),
            &overlay_pong,
        ),
        at("the answer to a ping long ago", pinged(31), &Packet::pong(FAR, OWN, 9))
            .ends(Reason::Member),
        named(
            "a member's ping, identity overlay",
            overlay_host(),
            &Packet::ping(FAR, OWN, 9),
            &Packet::ping(FAR_OVERLAY, OWN_OVERLAY, 9),
        ),
        named(
            "UDP that was asked for by overlay",
            asked,
            &to_udp(FAR),
            &Packet::udp((FAR_OVERLAY, PEER), (OWN_OVERLAY, PORT)),
        ),
        named(
            "another protocol, identity overlay",
            overlay_host(),
            &Packet::raw(FAR, OWN, 132),
            &Packet::raw(FAR_OVERLAY, OWN_OVERLAY, 132),
        ),
    ]
}

fn fragments() -> Vec<Case> {
    let overlay = Packet::udp((FAR_OVERLAY, PEER), (OWN_OVERLAY, PORT));
    let (first, later) =
        (|p: &Packet| p.clone().fragment(0, true), |p: &Packet| p.clone().fragment(6, true));
    let seen = |mut world: World<V4>, src: Addr, ends| {
        let key =
            FragmentKey { src, dst: OWN, id: [0x4e, 0x54, 0, 0], protocol: UDP, _pad: [0; 3] };
        let fragment = Fragment { seen: world.now.get(), ends };
        world.fragments.get_mut().push((key, fragment));
        world
    };
    let (far, stranger) = (to_udp(FAR), to_udp(STRANGER));
    vec![
        named("a first fragment", overlay_host(), &first(&far), &first(&overlay)),
        named(
            "a later fragment follows its first",
            seen(host(), FAR, ends(FAR_OVERLAY, OWN_OVERLAY)),
            &later(&far),
            &later(&overlay),
        ),
        at("a member's later fragment without its first", host(), &later(&far))
            .ends(Reason::Member),
        named(
            "a member's later fragment without its first, identity overlay",
            overlay_host(),
            &later(&far),
            &later(&overlay),
        ),
        at("a stranger's later fragment without its first", host(), &later(&stranger))
            .ends(Reason::FragmentWithoutFirst),
        at(
            "a stranger's later fragment after its first",
            seen(host(), STRANGER, ends(STRANGER, OWN)),
            &later(&stranger),
        )
        .ends(Reason::Fragment),
        at("a stranger's first fragment", host(), &first(&stranger)).ends(Reason::Stranger),
    ]
}

/// Errors that routers and peers send about packets of ours.
fn errors() -> Vec<Case> {
    let connected = |protocol, ends| host_with(|world| world.connect(protocol, ends, PORT, PEER));
    let overlay = ends(FAR_OVERLAY, OWN_OVERLAY);
    let sent = |own, peer| Packet::tcp((own, PORT), (peer, PEER), ACK);
    let asked = |own, peer| Packet::udp((own, PORT), (peer, PEER));
    let pinged = host();
    hint(&pinged, Class::LocalMember, member_flow(1, 9, (FAR_OVERLAY, 9)), overlay, 1);
    let told = |case: Case| case.ends(Reason::IcmpError);
    vec![
        told(
            at(
                "a router on an overlay connection",
                connected(TCP, overlay),
                &Packet::too_big(ROUTER, OWN, sent(OWN, FAR)),
            )
            .becomes(come(&Packet::too_big(
                ROUTER,
                OWN_OVERLAY,
                sent(OWN_OVERLAY, FAR_OVERLAY),
            ))),
        ),
        told(at(
            "a router on a direct connection",
            connected(TCP, ends(FAR, OWN)),
            &Packet::too_big(ROUTER, OWN, sent(OWN, FAR)),
        )),
        told(
            at(
                "a peer on our overlay question",
                connected(UDP, overlay),
                &Packet::port_unreachable(FAR, OWN, asked(OWN, FAR)),
            )
            .becomes(come(&Packet::port_unreachable(
                FAR_OVERLAY,
                OWN_OVERLAY,
                asked(OWN_OVERLAY, FAR_OVERLAY),
            ))),
        ),
        told(
            at(
                "a router on an overlay ping",
                pinged,
                &Packet::error(ROUTER, OWN, (11, 0), Packet::ping(OWN, FAR, 9), usize::MAX),
            )
            .becomes(come(&Packet::error(
                ROUTER,
                OWN_OVERLAY,
                (11, 0),
                Packet::ping(OWN_OVERLAY, FAR_OVERLAY, 9),
                usize::MAX,
            ))),
        ),
        told(at(
            "a stranger on our connection to it",
            connected(TCP, ends(STRANGER, OWN)),
            &Packet::too_big(ROUTER, OWN, sent(OWN, STRANGER)),
        )),
        at(
            "about a connection that we do not have",
            host(),
            &Packet::too_big(ROUTER, OWN, sent(OWN, STRANGER)),
        )
        .ends(Reason::IcmpUnrelated),
        at(
            "about a packet that somebody else sent",
            connected(TCP, ends(STRANGER, OWN)),
            &Packet::too_big(ROUTER, OWN, sent(NEIGHBOUR, STRANGER)),
        )
        .ends(Reason::IcmpUnrelated),
        at(
            "a quote cut short",
            host(),
            &Packet::error(ROUTER, OWN, (3, 4), sent(OWN, STRANGER), 12),
        )
        .ends(Reason::IcmpUnrelated),
    ]
}

fn unusual() -> Vec<Case> {
    let options = [1, 1, 1, 1, 1, 1, 1, 0];
    let overlay = Packet::tcp((FAR_OVERLAY, PEER), (OWN_OVERLAY, PORT), SYN);
    let priority = |packet: &Packet, ids: &[u16]| tagged(&come(packet), ids);
    let under = |name, ids: &[u16]| {
        Case::new(name, Hook::Ingress, overlay_host(), priority(&to_port(FAR, SYN), ids))
            .becomes(priority(&overlay, ids))
            .ends(Reason::Translated)
    };
    let mut padded = come(&to_port(FAR, SYN));
    padded.extend([0; 6]);
    let mut padded_overlay = come(&overlay);
    padded_overlay.extend([0; 6]);
    vec![
        named(
            "options",
            overlay_host(),
            &to_port(FAR, SYN).options(&options),
            &overlay.clone().options(&options),
        ),
        named(
            "the longest options",
            overlay_host(),
            &to_port(FAR, SYN).options(&[1; 40]),
            &overlay.clone().options(&[1; 40]),
        ),
        under("translated under a priority tag", &[0]),
        under("translated under two priority tags", &[0, 0]),
        Case::new("translated with padding", Hook::Ingress, overlay_host(), padded)
            .becomes(padded_overlay)
            .ends(Reason::Translated),
        at(
            "to the broadcast address",
            overlay_host(),
            &Packet::udp((FAR, PEER), ([10, 0, 0, 255], PORT)),
        )
        .ends(Reason::Member),
    ]
}
