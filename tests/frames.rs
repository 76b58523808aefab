//! Promise: a frame is judged by what is inside, whatever is around it; nobody forges an overlay address; and each kind of
//! frame that nobody asked for is refused by its own reason.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::Context;
use harness::{
    eventually,
    family::Family,
    host::counted,
    in_both_families,
    packets::{Link, Wire, tagged},
    stage::{PairStage, enforcing_pair, pair_stage},
    topology::UPLINK,
    traffic::{BRIEFLY, TcpEcho, UdpEcho, ping},
};
use serde_json::json;

type Result = anyhow::Result<()>;

in_both_families!(
    what_a_link_needs_passes_under_enforce on enforcing_pair(),
    every_kind_of_frame_that_nobody_asked_for_is_refused_by_its_reason
        on pair_stage(Family::ALL, json!({})),
    a_tagged_frame_is_judged_by_what_is_inside on enforcing_pair(),
    an_overlay_address_on_the_wire_is_dropped_in_every_mode
        on pair_stage(Family::ALL, json!({})),
);

const PORT: u16 = 7000;

/// A datagram from a stranger (or from whoever `from` says) put on the host's wire, under VLAN tags.
struct Injection {
    wire: Wire,
    link: Link,
    to: SocketAddr,
}

impl Injection {
    fn new(stage: &PairStage, family: Family) -> anyhow::Result<Self> {
        let neighbour = &stage.pair.neighbour.netns;
        let link = Link { from: neighbour.mac(UPLINK)?, to: stage.right.site.netns.mac(UPLINK)? };
        let to = (stage.right.real(family), PORT).into();
        // Behind the bridge, which lets no malformed packet through.
        let wire = Wire::open(&stage.pair.lan.router, "port-11")?;
        Ok(Self { wire, link, to })
    }

    /// Sets the fleet's mode, and waits until what a stranger sends comes to this end.
    fn govern(&self, stage: &PairStage, family: Family, mode: &str, action: &str) -> Result {
        stage.fleet.set(json!({ "mode": mode }))?;
        let before = stage.right.arrived("stranger", action)?;
        eventually(&format!("a stranger meets {mode}"), || {
            self.send(stage.pair.neighbour.real(family), &[]).is_ok()
                && stage.right.arrived("stranger", action).is_ok_and(|after| after > before)
        });
        Ok(())
    }

    fn send(&self, from: IpAddr, tags: &[u16]) -> Result {
        let frame = self.link.udp((from, 4000).into(), self.to, b"injected");
        self.wire.send(&tagged(&frame, tags))
    }
}

fn what_a_link_needs_passes_under_enforce(stage: &PairStage, family: Family) -> Result {
    let (right, neighbour) = (&stage.right, &stage.pair.neighbour.netns);
    let to = right.real(family);
    let resolution = match family {
        Family::V4 => "link",
        Family::V6 => "neighbour-discovery",
    };
    counted(right, resolution, "pass", || {
        neighbour.ip(&format!("neigh flush dev {UPLINK}"))?;
        assert!(!ping(neighbour, to, "", BRIEFLY)?, "a stranger's ping is answered");
        Ok(())
    })?;
    eventually("the neighbour is resolved", || {
        let entry = neighbour.ip(&format!("neigh show to {to} dev {UPLINK}"));
        let resolved = entry.is_ok_and(|entry| entry.contains("lladdr"));
        if !resolved {
            // What failed once is asked for again only with a packet.
            let _ = ping(neighbour, to, "", BRIEFLY);
        }
        resolved
    });
    if family == Family::V6 {
        let index = neighbour.index(UPLINK)?;
        counted(right, "listener-discovery", "pass", || {
            let group = Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0x6e65);
            let socket = neighbour.run(|| UdpSocket::bind((family.any(), 0)))?;
            Ok(socket.join_multicast_v6(&group, index)?)
        })?;
    }
    Ok(())
}

