use super::*;
use crate::tracked::conntrack::Ends;

/// The host is 10.0.0.10, with two containers behind it.
fn settings() -> Settings<V4> {
    let mut settings = Settings::UNSET;
    settings.reals[0] = [10, 0, 0, 10];
    settings.overlays[0] = [100, 64, 0, 1];
    settings
}

const CONTAINER: &str = "172.17.0.2";
const OWN: &str = "10.0.0.10";
const PEER: &str = "198.51.100.9";
const OTHER: &str = "192.0.2.1";

/// Source and destination.
type Said = [(&'static str, u16); 2];

fn ends([src, dst]: Said) -> Ends {
    let end = |(ip, port): (&str, u16)| SocketAddr::new(ip.parse().unwrap(), port);
    Ends { src: end(src), dst: end(dst) }
}

fn tracked(protocol: u8, state: u8, original: Said, reply: Said) -> Tracked {
    let (original, reply) = (ends(original), ends(reply));
    Tracked { protocol, original, reply, answered: false, state }
}

fn flow(protocol: u8, sport: u16, dport: u16) -> Flow<V4> {
    let [src, dst] = [OWN, PEER].map(|ip| V4::of(ip.parse().unwrap()).unwrap());
    let (sport, dport) = (sport.to_be_bytes(), dport.to_be_bytes());
    Flow { src, dst, sport, dport, protocol: protocol.into() }
}

/// A container that dials a stranger, masqueraded as port 1025.
const OUT: [Said; 2] = [[(CONTAINER, 5000), (PEER, 443)], [(PEER, 443), (OWN, 1025)]];
/// A stranger who dials port 8080, which is published for a container.
const IN: [Said; 2] = [[(PEER, 5000), (OWN, 8080)], [(CONTAINER, 80), (PEER, 5000)]];
/// The host itself.
const LOCAL: [Said; 2] = [[(OWN, 5000), (PEER, 53)], [(PEER, 53), (OWN, 5000)]];

#[test]
fn what_crosses_the_uplink_is_known_by_its_names_there() {
    let icmp = V4::ICMP;
    // Masqueraded as another identifier, which is both ports of a tuple.
    let ping = [[(CONTAINER, 7), (PEER, 7)], [(PEER, 9), (OWN, 9)]];
    let served = [[(PEER, 5000), (OWN, 53)], [(OWN, 53), (PEER, 5000)]];
    let elsewhere = [[(CONTAINER, 5000), (PEER, 443)], [(PEER, 443), (OTHER, 1025)]];
    let balanced = [[(OWN, 5000), (OTHER, 80)], [(PEER, 443), (OWN, 5000)]];
    let moved = [[(OWN, 5000), (PEER, 443)], [(PEER, 443), (OWN, 1025)]];
    let inside = [[(CONTAINER, 5000), (OTHER, 80)], [(OTHER, 80), (CONTAINER, 5000)]];
    let v6 = [[("fd00::2", 1), ("2001:db8::9", 2)], [("2001:db8::9", 2), ("fd00::10", 1)]];
    const ESTABLISHED: u8 = tcp::ESTABLISHED;
    let cases = [
        // (what, protocol, TCP's state, as the kernel has it, what is made of it)
        ("out", TCP, ESTABLISHED, OUT, Some((flow(TCP, 1025, 443), true))),
        ("datagrams out", UDP, 0, OUT, Some((flow(UDP, 1025, 443), true))),
        ("a ping out", icmp, 0, ping, Some((flow(icmp, 9, 9), true))),
        ("SCTP out", 132, 0, OUT, Some((flow(132, 0, 0), true))),
        ("in", TCP, ESTABLISHED, IN, Some((flow(TCP, 8080, 5000), true))),
        ("datagrams in", UDP, 0, IN, None),
        ("the host's datagrams", UDP, 0, LOCAL, Some((flow(UDP, 5000, 53), false))),
        ("the host's connection, which has a socket", TCP, ESTABLISHED, LOCAL, None),
        (
            "the host's connection to a backend",
            TCP,
            ESTABLISHED,
            balanced,
            Some((flow(TCP, 5000, 443), true)),
        ),
        (
            "the host's connection by another port",
            TCP,
            ESTABLISHED,
            moved,
            Some((flow(TCP, 1025, 443), true)),
        ),
        ("the host's datagrams to a backend", UDP, 0, balanced, Some((flow(UDP, 5000, 443), true))),
        ("what the host is asked", UDP, 0, served, None),
        ("the host's server, which has a socket", TCP, ESTABLISHED, served, None),
        ("by another interface", TCP, ESTABLISHED, elsewhere, None),
        ("between containers", TCP, ESTABLISHED, inside, None),
        ("the other family", TCP, ESTABLISHED, v6, None),
    ];
    for (what, protocol, state, [original, reply], expected) in cases {
        let tracked = tracked(protocol, state, original, reply);
        let found = Passing::of(&settings(), &tracked);
        assert_eq!(found.map(|found| (found.flow, found.forwarded)), expected, "{what}");
    }
}

#[test]
fn a_hint_lasts_as_long_as_what_it_is_about() {
    let of = |tracked| Passing::of(&settings(), &tracked).map(|found| found.state);
    for (kernels, ours) in [
        (tcp::SYN_SENT, Some(state::OPENED)),
        (tcp::SYN_RECV, Some(state::OPENED)),
        (tcp::ESTABLISHED, Some(state::ANSWERED)),
        (tcp::FIN_WAIT, Some(state::CLOSING)),
        (tcp::CLOSE_WAIT, Some(state::CLOSING)),
        (tcp::LAST_ACK, Some(state::CLOSING)),
        // TIME-WAIT, closed, and none.
        (7, None),
        (8, None),
        (0, None),
    ] {
        for [original, reply] in [OUT, IN] {
            assert_eq!(of(tracked(TCP, kernels, original, reply)), ours, "{kernels}");
        }
    }
    let asked = tracked(UDP, 0, OUT[0], OUT[1]);
    assert_eq!(of(asked), Some(state::OPENED));
    assert_eq!(of(Tracked { answered: true, ..asked }), Some(state::ANSWERED));
}

#[test]
fn a_stranger_and_a_member_are_kept_apart() {
    let settings = settings();
    let found = Passing::of(&settings, &tracked(TCP, tcp::ESTABLISHED, OUT[0], OUT[1])).unwrap();
    let (class, key, hint) = found.hint(&settings, None, 5);
    assert_eq!((class, key, hint.seen), (Class::ForwardStranger, found.flow, 5));
    assert_eq!((hint.ends.own, hint.ends.peer), (found.flow.src, found.flow.dst));

    let overlay = [100, 64, 0, 9];
    let (class, key, hint) = found.hint(&settings, Some(&overlay), 5);
    assert_eq!((class, key.dst, key.dport), (Class::ForwardMember, overlay, found.flow.dport));
    assert_eq!((hint.ends.own, hint.ends.peer), (found.flow.src, found.flow.dst));
}

#[test]
fn what_was_begun_with_overlay_addresses_goes_on_by_them() {
    let settings = settings();
    let (own, peer) = ("100.64.0.1", "100.64.0.9");
    let out = [[(CONTAINER, 5000), (peer, 443)], [(peer, 443), (own, 1025)]];
    let found = Passing::of(&settings, &tracked(TCP, tcp::ESTABLISHED, out[0], out[1])).unwrap();
    let (class, key, hint) = found.hint(&settings, Some(&[100, 64, 0, 9]), 5);
    // By real addresses it would have the same key, which no path changes.
    let direct = Passing::of(&settings, &tracked(TCP, tcp::ESTABLISHED, OUT[0], OUT[1])).unwrap();
    assert_eq!(direct.hint(&settings, Some(&[100, 64, 0, 9]), 5).1, key);
    assert_eq!(class, Class::ForwardMember);
    assert_eq!((hint.ends.own, hint.ends.peer), ([100, 64, 0, 1], [100, 64, 0, 9]));
}
