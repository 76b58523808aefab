//! Promise: under `enforce` nothing that a host did not ask for gets in, to whatever port and with whatever flags, whole or
//! in fragments; each packet is dropped by its reason, and nobody is told that there is a host.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE, eventually,
    family::Family,
    host::Host,
    packets::{Link, Wire, atomic, cut, ends},
    stage::{PairStage, hooks_stage},
    topology::UPLINK,
    traffic::{TcpEcho, UdpEcho, dial, exchange},
    within,
};
use serde_json::json;

type Result = anyhow::Result<()>;

/// Packets, their TCP flags (`None` is UDP), and the reason that refuses them.
const PACKETS: [(&str, Option<u8>, &str); 14] = [
    ("a datagram", None, "stranger"),
    ("a SYN", Some(0x02), "stranger"),
    ("a SYN with PSH", Some(0x0a), "stranger"),
    ("an ACK", Some(0x10), "not-a-reply"),
    ("data", Some(0x18), "not-a-reply"),
    ("a SYN+ACK", Some(0x12), "not-a-reply"),
    ("a RST", Some(0x04), "not-a-reply"),
    ("a RST+ACK", Some(0x14), "not-a-reply"),
    ("a FIN", Some(0x01), "not-a-reply"),
    ("a FIN+ACK", Some(0x11), "not-a-reply"),
    ("a SYN+FIN", Some(0x03), "not-a-reply"),
    ("a SYN+RST", Some(0x06), "not-a-reply"),
    ("all flags (XMAS)", Some(0x3f), "not-a-reply"),
    ("no flag (NULL)", Some(0x00), "not-a-reply"),
];

/// Ports of the host.
const SERVED: u16 = 7000;
const CLOSED: u16 = 9;
/// Those of a connection and of a connected socket, and of a socket that asks without being connected.
const CONNECTED: u16 = 21_000;
const ASKING: u16 = 21_001;

/// What a host has open: servers for TCP and UDP, and whom it talks to.
struct Sockets {
    tcp: TcpEcho,
    udp: UdpEcho,
    connection: TcpStream,
    connected: UdpSocket,
    asking: UdpSocket,
    /// The stranger that it talks to.
    peer: SocketAddr,
}

impl Sockets {
    fn open(host: &Host, peer: SocketAddr) -> anyhow::Result<Self> {
        let family = Family::of(peer.ip());
        let (netns, own) = (&host.site.netns, host.real(family));
        let bound = |port| -> anyhow::Result<UdpSocket> {
            let socket = netns.run(|| UdpSocket::bind((own, port)))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let sockets = Self {
            tcp: TcpEcho::on(netns, (family.any(), SERVED))?,
            udp: UdpEcho::on(netns, (family.any(), SERVED))?,
            connection: dial(netns, Some((own, CONNECTED).into()), peer, PATIENCE)?,
            connected: bound(CONNECTED)?,
            asking: bound(ASKING)?,
            peer,
        };
        sockets.connected.connect(peer)?;
        sockets.talk()?;
        Ok(sockets)
    }

    /// They hear their peer, and nobody else.
    fn talk(&self) -> Result {
        exchange(&self.connection, 10_000).context("the connection")?;
        let mut heard = [0; 100];
        self.connected.send(b"connected")?;
        let length = self.connected.recv(&mut heard).context("the connected socket")?;
        ensure!(&heard[..length] == b"connected", "it hears {:?}", &heard[..length]);
        self.asking.send_to(b"asking", self.peer)?;
        let (length, from) = self.asking.recv_from(&mut heard).context("the asking socket")?;
        ensure!((&heard[..length], from) == (b"asking", self.peer), "it hears {from}");
        ensure!(self.tcp.try_seen().is_none(), "the server accepts a stranger");
        ensure!(self.udp.try_seen().is_none(), "the server hears a stranger");
        Ok(())
    }
}

/// Strangers' packets, and the wire to a host that they are put on.
struct Attack {
    /// The router's end of it.
    port: &'static str,
    wire: Wire,
    link: Link,
    own: IpAddr,
    /// The host's peer by another port, and somebody else by the peer's.
    from: [SocketAddr; 2],
}

impl Attack {
    fn on(
        stage: &PairStage,
        host: &Host,
        port: &'static str,
        peer: SocketAddr,
    ) -> anyhow::Result<Self> {
        let (router, family) = (&stage.pair.lan.router, Family::of(peer.ip()));
        Ok(Self {
            port,
            wire: Wire::open(router, port)?,
            link: Link { from: router.mac("lan")?, to: host.site.netns.mac(UPLINK)? },
            own: host.real(family),
            from: [
                SocketAddr::new(peer.ip(), 443),
                SocketAddr::new(stage.pair.neighbour.real(family), peer.port()),
            ],
        })
    }

