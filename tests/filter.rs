//! Promise: under `enforce` a host hears members, what the rules admit, and answers to what it asked; under `observe`
//! it hears everyone and counts whom it would have refused.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE, eventually,
    host::Host,
    packets::{Link, Wire, tagged},
    stage::{PairStage, pair_stage},
    topology::{Site, UPLINK},
    traffic::{BRIEFLY, TcpEcho, UdpClient, UdpEcho, dial, exchange, ping, tcp, tcp_silent, udp},
};
use serde_json::{Value, json};

type Result = anyhow::Result<()>;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const PORT: u16 = 7000;
const CLIENT: UdpClient = UdpClient { connected: false, from: None };

/// Packets with `reason` on the way in, whichever hook judged, by what became of them.
fn count(host: &Host, reason: &str, action: &str) -> anyhow::Result<u64> {
    host.count_where(|counter| {
        counter["hook"] != "egress" && counter["reason"] == reason && counter["action"] == action
    })
}

/// Runs `provoke` and requires that at least one packet is counted so.
fn counted(host: &Host, reason: &str, action: &str, provoke: impl FnOnce() -> Result) -> Result {
    let before = count(host, reason, action)?;
    provoke()?;
    eventually(&format!("{reason} is counted as {action}"), || {
        count(host, reason, action).is_ok_and(|after| after > before)
    });
    Ok(())
}

fn to(host: &Host, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(host.real(), port)
}

#[test]
fn enforce_refuses_strangers() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce" }))?;
    let right = &stage.right;
    let tcp_echo = TcpEcho::on(&right.site.netns, (ANY, PORT))?;
    let udp_echo = UdpEcho::on(&right.site.netns, (ANY, PORT))?;
    for stranger in [&stage.pair.stranger, &stage.pair.neighbour] {
        let netns = &stranger.netns;
        counted(right, "stranger", "drop", || {
            ensure!(tcp_silent(netns, to(right, PORT)), "a stranger's SYN is answered");
            ensure!(tcp_silent(netns, to(right, 9)), "a closed port tells a stranger that it is");
            Ok(())
        })?;
        counted(right, "stranger", "drop", || {
            ensure!(udp(netns, CLIENT, to(right, PORT), 10, BRIEFLY).is_err(), "answered");
            Ok(())
        })?;
        counted(right, "stranger", "drop", || {
            ensure!(!ping(netns, right.real(), "", BRIEFLY)?, "a stranger's ping is answered");
            Ok(())
        })?;
    }
    assert_eq!(tcp_echo.try_seen(), None);
    assert_eq!(udp_echo.try_seen(), None);
    Ok(())
}

#[test]
fn enforce_refuses_what_only_looks_like_a_reply() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce" }))?;
    let right = &stage.right;
    let _echo = TcpEcho::on(&right.site.netns, (ANY, PORT))?;
    let link =
        Link { from: stage.pair.neighbour.netns.mac(UPLINK)?, to: right.site.netns.mac(UPLINK)? };
    let wire = Wire::open(&stage.pair.neighbour.netns, UPLINK)?;
    let from = SocketAddr::from((stage.pair.neighbour.private, 443));
    counted(right, "not-a-reply", "drop", || {
        let mut frame = link.syn(from, to(right, PORT).into());
        // SYN becomes ACK: a listener is no reason to let it in.
        frame[14 + 20 + 13] = 0x10;
        wire.send(&frame)
    })?;
    Ok(())
}

#[test]
fn observe_lets_strangers_in_and_counts_them() -> Result {
    let stage = pair_stage(json!({ "mode": "observe" }))?;
    let right = &stage.right;
    let _tcp = TcpEcho::on(&right.site.netns, (ANY, PORT))?;
    let _udp = UdpEcho::on(&right.site.netns, (ANY, PORT))?;
    let netns = &stage.pair.stranger.netns;
    counted(right, "stranger", "would-drop", || tcp(netns, None, to(right, PORT)).map(drop))?;
    counted(right, "stranger", "would-drop", || {
        let answer = udp(netns, CLIENT, to(right, PORT), 10, PATIENCE)?;
        ensure!(answer == to(right, PORT).into(), "answered by {answer}");
        Ok(())
    })?;
    counted(right, "stranger", "would-drop", || {
        ensure!(ping(netns, right.real(), "", PATIENCE)?, "observe must not refuse a ping");
        Ok(())
    })?;
    assert_eq!(count(right, "stranger", "drop")?, 0);
    Ok(())
}

