//! Promise: hints are kept for what we ask, never for what we are made to answer: a flood of spoofed questions neither
//! fills the table nor takes a client's answer away.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context, ensure};
use aya::maps::{HashMap, Map, MapData};
use harness::{
    PATIENCE, eventually,
    packets::{Link, Wire},
    stage::{PairStage, pair_stage},
    topology::UPLINK,
    traffic::UdpEcho,
};
use neti_common::{
    family::V4,
    maps::{Flow, Hint},
};
use serde_json::json;

type Result = anyhow::Result<()>;

const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
const PORT: u16 = 7000;
const OPEN: u16 = 5353;
const CLOSED: u16 = 5354;
/// More than the table holds.
const SPOOFED: u32 = 20_000;
/// What a server's socket takes at once without losing any.
const BURST: u32 = 50;

/// The flows to strangers that the left host remembers.
fn remembered(stage: &PairStage) -> anyhow::Result<Vec<Flow<V4>>> {
    let map = MapData::from_pin(stage.left.pin("maps/hints_ls4")?)?;
    let map: HashMap<_, Flow<V4>, Hint<V4>> = Map::LruHashMap(map).try_into()?;
    map.keys().collect::<std::result::Result<_, _>>().context("read hints_ls4")
}

#[test]
fn spoofed_questions_leave_no_hint_and_take_none_away() -> Result {
    let settings = json!({
        "mode": "enforce", "echo": true,
        "open": [format!("udp/{OPEN}"), format!("udp/{CLOSED}"), format!("tcp/{CLOSED}")],
    });
    let stage = pair_stage(settings)?;
    let (left, stranger) = (&stage.left, &stage.pair.stranger);
    // The answers go nowhere, without a word of the router.
    stage.pair.lan.router.ip("route add blackhole 198.18.0.0/15")?;
    let answers = UdpEcho::on(&left.site.netns, (ANY, OPEN))?;

    // A client asks a stranger who takes his time.
    let late = stranger.netns.run(|| UdpSocket::bind((ANY, PORT)))?;
    late.set_read_timeout(Some(PATIENCE))?;
    let client = left.site.netns.run(|| UdpSocket::bind((ANY, 0)))?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.send_to(b"question", (stranger.private, PORT))?;
    let mut buffer = [0; 100];
    let (length, from) = late.recv_from(&mut buffer)?;
    assert_eq!(&buffer[..length], b"question");
    let before = remembered(&stage)?;
    assert_eq!(before.len(), 1, "the client's flow alone: {before:?}");

    let router = &stage.pair.lan.router;
    let link = Link { from: router.mac("lan")?, to: left.site.netns.mac(UPLINK)? };
    let wire = Wire::open(router, "port-10")?;
    let (opened, echoed) = (left.count("ingress", "open-port")?, left.count("ingress", "echo")?);
    let echoes = (0..SPOOFED).filter(|number| number % 3 == 1).count() as u64;
    for number in 0..SPOOFED {
        let source = Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 1).to_bits() + number);
        let from = SocketAddr::from((source, 1024 + (number % 50_000) as u16));
        let to = |port| SocketAddr::from((left.real(), port));
        wire.send(&link.udp(from, to(OPEN), b"spoofed"))?;
        // What else we are made to answer: with an error, an echo, a reset.
        match number % 3 {
            0 => wire.send(&link.udp(from, to(CLOSED), b"spoofed"))?,
            1 => wire.send(&link.echo(source, left.real(), number as u16))?,
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
    let after = remembered(&stage)?;
    ensure!(after == before, "{} flows are remembered, not the client's alone", after.len());
    late.send_to(b"answer", from)?;
    let (length, from) = client.recv_from(&mut buffer).context("the client's answer")?;
    assert_eq!((&buffer[..length], from), (&b"answer"[..], (stranger.private, PORT).into()));
    // It is the hint that lets the answer in: another port of the stranger is refused.
    let refused = left.count("ingress", "stranger")?;
    let other = stranger.netns.run(|| UdpSocket::bind((ANY, PORT + 1)))?;
    other.send_to(b"unasked", (left.real(), client.local_addr()?.port()))?;
    eventually("what nobody asked for is refused", || {
        left.count("ingress", "stranger").is_ok_and(|count| count > refused)
    });
    Ok(())
}