/// Frames that no socket asked for, from a stranger on the link: what they are, and the reason that refuses them.
fn unsolicited(
    link: &Link,
    from: SocketAddr,
    to: SocketAddr,
) -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let family = Family::of(to.ip());
    let ends = (from.ip(), to.ip());
    let transport = 14 + family.header();
    let changed = |frame: &[u8], at: usize, bytes: &[u8]| {
        let mut frame = frame.to_vec();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        frame
    };
    let (syn, udp) = (link.syn(from, to), link.udp(from, to, b"unasked"));
    // About a packet that we never sent.
    let unsent = &link.udp((to.ip(), 4000).into(), (from.ip(), 9).into(), b"never")[14..];
    let (echo_reply, port_unreachable) = match family {
        Family::V4 => ([0, 0], [3, 3]),
        Family::V6 => ([129, 0], [1, 4]),
    };
    let mut frames = vec![
        ("a SYN", syn.clone(), "stranger"),
        // A listener is no reason to let it in.
        ("an ACK", changed(&syn, transport + 13, &[0x10]), "not-a-reply"),
        ("a datagram", udp.clone(), "stranger"),
        ("an echo request", link.echo(ends.0, ends.1, 7), "stranger"),
        ("an echo reply", link.icmp(ends, echo_reply, [0, 7, 0, 1], b"neti"), "stranger"),
        ("an ICMP error", link.icmp(ends, port_unreachable, [0; 4], unsent), "icmp-unrelated"),
        ("SCTP", link.raw(ends, 132, &[0; 16]), "stranger"),
        ("no IP at all", changed(&udp, 12, &[0x88, 0xb5]), "unparsed"),
        ("a packet cut short", udp[..udp.len() - 1].to_vec(), "malformed"),
    ];
    let IpAddr::V6(segment) = from.ip() else {
        let later = changed(&udp, 14 + 6, &[0x00, 0xb9]);
        frames.push(("a later fragment", later, "fragment-without-first"));
        return frames;
    };
    let chain = |first, chain: &[u8]| link.raw(ends, first, &[chain, &udp[transport..]].concat());
    // RFC 8200: next header, length in eight bytes beyond the first, and padding (1, 4, ...).
    let options = |next| [next, 0, 1, 4, 0, 0, 0, 0];
    let nine = [options(60); 8].concat().into_iter().chain(options(17)).collect::<Vec<u8>>();
    // An option to skip (0x1e) that fills seventeen times eight bytes.
    let longest = [&[17, 16, 0x1e, 132][..], &[0; 132]].concat();
    let one_segment_left = [&[17, 2, 4, 1, 0, 0, 0, 0][..], &segment.octets()].concat();
    let later = [17, 0, 0, 0x48, 0, 0, 0, 7];
    frames.extend([
        ("a later fragment", chain(44, &later), "fragment-without-first"),
        ("nine extension headers", chain(60, &nine), "long-chain"),
        ("136 bytes of options", chain(60, &longest), "long-chain"),
        ("a routing header", chain(43, &one_segment_left), "routing-header"),
        ("options, then UDP", chain(60, &options(17)), "stranger"),
        // Its hop limit is 64: it may come from anywhere.
        ("solicitation", link.icmp(ends, [135, 0], [0; 4], &segment.octets()), "stranger"),
    ]);
    frames
}

fn every_kind_of_frame_that_nobody_asked_for_is_refused_by_its_reason(
    stage: &PairStage,
    family: Family,
) -> Result {
    let right = &stage.right;
    let _echo = TcpEcho::on(&right.site.netns, (family.any(), PORT))?;
    let injection = Injection::new(stage, family)?;
    for (mode, action) in [("enforce", "drop"), ("observe", "would-drop")] {
        injection.govern(stage, family, mode, action)?;
        let from = SocketAddr::from((stage.pair.neighbour.real(family), 443));
        for (what, frame, reason) in unsolicited(&injection.link, from, injection.to) {
            counted(right, reason, action, || injection.wire.send(&frame))
                .with_context(|| format!("{mode}: {what}"))?;
        }
    }
    Ok(())
}

fn a_tagged_frame_is_judged_by_what_is_inside(stage: &PairStage, family: Family) -> Result {
    let right = &stage.right;
    let echo = UdpEcho::on(&right.site.netns, (family.any(), PORT))?;
    let injection = Injection::new(stage, family)?;
    let stranger = stage.pair.neighbour.real(family);
    for tags in [&[][..], &[0], &[0, 0]] {
        counted(right, "stranger", "drop", || injection.send(stranger, tags))
            .with_context(|| format!("tags {tags:?}"))?;
        counted(right, "spoofed-overlay", "drop", || {
            injection.send(stage.left.overlay(family), tags)
        })
        .with_context(|| format!("tags {tags:?}"))?;
    }
    for tags in [&[7][..], &[0, 7], &[7, 7]] {
        counted(right, "unknown-vlan", "drop", || injection.send(stranger, tags))
            .with_context(|| format!("tags {tags:?}"))?;
    }
    counted(right, "too-many-tags", "drop", || injection.send(stranger, &[0, 0, 0]))?;
    assert_eq!(echo.try_seen(), None, "none of them is delivered");
    // The same frame does arrive where nothing forbids it, so the silence above is neti's.
    counted(right, "member", "pass", || injection.send(stage.left.real(family), &[0]))?;
    echo.seen();
    Ok(())
}

#[test]
fn a_vlan_with_an_interface_is_not_ours() -> Result {
    let stage = pair_stage(Family::V4, json!({ "mode": "enforce" }))?;
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
    assert!(right.arrived("other-vlan", "pass")? > 0);
    Ok(())
}

fn an_overlay_address_on_the_wire_is_dropped_in_every_mode(
    stage: &PairStage,
    family: Family,
) -> Result {
    let right = &stage.right;
    for (mode, action) in [("observe", "would-drop"), ("enforce", "drop")] {
        let mut injection = Injection::new(stage, family)?;
        injection.govern(stage, family, mode, action)?;
        let echo = UdpEcho::on(&right.site.netns, (family.any(), PORT))?;
        counted(right, "spoofed-overlay", "drop", || {
            injection.send(stage.left.overlay(family), &[])
        })?;
        counted(right, "spoofed-overlay", "drop", || injection.send(family.ghost(7), &[]))?;
        injection.to = (right.overlay(family), PORT).into();
        counted(right, "spoofed-overlay", "drop", || {
            injection.send(stage.pair.neighbour.real(family), &[])
        })?;
        counted(right, "spoofed-overlay", "drop", || injection.send(stage.left.real(family), &[]))?;
        assert_eq!(echo.try_seen(), None, "{mode}: none of them is delivered");
    }
    Ok(())
}