#[test]
fn the_mode_is_changed_in_the_registry() -> Result {
    let stage = pair_stage(json!({ "mode": "observe" }))?;
    let right = &stage.right;
    let _echo = UdpEcho::on(&right.site.netns, (ANY, PORT))?;
    let netns = &stage.pair.stranger.netns;
    udp(netns, CLIENT, to(right, PORT), 10, PATIENCE).context("observe")?;
    stage.fleet.set(json!({ "mode": "enforce" }))?;
    eventually("strangers are refused", || {
        udp(netns, CLIENT, to(right, PORT), 10, BRIEFLY).is_err()
    });
    stage.fleet.set(json!({ "mode": "observe" }))?;
    eventually("strangers are heard", || udp(netns, CLIENT, to(right, PORT), 10, BRIEFLY).is_ok());
    Ok(())
}

#[test]
fn answers_of_strangers_come_in() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce" }))?;
    let right = &stage.right;
    let netns = &right.site.netns;
    for stranger in [&stage.pair.stranger, &stage.pair.neighbour] {
        let server = SocketAddrV4::new(stranger.private, PORT);
        let _tcp = TcpEcho::on(&stranger.netns, (ANY, PORT))?;
        let _udp = UdpEcho::on(&stranger.netns, (ANY, PORT))?;
        counted(right, "reply", "pass", || tcp(netns, None, server).map(drop))?;
        let ask = |connected| -> Result {
            let client = UdpClient { connected, from: None };
            let answer = udp(netns, client, server, 10, PATIENCE)?;
            ensure!(answer == server.into(), "answered by {answer}");
            Ok(())
        };
        counted(right, "reply", "pass", || ask(true).context("connected udp"))?;
        counted(right, "hinted", "pass", || ask(false).context("unconnected udp"))?;
        counted(right, "hinted", "pass", || {
            ensure!(ping(netns, stranger.private, "", PATIENCE)?, "our own ping is answered");
            Ok(())
        })?;
        // A hint is for one flow: the same stranger from another port is a stranger.
        let asked = netns.run(|| UdpSocket::bind((ANY, 0)))?;
        asked.set_read_timeout(Some(PATIENCE))?;
        asked.send_to(b"?", server)?;
        asked.recv_from(&mut [0; 10]).context("the answer")?;
        let other = stranger.netns.run(|| UdpSocket::bind((ANY, 0)))?;
        let port = asked.local_addr()?.port();
        counted(right, "stranger", "drop", || {
            Ok(other.send_to(b"!", to(right, port)).map(drop)?)
        })?;
        // So is one closed port: its refusal comes in as an ICMP error about our packet.
        counted(right, "icmp-error", "pass", || {
            let closed = SocketAddrV4::new(stranger.private, 9);
            let asked = udp(netns, UdpClient { connected: true, from: None }, closed, 10, PATIENCE);
            let error = asked.err().context("a closed port answers")?;
            ensure!(error.kind() == std::io::ErrorKind::ConnectionRefused, "{error}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn connections_older_than_neti_go_on() -> Result {
    let pair = harness::topology::pair()?;
    let fleet = harness::host::Fleet::new(json!({ "mode": "enforce" }))?;
    let _echo = TcpEcho::on(&pair.right.netns, (ANY, PORT))?;
    let address = SocketAddrV4::new(pair.right.private, PORT);
    let stream = tcp(&pair.stranger.netns, None, address)?;
    let mut right = fleet.host("right", &pair.right)?;
    right.start()?;
    assert!(tcp_silent(&pair.stranger.netns, address), "a fresh connection is refused");
    exchange(&stream, 200_000).context("the old connection")?;
    assert_eq!(right.stop(nix::sys::signal::Signal::SIGTERM)?.code(), Some(0));
    exchange(&stream, 200_000).context("the old connection without the daemon")
}

#[test]
fn ssh_from_the_failsafe_ranges_is_never_refused() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce" }))?;
    let right = &stage.right;
    let _ssh = TcpEcho::on(&right.site.netns, (ANY, 22))?;
    counted(right, "failsafe", "pass", || {
        tcp(&stage.pair.neighbour.netns, None, to(right, 22)).map(drop)
    })?;
    assert!(tcp_silent(&stage.pair.stranger.netns, to(right, 22)), "198.51.100.99 is in no range");
    stage.fleet.set(json!({ "mode": "enforce", "failsafe": ["198.51.100.99/32"] }))?;
    eventually("the ranges follow the settings", || {
        dial(&stage.pair.stranger.netns, None, to(right, 22), BRIEFLY).is_ok()
    });
    assert!(tcp_silent(&stage.pair.neighbour.netns, to(right, 22)), "the defaults are replaced");
    Ok(())
}

/// Whether a TCP echo server on this port is reached.
fn tcp_open(from: &Site, host: &Host, port: u16) -> anyhow::Result<bool> {
    let _echo = TcpEcho::on(&host.site.netns, (ANY, port))?;
    // Whoever expects to be refused is refused by silence, so the patience may be brief only then; the caller says
    // what it expects by asking again.
    Ok(dial(&from.netns, None, to(host, port), BRIEFLY).is_ok())
}

/// Whether a UDP echo server on this port is reached.
fn udp_open(from: &Site, host: &Host, port: u16) -> anyhow::Result<bool> {
    let _echo = UdpEcho::on(&host.site.netns, (ANY, port))?;
    Ok(udp(&from.netns, CLIENT, to(host, port), 10, BRIEFLY).is_ok())
}

#[test]
fn rules_admit_what_they_say() -> Result {
    let rules: Value = json!({
        "mode": "enforce",
        "allow": [
            { "from": "198.51.100.0/24", "protocol": "tcp", "ports": ["443", "8000-8010"] },
            { "from": "198.51.100.99/32", "protocol": "udp", "ports": ["53"] },
        ],
        "open": ["tcp/80", "udp/123"],
    });
    let PairStage { right, pair, .. } = &pair_stage(rules)?;
    let (stranger, neighbour) = (&pair.stranger, &pair.neighbour);
    let wanted = [
        // (who, protocol, port, whether let in, why)
        (stranger, "tcp", 443, true, "the wide rule, which the narrow one must not hide"),
        (stranger, "tcp", 7999, false, "below the range"),
        (stranger, "tcp", 8000, true, "the range's first port"),
        (stranger, "tcp", 8010, true, "the range's last port"),
        (stranger, "tcp", 8011, false, "above the range"),
        (stranger, "tcp", 53, false, "the rule is for udp"),
        (stranger, "udp", 53, true, "the narrow rule"),
        (stranger, "udp", 443, false, "the rule is for tcp"),
        (stranger, "tcp", 80, true, "open to anyone"),
        (stranger, "udp", 80, false, "open for tcp only"),
        (stranger, "udp", 123, true, "open to anyone"),
        (neighbour, "tcp", 443, false, "not in the rule's range"),
        (neighbour, "tcp", 80, true, "open to anyone"),
        (neighbour, "udp", 123, true, "open to anyone"),
    ];
    for (who, protocol, port, admitted, why) in wanted {
        let open = || match protocol {
            "tcp" => tcp_open(who, right, port),
            _ => udp_open(who, right, port),
        };
        let what = format!("{protocol}/{port} from {}: {why}", who.private);
        if admitted {
            eventually(&what, || open().is_ok_and(|open| open));
        } else {
            assert!(!open()?, "{what}");
        }
    }
    assert!(count(right, "allowed", "pass")? > 0);
    assert!(count(right, "open-port", "pass")? > 0);
    Ok(())
}

#[test]
fn strangers_may_ping_where_the_fleet_says_so() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce", "echo": true }))?;
    counted(&stage.right, "echo", "pass", || {
        ensure!(ping(&stage.pair.stranger.netns, stage.right.real(), "", PATIENCE)?, "refused");
        Ok(())
    })
}

#[test]
fn ipv6_is_dropped_but_neighbour_discovery() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce" }))?;
    let right = &stage.right;
    let neighbour = &stage.pair.neighbour.netns;
    for (netns, last) in [(&right.site.netns, 1), (neighbour, 2)] {
        netns.sysctl("net.ipv6.conf.eth0.accept_dad", "0")?;
        netns.sysctl("net.ipv6.conf.eth0.disable_ipv6", "0")?;
        netns.ip(&format!("addr add 2001:db8::{last}/64 dev {UPLINK} nodad"))?;
    }
    counted(right, "ipv6", "drop", || {
        let output = neighbour.output("ping -6 -n -q -c 1 -W 1 2001:db8::1")?;
        ensure!(!output.status.success(), "IPv6 passes although it is not filtered");
        Ok(())
    })?;
    assert!(count(right, "neighbour-discovery", "pass")? > 0);
    let neighbours = neighbour.ip("-6 neigh show to 2001:db8::1")?;
    assert!(neighbours.contains("lladdr"), "the neighbour is resolved: {neighbours}");
    Ok(())
}

