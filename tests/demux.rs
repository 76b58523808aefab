//! Promise: whichever address a client dials and wherever the server listens, the two talk, and every answer comes from
//! the address that was dialled.
//!
//! On the wire all forms look the same (real to real); which one a packet belongs to is told by the sockets that exist.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
};

use anyhow::Context;
use harness::{
    PATIENCE,
    family::Family,
    host::Host,
    in_both_families,
    stage::{PairStage, enforcing_pair},
    traffic::{Seen, TcpEcho, UdpClient, UdpEcho, tcp, udp},
};
use socket2::{Domain, Socket, Type};

type Result = anyhow::Result<()>;

in_both_families!(
    every_tcp_combination_talks on enforcing_pair(),
    every_udp_combination_is_answered_from_the_address_dialled on enforcing_pair(),
    udp_between_two_fixed_ports_is_told_apart_by_connection on enforcing_pair(),
    ping_is_answered_from_the_address_dialled on enforcing_pair(),
    a_closed_port_refuses_at_once_in_every_form on enforcing_pair(),
);

const IDENTITIES: [&str; 2] = ["real", "overlay"];

/// Where a server listens on `host`, by name.
fn listeners(host: &Host, family: Family) -> [(&'static str, IpAddr); 3] {
    [
        ("wildcard", family.any()),
        ("own overlay", host.overlay(family)),
        ("own real", host.real(family)),
    ]
}

/// Whether the server is to see overlay addresses: a specific listener decides, else the fleet's setting.
fn sees_overlay(listener: IpAddr, server: &Host, identity: &str) -> bool {
    let family = Family::of(listener);
    match listener {
        address if address == server.overlay(family) => true,
        address if address == server.real(family) => false,
        _ => identity == "overlay",
    }
}

fn tcp_matrix(stage: &PairStage, family: Family, identity: &str) -> Result {
    let (client, server) = (&stage.left, &stage.right);
    let netns = &client.site.netns;
    let mut own_port = if identity == "real" { 20_000 } else { 20_500 };
    for (number, (kind, listener)) in listeners(server, family).into_iter().enumerate() {
        let port = 7000 + number as u16;
        let echo = TcpEcho::on(&server.site.netns, (listener, port))?;
        for dialled in [server.overlay(family), server.real(family)] {
            let to = SocketAddr::new(dialled, port);
            let usual = if dialled == server.overlay(family) {
                client.overlay(family)
            } else {
                client.real(family)
            };
            for from in [None, Some(client.overlay(family)), Some(client.real(family))] {
                let what = format!("{identity}: {kind} listener, {to} dialled from {from:?}");
                // A port of its own: one that an earlier connection in the other form still has in TIME_WAIT would
                // be a twin, and look different to the server.
                own_port += 1;
                let bound = SocketAddr::new(from.unwrap_or(family.any()), own_port);
                let stream = tcp(netns, Some(bound), to).with_context(|| what.clone())?;
                let local = stream.local_addr()?;
                assert_eq!(stream.peer_addr()?, to, "{what}");
                assert_eq!(local.ip(), from.unwrap_or(usual), "{what}");
                let (peer, own) = if sees_overlay(listener, server, identity) {
                    (client.overlay(family), server.overlay(family))
                } else {
                    (client.real(family), server.real(family))
                };
                let expected = Seen { peer: (peer, own_port).into(), local: (own, port).into() };
                assert_eq!(echo.seen(), expected, "{what}");
            }
        }
    }
    Ok(())
}

fn every_tcp_combination_talks(stage: &PairStage, family: Family) -> Result {
    for identity in IDENTITIES {
        stage.identify(family, identity)?;
        tcp_matrix(stage, family, identity)?;
    }
    Ok(())
}

/// Two sockets that share a port, as servers with worker processes have.
fn reuseport(stage: &PairStage, address: IpAddr, port: u16) -> anyhow::Result<Vec<UdpEcho>> {
    let bind = || -> std::io::Result<UdpSocket> {
        let socket = Socket::new(Domain::for_address((address, port).into()), Type::DGRAM, None)?;
        socket.set_reuse_port(true)?;
        socket.bind(&SocketAddr::from((address, port)).into())?;
        Ok(socket.into())
    };
    (0..2).map(|_| UdpEcho::with(stage.right.site.netns.run(bind)?)).collect()
}

/// A socket for both families, which sees IPv4 peers as mapped addresses.
fn dual_stack(stage: &PairStage, port: u16) -> anyhow::Result<UdpEcho> {
    let socket = stage.right.site.netns.run(|| -> std::io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
        socket.set_only_v6(false)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
        Ok(socket.into())
    })?;
    UdpEcho::with(socket)
}

/// A wildcard socket that hears the uplink only.
fn device_bound(stage: &PairStage, family: Family, port: u16) -> anyhow::Result<UdpEcho> {
    let socket = stage.right.site.netns.run(|| -> std::io::Result<UdpSocket> {
        let socket = Socket::new(family.domain(), Type::DGRAM, None)?;
        socket.bind_device(Some(harness::topology::UPLINK.as_bytes()))?;
        socket.bind(&SocketAddr::from((family.any(), port)).into())?;
        Ok(socket.into())
    })?;
    UdpEcho::with(socket)
}

