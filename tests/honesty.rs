//! Promise: hints are kept for what we ask, never for what we are made to answer: a flood of spoofed questions neither
//! fills the table nor takes a client's answer away.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE, eventually,
    family::Family,
    in_each_family,
    packets::{Link, Wire},
    stage::pair_stage,
    topology::UPLINK,
    traffic::UdpEcho,
};
use ipnet::IpNet;
use maps::flows;
use neti_common::{
    family::{V4, V6},
    maps::Hint,
};
use serde_json::json;

mod maps;

type Result = anyhow::Result<()>;

in_each_family!(spoofed_questions_leave_no_hint_and_take_none_away,);

const PORT: u16 = 7000;
const OPEN: u16 = 5353;
const CLOSED: u16 = 5354;
/// More than the table holds.
const SPOOFED: u32 = 20_000;
/// What a server's socket takes at once without losing any.
const BURST: u32 = 50;

/// Where the spoofed questions come from: the prefix that RFC 2544 and RFC 5180 keep for such tests.
fn spoofers(family: Family) -> IpNet {
    let (network, length): (IpAddr, u8) = match family {
        Family::V4 => (Ipv4Addr::new(198, 18, 0, 0).into(), 15),
        Family::V6 => (Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 0).into(), 48),
    };
    IpNet::new_assert(network, length)
}

fn spoofer(family: Family, number: u32) -> IpAddr {
    match spoofers(family).network() {
        IpAddr::V4(network) => Ipv4Addr::from_bits(network.to_bits() + 1 + number).into(),
        IpAddr::V6(network) => {
            Ipv6Addr::from_bits(network.to_bits() + 1 + u128::from(number)).into()
        }
    }
}

fn spoofed_questions_leave_no_hint_and_take_none_away(family: Family) -> Result {
    let settings = json!({
        "mode": "enforce", "echo": true,
        "open": [format!("udp/{OPEN}"), format!("udp/{CLOSED}"), format!("tcp/{CLOSED}")],
    });
    let stage = pair_stage(family, settings)?;
    let (left, stranger) = (&stage.left, &stage.pair.stranger);
    // The answers go nowhere, without a word of the router.
    stage.pair.lan.router.ip(&format!("route add blackhole {}", spoofers(family)))?;
    let answers = UdpEcho::on(&left.site.netns, (family.any(), OPEN))?;

    // A client asks a stranger who takes his time.
    let late = stranger.netns.run(|| UdpSocket::bind((family.any(), PORT)))?;
    late.set_read_timeout(Some(PATIENCE))?;
    let client = left.site.netns.run(|| UdpSocket::bind((family.any(), 0)))?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.send_to(b"question", (stranger.real(family), PORT))?;
    let mut buffer = [0; 100];
    let (length, from) = late.recv_from(&mut buffer)?;
    assert_eq!(&buffer[..length], b"question");
    let remembered = || flows::<Hint<V4>, Hint<V6>>(left, family, |maps| maps.hints_local_stranger);
    let before = remembered()?;
    assert_eq!(before.len(), 1, "the client's flow alone: {before:?}");

    let router = &stage.pair.lan.router;
    let link = Link { from: router.mac("lan")?, to: left.site.netns.mac(UPLINK)? };
    let wire = Wire::open(router, "port-10")?;
    let (opened, echoed) = (left.count("ingress", "open-port")?, left.count("ingress", "echo")?);
    let echoes = (0..SPOOFED).filter(|number| number % 3 == 1).count() as u64;
    for number in 0..SPOOFED {
        let source = spoofer(family, number);
        let from = SocketAddr::from((source, 1024 + (number % 50_000) as u16));
        let to = |port| SocketAddr::from((left.real(family), port));
        wire.send(&link.udp(from, to(OPEN), b"spoofed"))?;
        // What else we are made to answer: with an error, an echo, a reset.
        match number % 3 {
            0 => wire.send(&link.udp(from, to(CLOSED), b"spoofed"))?,
            1 => wire.send(&link.echo(source, left.real(family), number as u16))?,
            _ => wire.send(&link.syn(from, to(CLOSED)))?,
        }
        if number % BURST == BURST - 1 {
            for _ in 0..BURST {
                answers.seen();
            }
        }
    }
    eventually("all that was spoofed is judged", || {
        let more = |reason, before: u64| left.count("ingress", reason).map(|n| n - before);
        more("open-port", opened).is_ok_and(|n| n >= u64::from(2 * SPOOFED) - echoes)
            && more("echo", echoed).is_ok_and(|n| n >= echoes)
    });
    let after = remembered()?;
    ensure!(after == before, "{} flows are remembered, not the client's alone", after.len());
    late.send_to(b"answer", from)?;
    let (length, from) = client.recv_from(&mut buffer).context("the client's answer")?;
    assert_eq!((&buffer[..length], from), (&b"answer"[..], (stranger.real(family), PORT).into()));
    // It is the hint that lets the answer in: another port of the stranger is refused.
    let refused = left.count("ingress", "stranger")?;
    let other = stranger.netns.run(|| UdpSocket::bind((family.any(), PORT + 1)))?;
    other.send_to(b"unasked", (left.real(family), client.local_addr()?.port()))?;
    eventually("what nobody asked for is refused", || {
        left.count("ingress", "stranger").is_ok_and(|count| count > refused)
    });
    Ok(())
}
