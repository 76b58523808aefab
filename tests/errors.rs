//! Promise: what the network has to say about a packet reaches the socket that sent it, in the addresses that the socket
//! knows; and packets that are cut up, too large or unusual go through all the same.

use std::{
    io::{self, ErrorKind},
    mem::size_of_val,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::AsRawFd,
};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE,
    host::Host,
    netns::Netns,
    stage::{demo_stage, pair_stage},
    traffic::{BRIEFLY, TcpEcho, UdpClient, UdpEcho, dial, exchange, ping, udp},
};
use serde_json::json;

type Result = anyhow::Result<()>;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const PORT: u16 = 7000;

#[test]
fn a_closed_port_is_told_to_every_kind_of_socket() -> Result {
    for identity in ["real", "overlay"] {
        let stage = pair_stage(json!({ "mode": "enforce", "identity": identity }))?;
        let (left, right) = (&stage.left, &stage.right);
        for dialled in [right.overlay(), right.real()] {
            for from in [None, Some(left.overlay()), Some(left.real())] {
                let client = UdpClient { connected: true, from };
                let asked =
                    udp(&left.site.netns, client, SocketAddrV4::new(dialled, 9), 10, PATIENCE);
                let kind = asked.err().map(|error| error.kind());
                let what = format!("{identity}: {client:?} to {dialled}");
                assert_eq!(kind, Some(ErrorKind::ConnectionRefused), "{what}");
            }
            let told = unconnected_error(&left.site.netns, SocketAddrV4::new(dialled, 9))?;
            assert_eq!(
                told, dialled,
                "{identity}: an unconnected socket's error queue names the peer"
            );
        }
    }
    Ok(())
}

/// Asks a closed port from an unconnected socket with `IP_RECVERR`, and gives the address that the error names.
fn unconnected_error(netns: &Netns, to: SocketAddrV4) -> anyhow::Result<Ipv4Addr> {
    let socket = netns.run(|| UdpSocket::bind((ANY, 0)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let on: libc::c_int = 1;
    // SAFETY: the option is an int, and its length is given.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_RECVERR,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    ensure!(set == 0, "set IP_RECVERR: {}", io::Error::last_os_error());
    socket.send_to(b"?", to)?;
    let error = socket.recv_from(&mut [0; 10]).err().context("a closed port answers")?;
    ensure!(error.kind() == ErrorKind::ConnectionRefused, "{error}");
    // SAFETY: all zeros are a valid sockaddr_in.
    let mut name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    let mut payload = [0_u8; 64];
    let mut piece = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: payload.len() };
    let mut control = [0_u64; 32];
    // SAFETY: all zeros are a valid msghdr.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = size_of_val(&name) as libc::socklen_t;
    message.msg_iov = &raw mut piece;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: every pointer in the message is to a live buffer of the length given beside it.
    let got = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE) };
    ensure!(got >= 0, "read the error queue: {}", io::Error::last_os_error());
    Ok(Ipv4Addr::from_bits(u32::from_be(name.sin_addr.s_addr)))
}

/// Makes a route of a router as narrow as a tunnel, in this direction only: an interface with a smaller MTU would also
/// throw away what comes in.
fn narrow(router: &Netns, route: &str, mtu: u32) -> Result {
    router.ip(&format!("route replace {route} mtu lock {mtu}"))?;
    Ok(())
}

/// Sends a lot over a path with a smaller hop, in both directions, and sees that the route has learnt it.
fn recovers(client: &Host, server: &Host, mtu: u32) -> Result {
    let _echo = TcpEcho::on(&server.site.netns, (ANY, PORT))?;
    let to = SocketAddrV4::new(server.overlay(), PORT);
    let stream = dial(&client.site.netns, None, to, PATIENCE)?;
    exchange(&stream, 1_000_000).context("after the error the connection goes on")?;
    let route = client.site.netns.ip(&format!("route get {}", server.overlay()))?;
    ensure!(route.contains(&format!("mtu {mtu}")), "the route has not learnt the MTU: {route}");
    Ok(())
}

#[test]
fn path_mtu_is_discovered_at_the_first_router() -> Result {
    for identity in ["real", "overlay"] {
        let stage = demo_stage(json!({ "mode": "enforce", "identity": identity }))?;
        narrow(&stage.demo.ec2.router, "203.0.113.110/32 via 198.51.100.2 dev public", 1300)?;
        recovers(&stage.hudson, &stage.walden, 1300).context(identity)?;
        let errors = stage.hudson.count("ingress", "icmp-error")?;
        assert!(errors > 0, "{identity}: the router's errors are counted");
    }
    Ok(())
}

