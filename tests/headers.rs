//! Promise: packets that are cut up, or have more headers than usual, go through all the same; and what the headers say
//! beside addresses stays as it was.

use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};

use anyhow::Context;
use harness::{
    PATIENCE, eventually,
    family::Family,
    in_both_families,
    packets::{Wire, ends},
    socket::set_option,
    stage::{PairStage, enforcing_pair, pair_stage},
    topology::UPLINK,
    traffic::{BRIEFLY, TcpEcho, UdpClient, UdpEcho, ping, udp},
};
use serde_json::json;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

type Result = anyhow::Result<()>;

in_both_families!(
    fragments_arrive_in_every_form on enforcing_pair(),
    fragments_of_strangers_follow_the_first
        on pair_stage(Family::ALL, json!({ "mode": "enforce", "open": ["udp/7000"] })),
    options_move_the_ports_but_not_the_answer on enforcing_pair(),
    an_option_that_would_carry_an_overlay_address_is_dropped on enforcing_pair(),
);

const PORT: u16 = 7000;

fn fragments_arrive_in_every_form(stage: &PairStage, family: Family) -> Result {
    for identity in ["real", "overlay"] {
        stage.identify(family, identity)?;
        let before = stage.right.count("ingress", "fragment")?;
        for (from, to) in [(&stage.left, &stage.right), (&stage.right, &stage.left)] {
            let netns = &from.site.netns;
            let _echo = UdpEcho::on(&to.site.netns, (family.any(), PORT))?;
            for dialled in [to.overlay(family), to.real(family)] {
                let what = format!("{identity}: from {} to {dialled}", from.name);
                assert!(ping(netns, dialled, "-s 4000", PATIENCE)?, "{what}: ping");
                for connected in [true, false] {
                    let client = UdpClient { connected, from: None };
                    let address = SocketAddr::new(dialled, PORT);
                    let answer = udp(netns, client, address, 8000, PATIENCE)
                        .with_context(|| format!("{what}: udp, connected {connected}"))?;
                    assert_eq!(answer, address, "{what}");
                }
            }
        }
        assert!(stage.right.count("ingress", "fragment")? > before, "{identity}: they are counted");
    }
    Ok(())
}

fn fragments_of_strangers_follow_the_first(stage: &PairStage, family: Family) -> Result {
    let right = &stage.right;
    let netns = &stage.pair.stranger.netns;
    let _open = UdpEcho::on(&right.site.netns, (family.any(), PORT))?;
    let closed = UdpEcho::on(&right.site.netns, (family.any(), 7001))?;
    let client = UdpClient { connected: false, from: None };
    let to = |port| SocketAddr::new(right.real(family), port);
    udp(netns, client, to(7000), 8000, PATIENCE).context("an open port takes fragments")?;
    assert!(udp(netns, client, to(7001), 8000, BRIEFLY).is_err());
    assert_eq!(closed.try_seen(), None);
    Ok(())
}

/// A socket option that puts options or extension headers into every packet: level, name and value.
type Options = (libc::c_int, libc::c_int, Vec<u8>);

/// What real programs put there, and the most that fits.
fn options(family: Family) -> Vec<Vec<Options>> {
    match family {
        // RFC 791, 3.1: no operation; a timestamp option (68) of 12 bytes with flag 0, timestamps only.
        Family::V4 => [vec![1; 4], vec![68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0], vec![1; 40]]
            .map(|options| vec![(libc::IPPROTO_IP, libc::IP_OPTIONS, options)])
            .into(),
        Family::V6 => {
            let hop_by_hop = |bytes| (libc::IPPROTO_IPV6, libc::IPV6_HOPOPTS, bytes);
            let destination = |bytes| (libc::IPPROTO_IPV6, libc::IPV6_DSTOPTS, bytes);
            // RFC 8200, 4.2: length in eight bytes beyond the first; padding (1), and an option to skip (0x1e).
            let padding = vec![0, 0, 1, 4, 0, 0, 0, 0];
            let long = [&[0, 6, 0x1e, 52][..], &[0; 52]].concat();
            vec![
                vec![hop_by_hop(padding.clone())],
                vec![destination(padding.clone())],
                vec![hop_by_hop(padding), destination(long)],
            ]
        }
    }
}

