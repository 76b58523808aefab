//! Promise: what the network has to say about a packet reaches the socket that sent it, in the addresses that the socket
//! knows.

use std::{
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE, eventually,
    family::{Family, in_turn},
    host::Host,
    in_both_families,
    netns::Netns,
    socket::set_option,
    stage::{DemoStage, PairStage, demo_stage, enforcing_demo, enforcing_pair},
    topology::INTERNET,
    traffic::{BRIEFLY, TcpEcho, UdpClient, UdpEcho, dial, exchange, udp},
};
use serde_json::json;
use socket2::{SockAddr, SockAddrStorage};

type Result = anyhow::Result<()>;

in_both_families!(
    a_closed_port_is_told_to_every_kind_of_socket on enforcing_pair(),
    path_mtu_is_discovered_behind_two_translations on enforcing_demo(),
    a_datagram_too_large_for_the_path_is_told_to_its_sender on enforcing_demo(),
);

const PORT: u16 = 7000;

fn a_closed_port_is_told_to_every_kind_of_socket(stage: &PairStage, family: Family) -> Result {
    for identity in ["real", "overlay"] {
        stage.identify(family, identity)?;
        let (left, right) = (&stage.left, &stage.right);
        for dialled in [right.overlay(family), right.real(family)] {
            for from in [None, Some(left.overlay(family)), Some(left.real(family))] {
                let client = UdpClient { connected: true, from };
                let asked =
                    udp(&left.site.netns, client, SocketAddr::new(dialled, 9), 10, PATIENCE);
                let kind = asked.err().map(|error| error.kind());
                let what = format!("{identity}: {client:?} to {dialled}");
                assert_eq!(kind, Some(ErrorKind::ConnectionRefused), "{what}");
            }
            let told = unconnected_error(&left.site.netns, SocketAddr::new(dialled, 9))?;
            assert_eq!(
                told, dialled,
                "{identity}: an unconnected socket's error queue names the peer"
            );
        }
    }
    Ok(())
}

/// Asks a closed port from an unconnected socket with `IP_RECVERR`, and gives the address that the error names.
fn unconnected_error(netns: &Netns, to: SocketAddr) -> anyhow::Result<IpAddr> {
    let family = Family::of(to.ip());
    let socket = netns.run(|| UdpSocket::bind((family.any(), 0)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let (level, option) = match family {
        Family::V4 => (libc::IPPROTO_IP, libc::IP_RECVERR),
        Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_RECVERR),
    };
    set_option(&socket, level, option, &1_i32.to_ne_bytes()).context("set RECVERR")?;
    socket.send_to(b"?", to)?;
    let error = socket.recv_from(&mut [0; 10]).err().context("a closed port answers")?;
    ensure!(error.kind() == ErrorKind::ConnectionRefused, "{error}");
    let mut payload = [0_u8; 64];
    let mut piece = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    let mut control = [0_u64; 32];
    // SAFETY: all zeros are a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    let receive = |name: *mut SockAddrStorage, length: *mut libc::socklen_t| {
        message.msg_name = name.cast();
        // SAFETY: every pointer in the message is to a live buffer of the length given beside it, as is `length`.
        unsafe {
            message.msg_namelen = *length;
            let got = libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE);
            *length = message.msg_namelen;
            if got < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
        }
    };
    // SAFETY: on success the kernel has written the name and its length.
    let ((), name) = unsafe { SockAddr::try_init(receive) }.context("read the error queue")?;
    Ok(name.as_socket().context("an IP address")?.ip())
}

/// A smaller MTU than Ethernet's; no IPv6 link has less than 1280 (RFC 8200 5).
fn small(family: Family) -> u32 {
    match family {
        Family::V4 => 1200,
        Family::V6 => 1280,
    }
}

/// Makes the way of a router to `to` as narrow as a tunnel, in this direction only: an interface with a smaller MTU would
/// also throw away what comes in. `next` is the rest of the route.
fn narrow(router: &Netns, to: IpAddr, next: &str) -> Result {
    let mtu = small(Family::of(to));
    router.ip(&format!("route replace {to} {next} mtu lock {mtu}"))?;
    Ok(())
}

/// Makes the way from hudson's router to walden's narrow.
fn narrow_between_networks(stage: &DemoStage, family: Family) -> Result {
    let walden = stage.walden.site.public(family).context("walden has a public address")?;
    let next = format!("via {} dev public", INTERNET.host(family, 2));
    narrow(&stage.demo.ec2.router, walden, &next)
}

/// Sends a lot over a path with a smaller hop, in both directions, and sees that the route has learnt it.
fn recovers(client: &Host, server: &Host, family: Family) -> Result {
    let _echo = TcpEcho::on(&server.site.netns, (family.any(), PORT))?;
    let to = SocketAddr::new(server.overlay(family), PORT);
    let stream = dial(&client.site.netns, None, to, PATIENCE)?;
    exchange(&stream, 1_000_000).context("after the error the connection goes on")?;
    learnt(client, server, family);
    Ok(())
}

fn learnt(client: &Host, server: &Host, family: Family) {
    let (to, mtu) = (server.overlay(family), small(family));
    eventually(&format!("the route to {to} has learnt mtu {mtu}"), || {
        let route = client.site.netns.ip(&format!("route get {to}"));
        route.is_ok_and(|route| route.contains(&format!("mtu {mtu}")))
    });
}

#[test]
fn path_mtu_is_discovered_at_the_first_router() -> Result {
    for identity in ["real", "overlay"] {
        let stage = demo_stage(Family::ALL, json!({ "mode": "enforce", "identity": identity }))?;
        in_turn(|family| {
            let before = stage.hudson.count("ingress", "icmp-error")?;
            narrow_between_networks(&stage, family)?;
            recovers(&stage.hudson, &stage.walden, family).context(identity)?;
            let errors = stage.hudson.count("ingress", "icmp-error")?;
            assert!(errors > before, "{identity}: the router's errors are counted");
            Ok(())
        })?;
    }
    Ok(())
}

fn path_mtu_is_discovered_behind_two_translations(stage: &DemoStage, family: Family) -> Result {
    // The last router finds it too large, and its error is translated on its way like any packet.
    narrow(&stage.demo.vpc.router, stage.walden.real(family), "dev lan")?;
    recovers(&stage.hudson, &stage.walden, family)
}

fn a_datagram_too_large_for_the_path_is_told_to_its_sender(
    stage: &DemoStage,
    family: Family,
) -> Result {
    narrow_between_networks(stage, family)?;
    let _echo = UdpEcho::on(&stage.walden.site.netns, (family.any(), PORT))?;
    let to = SocketAddr::new(stage.walden.overlay(family), PORT);
    let client = UdpClient { connected: true, from: None };
    // Linux sets DF on UDP too; the first large one is lost and teaches the route.
    let first = udp(&stage.hudson.site.netns, client, to, 1400, BRIEFLY);
    assert!(first.is_err(), "it does not fit");
    learnt(&stage.hudson, &stage.walden, family);
    let answer = udp(&stage.hudson.site.netns, client, to, 1400, PATIENCE)
        .context("in fragments that fit")?;
    assert_eq!(answer, to);
    Ok(())
}