#[test]
fn path_mtu_is_discovered_behind_two_translations() -> Result {
    let stage = demo_stage(json!({ "mode": "enforce" }))?;
    // The last router finds it too large, and its error is translated on its way like any packet.
    narrow(&stage.demo.vpc.router, "10.0.0.10/32 dev lan", 1200)?;
    recovers(&stage.hudson, &stage.walden, 1200)
}

#[test]
fn a_datagram_too_large_for_the_path_is_told_to_its_sender() -> Result {
    let stage = demo_stage(json!({ "mode": "enforce" }))?;
    narrow(&stage.demo.ec2.router, "203.0.113.110/32 via 198.51.100.2 dev public", 1300)?;
    let _echo = UdpEcho::on(&stage.walden.site.netns, (ANY, PORT))?;
    let to = SocketAddrV4::new(stage.walden.overlay(), PORT);
    let client = UdpClient { connected: true, from: None };
    // Linux sets DF on UDP too; the first large one is lost and teaches the route.
    let first = udp(&stage.hudson.site.netns, client, to, 1400, harness::traffic::BRIEFLY);
    assert!(first.is_err(), "it does not fit");
    let answer = udp(&stage.hudson.site.netns, client, to, 1400, PATIENCE)
        .context("in fragments that fit")?;
    assert_eq!(answer, SocketAddr::from(to));
    Ok(())
}

#[test]
fn fragments_arrive_in_every_form() -> Result {
    for identity in ["real", "overlay"] {
        let stage = pair_stage(json!({ "mode": "enforce", "identity": identity }))?;
        for (from, to) in [(&stage.left, &stage.right), (&stage.right, &stage.left)] {
            let netns = &from.site.netns;
            let _echo = UdpEcho::on(&to.site.netns, (ANY, PORT))?;
            for dialled in [to.overlay(), to.real()] {
                let what = format!("{identity}: from {} to {dialled}", from.name);
                assert!(ping(netns, dialled, "-s 4000", PATIENCE)?, "{what}: ping");
                for connected in [true, false] {
                    let client = UdpClient { connected, from: None };
                    let address = SocketAddrV4::new(dialled, PORT);
                    let answer = udp(netns, client, address, 8000, PATIENCE)
                        .with_context(|| format!("{what}: udp, connected {connected}"))?;
                    assert_eq!(answer, SocketAddr::from(address), "{what}");
                }
            }
        }
        assert!(stage.right.count("ingress", "fragment")? > 0, "{identity}: they are counted");
    }
    Ok(())
}

#[test]
fn fragments_of_strangers_follow_the_first() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce", "open": ["udp/7000"] }))?;
    let right = &stage.right;
    let netns = &stage.pair.stranger.netns;
    let _open = UdpEcho::on(&right.site.netns, (ANY, PORT))?;
    let closed = UdpEcho::on(&right.site.netns, (ANY, 7001))?;
    let client = UdpClient { connected: false, from: None };
    let to = |port| SocketAddrV4::new(right.real(), port);
    udp(netns, client, to(7000), 8000, PATIENCE).context("an open port takes fragments")?;
    assert!(udp(netns, client, to(7001), 8000, harness::traffic::BRIEFLY).is_err());
    assert_eq!(closed.try_seen(), None);
    Ok(())
}

/// Sets the IP options of every packet the socket sends.
fn set_options(socket: &UdpSocket, options: &[u8]) -> io::Result<()> {
    // SAFETY: the option is a byte string, and its length is given.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_OPTIONS,
            options.as_ptr().cast(),
            options.len() as libc::socklen_t,
        )
    };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[test]
fn ip_options_move_the_ports_but_not_the_answer() -> Result {
    // RFC 791, 3.1: no operation; a timestamp option (68) of 12 bytes with flag 0, timestamps only.
    let nothing = [1; 4].to_vec();
    let timestamps = [68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0].to_vec();
    let longest = [1; 40].to_vec();
    for identity in ["real", "overlay"] {
        let stage = pair_stage(json!({ "mode": "enforce", "identity": identity }))?;
        let (left, right) = (&stage.left, &stage.right);
        let _echo = UdpEcho::on(&right.site.netns, (ANY, PORT))?;
        for options in [&nothing, &timestamps, &longest] {
            for dialled in [right.overlay(), right.real()] {
                let what = format!("{identity}: options {options:?} to {dialled}");
                let socket = left.site.netns.run(|| UdpSocket::bind((ANY, 0)))?;
                socket.set_read_timeout(Some(PATIENCE))?;
                set_options(&socket, options).with_context(|| what.clone())?;
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

#[test]
fn an_option_that_records_our_overlay_address_is_dropped() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce" }))?;
    let left = &stage.left;
    // Record route: the kernel writes the packet's source, which is the overlay address, into the first slot.
    ping(&left.site.netns, stage.right.overlay(), "-R", BRIEFLY)?;
    assert!(left.count("egress", "overlay-option")? > 0);
    Ok(())
}