/// A datagram from a stranger (or from whoever `from` says) put on the wire beside the host, under VLAN tags.
struct Injection {
    wire: Wire,
    link: Link,
    to: SocketAddr,
}

impl Injection {
    fn new(stage: &PairStage) -> anyhow::Result<Self> {
        let neighbour = &stage.pair.neighbour.netns;
        let link = Link { from: neighbour.mac(UPLINK)?, to: stage.right.site.netns.mac(UPLINK)? };
        let to = to(&stage.right, PORT).into();
        Ok(Self { wire: Wire::open(neighbour, UPLINK)?, link, to })
    }

    fn send(&self, from: Ipv4Addr, tags: &[u16]) -> Result {
        let frame = self.link.udp((from, 4000).into(), self.to, b"injected");
        self.wire.send(&tagged(&frame, tags))
    }
}

#[test]
fn a_tagged_frame_is_judged_by_what_is_inside() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce" }))?;
    let right = &stage.right;
    let echo = UdpEcho::on(&right.site.netns, (ANY, PORT))?;
    let injection = Injection::new(&stage)?;
    let stranger = stage.pair.neighbour.private;
    for tags in [&[][..], &[0], &[0, 0]] {
        counted(right, "stranger", "drop", || injection.send(stranger, tags))
            .with_context(|| format!("tags {tags:?}"))?;
        counted(right, "spoofed-overlay", "drop", || injection.send(stage.left.overlay(), tags))
            .with_context(|| format!("tags {tags:?}"))?;
    }
    for tags in [&[7][..], &[0, 7], &[7, 7]] {
        counted(right, "unknown-vlan", "drop", || injection.send(stranger, tags))
            .with_context(|| format!("tags {tags:?}"))?;
    }
    counted(right, "too-many-tags", "drop", || injection.send(stranger, &[0, 0, 0]))?;
    assert_eq!(echo.try_seen(), None, "none of them is delivered");
    // The same frame does arrive where nothing forbids it, so the silence above is neti's.
    counted(right, "member", "pass", || injection.send(stage.left.real(), &[0]))?;
    echo.seen();
    Ok(())
}