fn udp_matrix(stage: &PairStage, family: Family, identity: &str) -> Result {
    let (client, server) = (&stage.left, &stage.right);
    // What is listened on, and the specific address if there is one.
    let mut servers: Vec<(String, u16, IpAddr, Vec<UdpEcho>)> = Vec::new();
    for (number, (kind, listener)) in listeners(server, family).into_iter().enumerate() {
        let port = 7000 + number as u16;
        let echo = UdpEcho::on(&server.site.netns, (listener, port))?;
        servers.push((kind.to_owned(), port, listener, vec![echo]));
        let port = 7100 + number as u16;
        let group = reuseport(stage, listener, port)?;
        servers.push((format!("REUSEPORT {kind}"), port, listener, group));
    }
    let any = family.any();
    servers.push(("dual-stack".to_owned(), 7200, any, vec![dual_stack(stage, 7200)?]));
    servers.push(("device-bound".to_owned(), 7300, any, vec![device_bound(stage, family, 7300)?]));

    for (kind, port, listener, echoes) in &servers {
        for dialled in [server.overlay(family), server.real(family)] {
            let to = SocketAddr::new(dialled, *port);
            for from in [None, Some(client.overlay(family)), Some(client.real(family))] {
                for connected in [true, false] {
                    let asked = UdpClient { connected, from };
                    let what = format!("{identity}: {kind} socket, {to} dialled by {asked:?}");
                    let answer = udp(&client.site.netns, asked, to, 600, PATIENCE)
                        .with_context(|| what.clone())?;
                    assert_eq!(answer, to, "{what}: the answer's source");
                    let peer = if sees_overlay(*listener, server, identity) {
                        client.overlay(family)
                    } else {
                        client.real(family)
                    };
                    let seen = one_of(echoes).with_context(|| what.clone())?;
                    assert_eq!(seen.ip().to_canonical(), peer, "{what}: the peer seen");
                }
            }
        }
    }
    Ok(())
}

/// What the one socket of a group saw that got the datagram.
fn one_of(echoes: &[UdpEcho]) -> anyhow::Result<SocketAddr> {
    let mut seen = None;
    harness::eventually("a socket of the group gets it", || {
        seen = echoes.iter().find_map(UdpEcho::try_seen);
        seen.is_some()
    });
    seen.context("nobody saw the datagram")
}

fn every_udp_combination_is_answered_from_the_address_dialled(
    stage: &PairStage,
    family: Family,
) -> Result {
    for identity in IDENTITIES {
        stage.identify(family, identity)?;
        udp_matrix(stage, family, identity)?;
    }
    Ok(())
}

fn udp_between_two_fixed_ports_is_told_apart_by_connection(
    stage: &PairStage,
    family: Family,
) -> Result {
    let (left, right) = (&stage.left, &stage.right);
    // Both ends connected, in overlay form, as gossip protocols do.
    let end = |own: &Host, peer: &Host| -> anyhow::Result<UdpSocket> {
        let socket = own.site.netns.run(|| UdpSocket::bind((own.overlay(family), 7000)))?;
        socket.connect((peer.overlay(family), 7000))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    };
    let (one, other) = (end(left, right)?, end(right, left)?);
    let mut buffer = [0; 16];
    for round in 0..3 {
        one.send(b"ping")?;
        assert_eq!(other.recv(&mut buffer)?, 4, "round {round}");
        other.send(b"pong!")?;
        assert_eq!(one.recv(&mut buffer)?, 5, "round {round}");
    }
    Ok(())
}

fn ping_is_answered_from_the_address_dialled(stage: &PairStage, family: Family) -> Result {
    for identity in IDENTITIES {
        stage.identify(family, identity)?;
        let (left, right) = (&stage.left, &stage.right);
        let sources: BTreeSet<IpAddr> = [left.overlay(family), left.real(family)].into();
        for dialled in [right.overlay(family), right.real(family)] {
            for from in &sources {
                let answered = harness::traffic::ping(
                    &left.site.netns,
                    dialled,
                    &format!("-I {from}"),
                    PATIENCE,
                )?;
                assert!(answered, "{identity}: ping {dialled} from {from}");
            }
        }
    }
    Ok(())
}

fn a_closed_port_refuses_at_once_in_every_form(stage: &PairStage, family: Family) -> Result {
    for identity in IDENTITIES {
        stage.identify(family, identity)?;
        let (left, right) = (&stage.left, &stage.right);
        for dialled in [right.overlay(family), right.real(family)] {
            let to = SocketAddr::new(dialled, 9);
            let refused = |error: std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
            let dialled = harness::traffic::dial(&left.site.netns, None, to, PATIENCE);
            assert!(dialled.is_err_and(refused), "{identity}: tcp {to}");
            let client = UdpClient { connected: true, from: None };
            let asked = udp(&left.site.netns, client, to, 10, PATIENCE);
            assert!(asked.is_err_and(refused), "{identity}: udp {to}");
        }
    }
    Ok(())
}