    /// A packet to each port of the host, from everyone, whole and in fragments; how many of them begin with its header,
    /// and how many are later fragments.
    fn send(&self, flags: Option<u8>) -> anyhow::Result<(u64, u64)> {
        let (mut sent, mut later) = (0, 0);
        for from in self.from {
            for port in [SERVED, CLOSED, CONNECTED, ASKING] {
                let (to, payload) = (SocketAddr::new(self.own, port), [b'!'; 24]);
                let whole = match flags {
                    Some(flags) => self.link.tcp(from, to, flags, &payload),
                    None => self.link.udp(from, to, &payload),
                };
                self.wire.send(&whole)?;
                let [first, rest] = cut(&whole, 24, port)?;
                self.wire.send(&first)?;
                self.wire.send(&rest)?;
                (sent, later) = (sent + 2, later + 1);
                if self.own.is_ipv6() {
                    self.wire.send(&atomic(&whole, port + 1)?)?;
                    sent += 1;
                }
            }
        }
        Ok((sent, later))
    }
}

/// What a host has refused, by reason.
fn refused(host: &Host) -> anyhow::Result<BTreeMap<String, u64>> {
    let shown = host.show("stats")?;
    let counters = shown.as_array().context("neti show stats -j prints an array")?;
    let dropped = counters.iter().filter(|counter| counter["action"] == "drop");
    let mut refused = BTreeMap::new();
    for counter in dropped.filter(|counter| counter["hook"] != "egress") {
        let reason = counter["reason"].as_str().context("a reason is a string")?;
        *refused.entry(reason.to_owned()).or_default() +=
            counter["packets"].as_u64().context("packets are a number")?;
    }
    Ok(refused)
}

/// Every one of these packets is dropped, and for this reason.
fn refuses(host: &Host, attack: &Attack, flags: Option<u8>, reason: &str) -> Result {
    let mut wanted = refused(host)?;
    let (sent, later) = attack.send(flags)?;
    *wanted.entry(reason.to_owned()).or_default() += sent;
    *wanted.entry("fragment-without-first".to_owned()).or_default() += later;
    let total = |refused: &BTreeMap<String, u64>| refused.values().sum::<u64>();
    let mut found = BTreeMap::new();
    let all = within(PATIENCE, || {
        found = refused(host).unwrap_or_default();
        total(&found) >= total(&wanted)
    });
    ensure!(all && found == wanted, "dropped {found:?}, not {wanted:?}");
    Ok(())
}

/// How many packets tell a stranger that there is a host, while every kind of packet is tried on it.
fn answers(
    stage: &PairStage,
    attack: &Attack,
    attempt: impl Fn(Option<u8>, &str) -> Result,
) -> anyhow::Result<usize> {
    let capture = Wire::open(&stage.pair.lan.router, attack.port)?.capture();
    for (what, flags, reason) in PACKETS {
        attempt(flags, reason).context(what)?;
    }
    let frames = capture.finish();
    let told = frames.iter().filter_map(|frame| ends(frame)).filter(|(from, to)| {
        *from == attack.own && attack.from.iter().any(|stranger| stranger.ip() == *to)
    });
    Ok(told.count())
}

#[test]
fn what_nobody_asked_for_is_dropped_by_its_reason_and_not_answered() -> Result {
    let stage = hooks_stage(Family::ALL, json!({ "mode": "enforce" }))?;
    let stranger = &stage.pair.stranger;
    let mut servers = Vec::new();
    let mut scenes = Vec::new();
    for family in Family::ALL {
        let peer = SocketAddr::new(stranger.real(family), SERVED);
        servers.push((TcpEcho::on(&stranger.netns, peer)?, UdpEcho::on(&stranger.netns, peer)?));
        for (host, port) in [(&stage.left, "port-10"), (&stage.right, "port-11")] {
            let attack = Attack::on(&stage, host, port, peer)?;
            scenes.push((
                format!("{family}: {}", host.name),
                host,
                Sockets::open(host, peer)?,
                attack,
            ));
        }
    }
    for (what, host, sockets, attack) in &scenes {
        let told = answers(&stage, attack, |flags, reason| refuses(host, attack, flags, reason));
        let told = told.with_context(|| what.clone())?;
        ensure!(told == 0, "{what}: {told} answers");
        sockets.talk().with_context(|| what.clone())?;
    }
    // The same packets are answered where they are let in, so the silence is neti's.
    stage.fleet.set(json!({ "mode": "observe" }))?;
    for (what, host, _, attack) in &scenes {
        eventually("strangers are let in", || {
            attack.send(None).is_ok()
                && host.arrived("stranger", "would-drop").is_ok_and(|count| count > 0)
        });
        let told = answers(&stage, attack, |flags, _| attack.send(flags).map(drop))?;
        ensure!(told > PACKETS.len(), "{what}: {told} answers under observe");
    }
    Ok(())
}
