//! Promise: paths change under live traffic, at each end at another time, and nobody who uses overlay addresses notices:
//! no byte, datagram or ping is lost and no socket sees an error.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE, eventually,
    family::Family,
    host::{Fleet, Host, HostOptions, start_all},
    in_each_family,
    netns::Netns,
    packets::{Wire, ends},
    topology::{Lan, Site},
    traffic::{TcpEcho, UdpEcho, dial},
};
use serde_json::{Value, json};
use socket2::{Domain, Protocol, Socket, Type};

type Result = anyhow::Result<()>;

in_each_family!(traffic_by_overlay_address_does_not_notice_that_paths_change,);

const PORT: u16 = 7000;
/// Questions that every kind of traffic must have had answered on each combination of paths.
const ANSWERS: u64 = 10;

/// Two hosts with a private and a public address each. The router translates between public addresses without state, as
/// providers do: the two directions of a flow may take different paths.
struct Stage {
    left: Host,
    right: Host,
    fleet: Fleet,
    lan: Lan,
}

fn stage(family: Family) -> anyhow::Result<Stage> {
    let lan = Lan::new("ec2", family)?;
    let left = lan.attach("left", 10)?.published(10);
    let right = lan.attach("right", 11)?.published(11);
    let (mut rules, ip) = (String::new(), family.nft());
    for [from, to] in [[&left, &right], [&right, &left]] {
        let (private, public) = (from.real(family), public_of(from, family));
        let (to_private, to_public) = (to.real(family), public_of(to, family));
        rules += &format!(
            "{ip} saddr {private} {ip} daddr {to_public} \
             {ip} saddr set {public} {ip} daddr set {to_private}\n"
        );
    }
    lan.router.nft(&format!(
        "table {ip} public {{\n\
         chain pre {{ type filter hook prerouting priority -300\n{rules} }}\n\
         }}\n"
    ))?;
    let fleet = Fleet::new(family, json!({ "mode": "enforce", "identity": "overlay" }))?;
    // A record that a test has changed is not its host's any more, which keeps it alive no longer.
    let options = HostOptions { ttl: 600.0, ..HostOptions::default() };
    let mut left = fleet.host_with("left", &left, &options)?;
    let mut right = fleet.host_with("right", &right, &options)?;
    start_all(&mut [&mut left, &mut right])?;
    Ok(Stage { left, right, fleet, lan })
}

fn public_of(site: &Site, family: Family) -> IpAddr {
    site.public(family).unwrap_or_else(|| panic!("{} is published", site.netns.name()))
}

/// Exchanges the roles of a member's two addresses in its record. The others accept both before and after, and prefer
/// the one called private. The member's own daemon takes the record for another host's, and lets it be.
fn flip(stage: &Stage, member: &Host, observer: &Host) -> Result {
    let path = stage.fleet.registry().join("members").join(&member.name);
    let mut record: Value = serde_json::from_slice(&fs::read(&path)?)?;
    let (private, public) = (record["private"].take(), record["public"].take());
    ensure!(private.is_string() && public.is_string(), "{}: both addresses", path.display());
    record["private"] = public.clone();
    record["public"] = private;
    stage.fleet.put(&format!("members/{}", member.name), &record.to_string())?;
    eventually(&format!("{} sends to {public}", observer.name), || {
        observer.show("members").is_ok_and(|members| members[0]["real"] == public)
    });
    Ok(())
}

/// A conversation, question by question.
trait Asks: Send {
    fn ask(&mut self, number: u64) -> Result;
}

/// A request and its response over one connection.
struct Requests(TcpStream);

impl Asks for Requests {
    fn ask(&mut self, number: u64) -> Result {
        let said = number.to_be_bytes();
        let mut heard = [0; 8];
        self.0.write_all(&said)?;
        self.0.read_exact(&mut heard)?;
        ensure!(said == heard, "{said:?} heard {heard:?}");
        Ok(())
    }
}

/// More than any window holds, both ways at once, over one connection.
struct Stream(TcpStream);

impl Asks for Stream {
    fn ask(&mut self, number: u64) -> Result {
        let sent: Vec<u8> = (0..1_000_000_u64).map(|at| ((at * at + number) % 253) as u8).collect();
        let mut heard = vec![0; sent.len()];
        let mut out = self.0.try_clone()?;
        std::thread::scope(|scope| -> Result {
            let writer = scope.spawn(|| out.write_all(&sent));
            self.0.read_exact(&mut heard)?;
            writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok(())
        })?;
        ensure!(sent == heard, "other bytes came back than were sent");
        Ok(())
    }
}

/// Datagrams of one unconnected socket.
struct Datagrams(UdpSocket, SocketAddr);

impl Asks for Datagrams {
    fn ask(&mut self, number: u64) -> Result {
        let said = number.to_be_bytes();
        let mut heard = [0; 100];
        self.0.send_to(&said, self.1)?;
        let (length, from) = self.0.recv_from(&mut heard)?;
        ensure!(from == self.1, "answered by {from}");
        ensure!(heard[..length] == said, "{said:?} heard {:?}", &heard[..length]);
        Ok(())
    }
}