#[test]
fn a_vlan_with_an_interface_is_not_ours() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce" }))?;
    let right = &stage.right;
    let neighbour = &stage.pair.neighbour.netns;
    for (netns, last) in [(&right.site.netns, 1), (neighbour, 2)] {
        let added = netns.ip(&format!("link add link {UPLINK} name vlan7 type vlan id 7"));
        if added.as_ref().is_err_and(|error| error.to_string().contains("Unknown device type")) {
            println!("skipped: this kernel has no VLAN interfaces");
            return Ok(());
        }
        added?;
        netns.ip(&format!("addr add 192.168.7.{last}/24 dev vlan7"))?;
        netns.ip("link set vlan7 up")?;
    }
    eventually("the VLAN's own traffic passes", || {
        ping(neighbour, [192, 168, 7, 1].into(), "", BRIEFLY).is_ok_and(|answered| answered)
    });
    assert!(count(right, "other-vlan", "pass")? > 0);
    Ok(())
}

#[test]
fn an_overlay_address_on_the_wire_is_dropped_in_every_mode() -> Result {
    for mode in ["observe", "enforce"] {
        let stage = pair_stage(json!({ "mode": mode }))?;
        let right = &stage.right;
        let echo = UdpEcho::on(&right.site.netns, (ANY, PORT))?;
        let mut injection = Injection::new(&stage)?;
        counted(right, "spoofed-overlay", "drop", || injection.send(stage.left.overlay(), &[]))?;
        counted(right, "spoofed-overlay", "drop", || injection.send([100, 64, 77, 7].into(), &[]))?;
        injection.to = (right.overlay(), PORT).into();
        counted(right, "spoofed-overlay", "drop", || {
            injection.send(stage.pair.neighbour.private, &[])
        })?;
        counted(right, "spoofed-overlay", "drop", || injection.send(stage.left.real(), &[]))?;
        assert_eq!(echo.try_seen(), None, "{mode}: none of them is delivered");
    }
    Ok(())
}
