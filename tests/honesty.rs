//! Promise: hints are kept for what we ask, never for what we are made to answer. A flood of spoofed questions neither
//! fills their tables nor takes an answer away; whoever asks very many takes none from flows of another class; a hint
//! that is out of date admits nobody; and what netfilter leads elsewhere is remembered as long as it is used.

use std::{
    cell::Cell,
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context, ensure};
use aya::{
    Pod,
    maps::{HashMap, Map, MapData},
};
use harness::{
    PATIENCE, bpf,
    container::Containers,
    eventually,
    family::{Family, Network},
    host::{Fleet, Host, HostOptions, counted},
    netns::Netns,
    packets::{Link, Wire},
    topology::{Pair, Site, UPLINK, pair},
    traffic::{TcpEcho, UdpClient, UdpEcho, exchange, tcp, udp},
};
use ipnet::IpNet;
use maps::flows;
use neti_common::{
    family::{Family as _, V4, V6},
    maps::{Flow, Hint, name::FamilyMaps},
};
use serde_json::json;

mod maps;

type Result = anyhow::Result<()>;

const PORT: u16 = 7000;
const SERVED: u16 = 7100;
/// Where nobody is: what is sent there is led elsewhere.
const SERVICES: Network = Network { v4: [10, 96, 0], v6: [0xfd00, 0, 0, 0x96] };
const OPEN: u16 = 5353;
const CLOSED: u16 = 5354;
/// More questions than a table has room for: to a server, and to the stack itself.
const ASKED: u32 = 100_000;
const REFUSED: u32 = 20_000;
/// What a server's socket takes at once without losing any.
const BURST: u32 = 50;
/// How many flows a table holds.
const ROOM: usize = 16_384;

type Name = fn(FamilyMaps) -> &'static str;

/// The hints by class.
const CLASSES: [(&str, Name); 4] = [
    ("the host's with members", |maps| maps.hints_local_member),
    (STRANGERS, |maps| maps.hints_local_stranger),
    ("containers' with members", |maps| maps.hints_forward_member),
    ("containers' with strangers", |maps| maps.hints_forward_stranger),
];
const STRANGERS: &str = "the host's with strangers";

type Remembered = BTreeMap<&'static str, Vec<String>>;

fn remembered(host: &Host, family: Family) -> anyhow::Result<Remembered> {
    let of = |(class, name)| {
        let mut found = flows::<Hint<V4>, Hint<V6>>(host, family, name)?;
        found.sort();
        Ok((class, found))
    };
    CLASSES.into_iter().map(of).collect()
}

/// The memory of all hints, in bytes.
fn memory(host: &Host, family: Family) -> anyhow::Result<u64> {
    let names = if family == Family::V4 { V4::MAPS } else { V6::MAPS };
    let of = |(_, name): (_, Name)| {
        let pin = host.pin(&format!("maps/{}", name(names)))?;
        Ok(bpf::Map::open(&pin)?.memory()?)
    };
    CLASSES.into_iter().map(of).sum()
}

/// When the last of the hints was used, `CLOCK_MONOTONIC` nanoseconds.
fn newest(host: &Host, family: Family) -> anyhow::Result<u64> {
    let newest = Cell::new(0);
    let note = |seen: u64| newest.set(seen.max(newest.get()));
    match family {
        Family::V4 => change::<V4>(host, |hint| {
            note(hint.seen);
            Some(hint)
        })?,
        Family::V6 => change::<V6>(host, |hint| {
            note(hint.seen);
            Some(hint)
        })?,
    }
    Ok(newest.get())
}

/// Makes every hint older, by what would take too long to wait for.
fn age(host: &Host, family: Family, by: Duration) -> Result {
    let by = by.as_nanos() as u64;
    match family {
        Family::V4 => {
            change::<V4>(host, |hint| Some(Hint { seen: hint.seen.saturating_sub(by), ..hint }))
        }
        Family::V6 => {
            change::<V6>(host, |hint| Some(Hint { seen: hint.seen.saturating_sub(by), ..hint }))
        }
    }
}

/// Removes every hint.
fn forget(host: &Host, family: Family) -> Result {
    match family {
        Family::V4 => change::<V4>(host, |_| None),
        Family::V6 => change::<V6>(host, |_| None),
    }
}

/// Puts what `becomes` makes of it in the place of every hint.
fn change<F: neti_common::family::Family<Addr: Pod>>(
    host: &Host,
    becomes: impl Fn(Hint<F>) -> Option<Hint<F>>,
) -> Result {
    for (_, name) in CLASSES {
        let map = MapData::from_pin(host.pin(&format!("maps/{}", name(F::MAPS)))?)?;
        let mut map: HashMap<_, Flow<F>, Hint<F>> = Map::LruHashMap(map).try_into()?;
        let hints: Vec<_> = map.iter().collect::<std::result::Result<_, _>>()?;
        for (flow, hint) in hints {
            match becomes(hint) {
                Some(same) if same == hint => {}
                Some(hint) => map.insert(flow, hint, 0)?,
                None => map.remove(&flow)?,
            }
        }
    }
    Ok(())
}

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

