//! Promise: strangers that flood a host under `enforce`, from more addresses than anything could remember, are dropped
//! each with its reason, cost no memory, push nothing out of it, and members go on talking meanwhile. In tc and in XDP.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE, eventually,
    family::Family,
    figures::memory,
    flood::{Flood, Kind},
    footprint::{map_memory, maps},
    host::{Fleet, Host, HostOptions, start_all},
    netns::Netns,
    topology::{Pair, UPLINK, pair},
    traffic::{TcpEcho, UdpEcho, tcp, without_loss},
};
use serde_json::{Value, json};

type Result = anyhow::Result<()>;

/// Of one flood, each from another address.
const PACKETS: u64 = 240_000;
/// What must arrive of them. A wire may lose some, if this machine is busy.
const ARRIVING: u64 = 200_000;
/// Packets per second: what is slower than the flood is not lost before it is judged, and members' pings share its queue.
const RATE: u32 = 50_000;
/// KiB that the daemon may grow by meanwhile: what its allocator does, but not 70 bytes for each source.
const GROWTH: u64 = 16 << 10;
const KINDS: [Kind; 3] = [Kind::Syn, Kind::Ack, Kind::Udp];

#[test]
fn a_flood_is_dropped_and_leaves_nothing() -> Result {
    let pair = pair(Family::ALL)?;
    let fleet = Fleet::new(Family::ALL, json!({ "mode": "enforce" }))?;
    let in_xdp = HostOptions { extra: "attach = \"xdp\"\n".to_owned(), ..HostOptions::default() };
    let mut left = fleet.host("left", &pair.left)?;
    let mut right = fleet.host_with("right", &pair.right, &in_xdp)?;
    start_all(&mut [&mut left, &mut right])?;
    for family in Family::ALL {
        flood(&pair, &left, "ingress", &right, family).context("in tc")?;
        flood(&pair, &right, "filter", &left, family).context("in XDP")?;
    }
    Ok(())
}

/// Floods `host`, which drops strangers in `hook`, while it talks to `peer`.
fn flood(pair: &Pair, host: &Host, hook: &str, peer: &Host, family: Family) -> Result {
    // The ports that the flood is for.
    let web = TcpEcho::on(&host.site.netns, (family.any(), 80))?;
    let dns = UdpEcho::on(&host.site.netns, (family.any(), 53))?;
    let question = Question::ask(pair, host, family)?;
    let before = Snapshot::of(host, hook)?;

    let flood = Flood {
        kinds: KINDS.to_vec(),
        rate: Some(RATE),
        ..Flood::between(&pair.neighbour, &host.site, family)?
    };
    let mut taken = 0;
    let requests = undisturbed(peer, host, family, || {
        taken = flood.send(PACKETS)?;
        Ok(())
    })?;
    ensure!(requests > 0, "no request was made meanwhile");

    let after = Snapshot::of(host, hook)?;
    let counted: u64 = after.counters.values().sum::<u64>() - before.counters.values().sum::<u64>();
    let arrived = after.arrived - before.arrived;
    ensure!(counted == arrived, "{arrived} packets came, {counted} were counted");
    let dropped = after.since(&before, "drop");
    let all: u64 = dropped.values().sum();
    ensure!((ARRIVING..=taken).contains(&all), "{all} of {taken} dropped: {dropped:?}");
    let reasons: BTreeSet<&str> = dropped.keys().map(String::as_str).collect();
    ensure!(reasons == BTreeSet::from(["not-a-reply", "stranger"]), "{dropped:?}");
    // A SYN and a question each for one segment of no connection, and of what was lost it may be either.
    let (lost, segments) = (PACKETS - all, dropped["not-a-reply"]);
    ensure!(segments.abs_diff(all / 3) <= lost + 1, "{dropped:?}, {lost} lost");
    let requests_seen = std::iter::from_fn(|| web.try_seen()).count() as u64;
    ensure!(requests_seen == requests, "{requests_seen} connections, {requests} of members");
    ensure!(dns.try_seen().is_none(), "a question of the flood came through");

    ensure!(after.memory == before.memory, "maps: {} -> {}", before.memory, after.memory);
    let grown = after.resident.saturating_sub(before.resident);
    ensure!(grown <= GROWTH, "the daemon has grown by {grown} KiB");
    ensure!(after.hints == before.hints, "the flood leaves hints, or takes some");
    question.answer().context("after the flood")
}