/// Echo requests of one ping socket, whose identifier and checksum are the kernel's work (`net/ipv4/ping.c`).
struct Pings(UdpSocket, IpAddr);

impl Pings {
    fn from(netns: &Netns, to: IpAddr) -> anyhow::Result<Self> {
        netns.sysctl("net.ipv4.ping_group_range", "0 0")?;
        let (domain, protocol) = match to {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = netns.run(|| Socket::new(domain, Type::DGRAM, Some(protocol)))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(socket.into(), to))
    }
}

impl Asks for Pings {
    fn ask(&mut self, number: u64) -> Result {
        let [high, low] = (number as u16).to_be_bytes();
        let (request, reply) = if self.1.is_ipv4() { (8, 0) } else { (128, 129) };
        let mut heard = [0; 100];
        self.0.send_to(&[request, 0, 0, 0, 0, 0, high, low], (self.1, 0))?;
        let (length, from) = self.0.recv_from(&mut heard)?;
        ensure!(from.ip() == self.1, "answered by {from}");
        ensure!(
            length == 8 && heard[0] == reply && heard[6..8] == [high, low],
            "{:?}",
            &heard[..8]
        );
        Ok(())
    }
}

/// Everything that `from` says to `to` by overlay address. The servers are to live as long.
fn conversations(from: &Netns, to: IpAddr) -> anyhow::Result<Vec<(String, Box<dyn Asks>)>> {
    let server = SocketAddr::new(to, PORT);
    let socket = from.run(|| UdpSocket::bind((Family::of(to).any(), 0)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let all: [(&str, Box<dyn Asks>); 4] = [
        ("requests", Box::new(Requests(dial(from, None, server, PATIENCE)?))),
        ("stream", Box::new(Stream(dial(from, None, server, PATIENCE)?))),
        ("datagrams", Box::new(Datagrams(socket, server))),
        ("pings", Box::new(Pings::from(from, to)?)),
    ];
    Ok(all.into_iter().map(|(name, asks)| (format!("{name} to {to}"), asks)).collect())
}

fn traffic_by_overlay_address_does_not_notice_that_paths_change(family: Family) -> Result {
    let stage = stage(family)?;
    let (left, right) = (&stage.left, &stage.right);
    let mut servers = Vec::new();
    for host in [left, right] {
        let netns = &host.site.netns;
        servers.push((
            TcpEcho::on(netns, (family.any(), PORT))?,
            UdpEcho::on(netns, (family.any(), PORT))?,
        ));
    }
    let mut talks = conversations(&left.site.netns, right.overlay(family))?;
    talks.extend(conversations(&right.site.netns, left.overlay(family))?);
    let answers: Vec<AtomicU64> = talks.iter().map(|_| AtomicU64::new(0)).collect();
    let over = AtomicBool::new(false);

    std::thread::scope(|scope| -> Result {
        let threads: Vec<_> = talks
            .iter_mut()
            .zip(&answers)
            .map(|((what, talk), answers)| {
                let over = &over;
                scope.spawn(move || -> Result {
                    while !over.load(Ordering::Acquire) {
                        let number = answers.load(Ordering::Relaxed);
                        talk.ask(number).with_context(|| format!("{what}: question {number}"))?;
                        answers.store(number + 1, Ordering::Release);
                    }
                    Ok(())
                })
            })
            .collect();
        let flips = || -> Result {
            go_on(&answers);
            let mut seen = BTreeSet::new();
            for round in 0..6 {
                // One end, then, much later, the other one: half of the time the two directions have different paths.
                let (member, observer) = if round % 2 == 0 { (left, right) } else { (right, left) };
                flip(&stage, member, observer)?;
                let wire = Wire::open(&stage.lan.router, "port-10")?.capture();
                go_on(&answers);
                let frames = wire.finish();
                // Neighbours also ask each other by their link-local addresses.
                let routed = |(from, _): &(IpAddr, IpAddr)| !matches!(from, IpAddr::V6(from) if from.is_unicast_link_local());
                seen.extend(frames.iter().filter_map(|frame| ends(frame)).filter(routed));
            }
            let private = [left.real(family), right.real(family)];
            let public = [left, right].map(|host| public_of(&host.site, family));
            // Left's wire is behind the translation: its own address is private in both directions.
            let wanted = [
                (private[0], private[1]),
                (private[1], private[0]),
                (private[0], public[1]),
                (public[1], private[0]),
            ];
            ensure!(seen == wanted.into(), "the paths on left's wire are {seen:?}");
            Ok(())
        };
        let flipped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(flips));
        over.store(true, Ordering::Release);
        for thread in threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        flipped.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Waits until every conversation has gone on.
fn go_on(answers: &[AtomicU64]) {
    let wanted: Vec<u64> = answers.iter().map(|n| n.load(Ordering::Acquire) + ANSWERS).collect();
    eventually("all traffic goes on", || {
        answers.iter().zip(&wanted).all(|(n, wanted)| n.load(Ordering::Acquire) >= *wanted)
    });
}