/// Somebody who has asked a stranger who takes his time.
struct Waiting {
    client: UdpSocket,
    stranger: UdpSocket,
    /// What the stranger was asked from, and is to answer.
    from: SocketAddr,
}

impl Waiting {
    fn of(client: &Netns, stranger: &Site, family: Family, port: u16) -> anyhow::Result<Self> {
        let bound = |netns: &Netns, address: SocketAddr| -> anyhow::Result<UdpSocket> {
            let socket = netns.run(|| UdpSocket::bind(address))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let own = SocketAddr::new(stranger.real(family), port);
        let mut waiting = Self {
            client: bound(client, (family.any(), 0).into())?,
            stranger: bound(&stranger.netns, own)?,
            from: own,
        };
        waiting.ask()?;
        Ok(waiting)
    }

    fn ask(&mut self) -> Result {
        let mut heard = [0; 100];
        self.client.send_to(b"question", self.stranger.local_addr()?)?;
        self.from = self.stranger.recv_from(&mut heard).context("the question")?.1;
        ensure!(heard.starts_with(b"question"));
        Ok(())
    }

    fn is_answered(&self) -> Result {
        let mut heard = [0; 100];
        self.stranger.send_to(b"answer", self.from)?;
        let (length, from) = self.client.recv_from(&mut heard).context("the answer")?;
        ensure!(&heard[..length] == b"answer" && from == self.stranger.local_addr()?, "{from}");
        Ok(())
    }

    /// The stranger's answer comes too late.
    fn is_refused(&self, host: &Host) -> Result {
        counted(host, "stranger", "drop", || {
            Ok(self.stranger.send_to(b"answer", self.from).map(drop)?)
        })
    }
}

/// What a flood of spoofed questions comes from and goes to.
struct Spoofer {
    wire: Wire,
    link: Link,
    own: IpAddr,
}

impl Spoofer {
    /// Asks a server on an open port, and makes the stack answer: with an error, an echo, a reset.
    fn ask(&self, host: &Host, answers: &UdpEcho) -> Result {
        let count = |reason| host.count("ingress", reason);
        let (opened, echoed) = (count("open-port")?, count("echo")?);
        let echoes = (0..REFUSED).filter(|number| number % 3 == 1).count() as u64;
        for number in 0..ASKED {
            let source = spoofer(Family::of(self.own), number);
            let from = SocketAddr::from((source, 1024 + (number % 50_000) as u16));
            let to = |port| SocketAddr::from((self.own, port));
            self.wire.send(&self.link.udp(from, to(OPEN), b"spoofed"))?;
            if number < REFUSED {
                self.wire.send(&match number % 3 {
                    0 => self.link.udp(from, to(CLOSED), b"spoofed"),
                    1 => self.link.echo(source, self.own, number as u16),
                    _ => self.link.syn(from, to(CLOSED)),
                })?;
            }
            if number % BURST == BURST - 1 {
                for _ in 0..BURST {
                    answers.seen();
                }
            }
        }
        eventually("all that was spoofed is judged", || {
            let since = |reason, before: u64| count(reason).map(|count| count - before);
            since("open-port", opened).is_ok_and(|n| n >= u64::from(ASKED + REFUSED) - echoes)
                && since("echo", echoed).is_ok_and(|n| n >= echoes)
        });
        Ok(())
    }
}

#[test]
fn hints_are_kept_of_what_we_ask_and_of_nothing_else() -> Result {
    let pair = pair(Family::ALL)?;
    let settings = json!({
        "mode": "enforce", "echo": true,
        "open": [format!("udp/{OPEN}"), format!("udp/{CLOSED}"), format!("tcp/{CLOSED}")],
    });
    let fleet = Fleet::new(Family::ALL, settings)?;
    let ghosts = Family::ALL.map(|family| (family, family.ghost(1)));
    for (family, ghost) in ghosts {
        fleet.add_member(family.nft(), ghost, "ec2", pair.right.real(family))?;
    }
    // The member has no neti that keeps its records.
    let options = HostOptions { ttl: 600.0, ..HostOptions::default() };
    let mut left = fleet.host_with("left", &pair.left, &options)?;
    left.start()?;
    left.await_members(&["ip", "ip6"]);
    let container = Containers::on(&left.site.netns, Family::ALL)?.start(2)?;
    for (family, ghost) in ghosts {
        honest(&pair, &left, &container, family, ghost).with_context(|| family.to_string())?;
    }
    Ok(())
}

fn honest(pair: &Pair, left: &Host, container: &Netns, family: Family, ghost: IpAddr) -> Result {
    let (router, host) = (&pair.lan.router, &left.site.netns);
    // The answers go nowhere, without a word of the router; nor does the kernel track them for the container's sake.
    let (ip, prefix) = (family.nft(), spoofers(family));
    router.ip(&format!("route add blackhole {prefix}"))?;
    host.nft(&format!(
        "table {ip} raw {{\n\
         chain pre {{ type filter hook prerouting priority raw\n {ip} saddr {prefix} notrack\n }}\n\
         chain out {{ type filter hook output priority raw\n {ip} daddr {prefix} notrack\n }}\n\
         }}\n"
    ))?;
    let answers = UdpEcho::on(host, (family.any(), OPEN))?;

    // One flow of each class.
    let waiting = [
        Waiting::of(host, &pair.stranger, family, PORT)?,
        Waiting::of(container, &pair.stranger, family, PORT + 1)?,
    ];
    for netns in [host, container] {
        netns.run(|| UdpSocket::bind((family.any(), 0)))?.send_to(b"question", (ghost, PORT))?;
    }
    // A connected socket is its own memory.
    let connected = host.run(|| UdpSocket::bind((family.any(), 0)))?;
    connected.connect((pair.stranger.real(family), PORT))?;
    connected.send(b"question")?;
    let before = remembered(left, family)?;
    ensure!(before.values().all(|flows| flows.len() == 1), "one of each class: {before:?}");
    let room = memory(left, family)?;

    let link = Link { from: router.mac("lan")?, to: host.mac(UPLINK)? };
    let wire = Wire::open(router, "port-10")?;
    Spoofer { wire, link, own: left.real(family) }.ask(left, &answers)?;
    let mut after = remembered(left, family)?;
    ensure!(after == before, "the spoofed are remembered: {:?}", lengths(&after));
    for client in &waiting {
        client.is_answered().context("after the spoofed questions")?;
    }

    let user = host.run(|| UdpSocket::bind((family.any(), 0)))?;
    for number in 0..ASKED {
        user.send_to(b"question", (spoofer(family, number), PORT))?;
    }
    after = remembered(left, family)?;
    let strangers = after.insert(STRANGERS, before[STRANGERS].clone()).unwrap_or_default().len();
    ensure!((ROOM / 2..=ROOM).contains(&strangers), "{strangers} strangers are remembered");
    ensure!(after == before, "another class is forgotten: {:?}", lengths(&after));
    ensure!(memory(left, family)? == room, "the tables have grown");
    waiting[1].is_answered().context("the container, beside many questions of the host")?;

    // A full table gives up something for whatever is written into it, and that may be the very hint.
    forget(left, family)?;
    // Half a minute without an answer, three with one.
    for (port, lasts, answered) in [(PORT + 2, 30, false), (PORT + 3, 180, true)] {
        let what = || format!("answered {answered}, {lasts} s later");
        for netns in [host, container] {
            let asked = || -> anyhow::Result<Waiting> {
                let client = Waiting::of(netns, &pair.stranger, family, port)?;
                if answered {
                    client.is_answered()?;
                }
                Ok(client)
            };
            let client = asked()?;
            age(left, family, Duration::from_secs(lasts - 10))?;
            client.is_answered().with_context(what).context("ten seconds before")?;
            drop(client);
            let mut client = asked()?;
            age(left, family, Duration::from_secs(lasts))?;
            client.is_refused(left).with_context(what)?;
            client.ask()?;
            client.is_answered().with_context(what).context("asked again")?;
        }
    }
    led_elsewhere(pair, left, family)
}

/// Service addresses, as kube-proxy has them: netfilter leads what the host dials there to somebody else, and no socket
/// of the host knows the flow by the names that it has on the wire.
fn led_elsewhere(pair: &Pair, left: &Host, family: Family) -> Result {
    let host = &left.site.netns;
    for (number, site, hinted) in [(1, &pair.stranger, true), (2, &pair.right, false)] {
        let (ip, service) = (family.nft(), SERVICES.host(family, number));
        host.nft(&format!(
            "table {ip} services-{number} {{\n\
             chain out {{ type nat hook output priority -100\n\
             {ip} daddr {service} dnat to {}\n }}\n\
             }}\n",
            site.real(family)
        ))?;
        let server = (family.any(), SERVED);
        let _echoes = (TcpEcho::on(&site.netns, server)?, UdpEcho::on(&site.netns, server)?);
        let to = SocketAddr::new(service, SERVED);
        let stream = tcp(host, None, to)?;
        for connected in [true, false] {
            let client = UdpClient { connected, from: None };
            ensure!(udp(host, client, to, 100, PATIENCE).context("a datagram")? == to);
        }
        forget(left, family)?;
        exchange(&stream, 10_000).with_context(|| format!("{to}, where it had to make room"))?;
        // It is known for as long as it is used; a member's names are those that it would have anyway.
        age(left, family, Duration::from_secs(5))?;
        let before = newest(left, family)?;
        exchange(&stream, 10_000)?;
        ensure!((newest(left, family)? > before) == hinted, "{to}: its hint is not kept fresh");
    }
    Ok(())
}

fn lengths(remembered: &Remembered) -> BTreeMap<&str, usize> {
    remembered.iter().map(|(class, flows)| (*class, flows.len())).collect()
}