/// Runs `work` while `peer` pings `host` and has bytes sent back by it, over one connection after the other; how many
/// connections that were.
///
/// # Errors
/// If one ping or one connection fails.
fn undisturbed(
    peer: &Host,
    host: &Host,
    family: Family,
    work: impl FnOnce() -> Result,
) -> anyhow::Result<u64> {
    let (netns, overlay) = (&peer.site.netns, host.overlay(family));
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let requests = scope.spawn(|| -> anyhow::Result<u64> {
            let mut made = 0;
            while !ended.load(Ordering::Relaxed) {
                tcp(netns, None, (overlay, 80).into())?;
                made += 1;
            }
            Ok(made)
        });
        let worked = without_loss(netns, overlay, work);
        ended.store(true, Ordering::Relaxed);
        let requests = requests.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        worked.and(requests)
    })
}

/// What a flood could change of a host.
struct Snapshot {
    /// Packets by what became of them and why, of one hook.
    counters: BTreeMap<(String, String), u64>,
    /// What the hints are about, by map.
    hints: BTreeMap<String, BTreeSet<Vec<u8>>>,
    /// Bytes of all maps.
    memory: u64,
    /// KiB of the daemon.
    resident: u64,
    /// Packets that came by the uplink.
    arrived: u64,
}

impl Snapshot {
    /// Once nothing comes any more.
    fn of(host: &Host, hook: &str) -> anyhow::Result<Self> {
        let look = || -> anyhow::Result<_> {
            Ok((host.site.netns.received(UPLINK)?, counters(host, hook)?))
        };
        let mut last = None;
        eventually(&format!("nothing comes to {} any more", host.name), || {
            let seen = look().ok();
            let same = seen.is_some() && seen == last;
            last = seen;
            same
        });
        let (arrived, counters) = last.context("neti shows its counters")?;
        let mut hints = BTreeMap::new();
        for (name, map) in maps(host)? {
            if name.starts_with("hints") {
                hints.insert(name, map.keys()?);
            }
        }
        ensure!(!hints.is_empty(), "{} has no map of hints", host.name);
        let resident = memory(host.pid().context("the daemon runs")?)?.resident;
        Ok(Self { counters, hints, memory: map_memory(host)?, resident, arrived })
    }

    /// Packets that came to this end since `before`, by their reasons.
    fn since(&self, before: &Self, action: &str) -> BTreeMap<String, u64> {
        let wanted = self.counters.iter().filter(|((what, _), _)| what == action);
        let since = wanted.map(|(key, packets)| {
            (key.1.clone(), packets - before.counters.get(key).copied().unwrap_or(0))
        });
        since.filter(|(_, packets)| *packets > 0).collect()
    }
}

/// Packets of a hook, by what became of them and why.
fn counters(host: &Host, hook: &str) -> anyhow::Result<BTreeMap<(String, String), u64>> {
    let shown = host.show("stats")?;
    let counters = shown.as_array().context("neti show stats -j prints an array")?;
    let text = |counter: &Value, key: &str| counter[key].as_str().unwrap_or_default().to_owned();
    let own = counters.iter().filter(|counter| counter["hook"] == hook);
    Ok(own
        .map(|counter| {
            let packets = counter["packets"].as_u64().unwrap_or_default();
            ((text(counter, "action"), text(counter, "reason")), packets)
        })
        .collect())
}

/// A question that a host has asked a stranger by an unconnected socket, and that was answered once: what it expects
/// further answers by is a hint.
struct Question {
    asking: UdpSocket,
    asked: UdpSocket,
    from: SocketAddr,
}

impl Question {
    fn ask(pair: &Pair, host: &Host, family: Family) -> anyhow::Result<Self> {
        let bind = |netns: &Netns| -> anyhow::Result<UdpSocket> {
            let socket = netns.run(|| UdpSocket::bind((family.any(), 0)))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        };
        let (asking, asked) = (bind(&host.site.netns)?, bind(&pair.stranger.netns)?);
        asking.send_to(b"?", (pair.stranger.real(family), asked.local_addr()?.port()))?;
        let (_, from) = asked.recv_from(&mut [0; 10]).context("the question")?;
        let question = Self { asking, asked, from };
        question.answer().context("at once")?;
        Ok(question)
    }

    fn answer(&self) -> Result {
        self.asked.send_to(b"!", self.from)?;
        self.asking.recv_from(&mut [0; 10]).context("the stranger's answer")?;
        Ok(())
    }
}