fn options_move_the_ports_but_not_the_answer(stage: &PairStage, family: Family) -> Result {
    for identity in ["real", "overlay"] {
        stage.identify(family, identity)?;
        let (left, right) = (&stage.left, &stage.right);
        let _echo = UdpEcho::on(&right.site.netns, (family.any(), PORT))?;
        for options in options(family) {
            for dialled in [right.overlay(family), right.real(family)] {
                let what = format!("{identity}: options {options:?} to {dialled}");
                let socket = left.site.netns.run(|| UdpSocket::bind((family.any(), 0)))?;
                socket.set_read_timeout(Some(PATIENCE))?;
                for (level, name, value) in &options {
                    set_option(&socket, *level, *name, value).with_context(|| what.clone())?;
                }
                socket.send_to(b"with options", (dialled, PORT))?;
                let mut answer = [0; 32];
                let (length, from) = socket.recv_from(&mut answer).with_context(|| what.clone())?;
                assert_eq!(from, SocketAddr::from((dialled, PORT)), "{what}");
                assert_eq!(&answer[..length], b"with options", "{what}");
            }
        }
    }
    Ok(())
}

fn an_option_that_would_carry_an_overlay_address_is_dropped(
    stage: &PairStage,
    family: Family,
) -> Result {
    let (left, right) = (&stage.left, &stage.right);
    let before = left.count("egress", "overlay-option")?;
    match right.overlay(family) {
        // Record route: the kernel writes the packet's source, which is the overlay address, into the first slot.
        IpAddr::V4(_) => drop(ping(&left.site.netns, right.overlay(family), "-R", BRIEFLY)?),
        // A routing header (RFC 6275 6.4), to be sent on to the overlay address by whoever gets it.
        IpAddr::V6(overlay) => {
            let header = [&[59, 2, 2, 1, 0, 0, 0, 0][..], &overlay.octets()].concat();
            let open = || Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::from(43)));
            let socket = left.site.netns.run(open)?;
            for to in [stage.pair.stranger.real(family), right.real(family), right.overlay(family)]
            {
                // The drop is told to whoever sends, unless the packet has to wait for its neighbour.
                let _ = socket.send_to(&header, &SocketAddr::new(to, 0).into());
            }
        }
    }
    let wanted = if family == Family::V4 { 1 } else { 3 };
    eventually("all of them are dropped", || {
        left.count("egress", "overlay-option").is_ok_and(|count| count >= before + wanted)
    });
    Ok(())
}

#[test]
fn the_flow_label_of_a_socket_is_on_the_wire() -> Result {
    let family = Family::V6;
    let stage = pair_stage(family, json!({ "mode": "enforce" }))?;
    let (left, right) = (&stage.left, &stage.right);
    let _tcp = TcpEcho::on(&right.site.netns, (family.any(), PORT))?;
    let _udp = UdpEcho::on(&right.site.netns, (family.any(), PORT))?;
    let IpAddr::V6(overlay) = right.overlay(family) else { unreachable!("an IPv6 address") };
    for (label, kind) in [(0x12345_u32, Type::DGRAM), (0x6789a, Type::STREAM)] {
        let capture = Wire::open(&right.site.netns, UPLINK)?.capture();
        let socket = left.site.netns.run(|| Socket::new(Domain::IPV6, kind, None))?;
        set_option(&socket, libc::IPPROTO_IPV6, IPV6_FLOWINFO_SEND, &1_i32.to_ne_bytes())?;
        let to = SocketAddrV6::new(overlay, PORT, label.to_be(), 0);
        socket.connect_timeout(&SockAddr::from(to), PATIENCE)?;
        socket.send(b"labelled")?;
        let wanted = Some((left.real(family), right.real(family)));
        eventually(&format!("{kind:?}: the flow label is on the wire"), || {
            let frames = capture.frames();
            let mut sent = frames.iter().filter(|frame| ends(frame) == wanted);
            // Behind four bits of version and eight of traffic class.
            sent.any(|frame| {
                frame[15] & 0x0f == (label >> 16) as u8 && frame[16..18] == label.to_be_bytes()[2..]
            })
        });
    }
    Ok(())
}

/// From linux/in6.h.
const IPV6_FLOWINFO_SEND: libc::c_int = 33;
