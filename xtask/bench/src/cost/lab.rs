//! The hosts that are measured: pairs on networks of their own, alike but for what is between their applications and the
//! wire.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    iter,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::{
    PATIENCE,
    bpf::Map,
    family::Family,
    figures,
    host::{Fleet, Host, HostOptions},
    netns::Netns,
    process::on_one_processor,
    rivals::{Member, Rival},
    topology::{LAN, Lan, Site, UPLINK},
    traces::Traces,
    traffic::TcpEcho,
    within,
};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    members::Fleetmates,
    server::{PORT, Servers},
    workload::converse,
};
use crate::lab::{self, host_options};

/// The network of all members.
pub const NETWORK: &str = "ec2";
/// A rival whose connections take longer is not measured: the other workloads would take minutes.
const SLOWEST: Duration = Duration::from_millis(5);

/// The host numbers of a pair's client and its server.
pub const LEFT: u8 = 10;
pub const RIGHT: u8 = 11;

/// How a client reaches its servers.
pub struct Way {
    pub name: &'static str,
    pub client: Netns,
    pub server: Netns,
    /// The network of both.
    pub lan: Lan,
    /// The server's address, as it is dialled.
    pub address: IpAddr,
    /// Those of other members, all of them served by one host that has nothing between.
    pub peers: Vec<IpAddr>,
    pub crowd: Netns,
}

/// Everything. Dropped in this order: hosts undo themselves while their fleet still exists.
pub struct Lab {
    /// The family of all addresses.
    pub family: Family,
    pub neti: Neti,
    pub xdp: Neti,
    pub rivals: Vec<(Rival, Pair)>,
    /// Rivals that are too slow to be measured with so many members, and why.
    pub left_out: Vec<(&'static str, String)>,
    pub bare: Pair,
    pub members: Fleetmates,
}

/// A pair with neti, attached in one way.
pub struct Neti {
    pub left: Host,
    pub right: Host,
    pub fleet: Fleet,
    pub pair: Pair,
}

/// Two hosts, one that is all other members that are talked to, and one that is none.
pub struct Pair {
    /// Their network.
    pub lan: Lan,
    pub left: Site,
    pub right: Site,
    crowd: Site,
    /// On the same network, and no member.
    pub stranger: Site,
    _servers: Servers,
    _crowd: TcpEcho,
}

impl Lab {
    /// All hosts and servers; each knows so many other members.
    pub fn new(family: Family, members: u32) -> Result<Self> {
        let members = Fleetmates { family, count: members };
        let bare = Pair::new("bare", &members)?;
        let (mut rivals, mut left_out) = (Vec::new(), Vec::new());
        for rival in Rival::ALL {
            let pair = Pair::new("rival", &members)?;
            let ends = [LEFT, RIGHT].map(|last| (family.ghost(last), LAN.host(family, last)));
            // The pair in the middle: of rules that are asked one after the other the first are the fastest.
            let mut known: Vec<Member> = members.all().collect();
            let middle = known.len() / 2;
            known.splice(middle..middle, ends);
            for site in [&pair.left, &pair.right] {
                let installed = rival.install(&site.netns, family, &known);
                installed
                    .with_context(|| format!("{} with {} members", rival.name(), members.count))?;
            }
            let taken = pair.connection(family.ghost(RIGHT)).with_context(|| rival.name())?;
            if taken > SLOWEST {
                left_out.push((rival.name(), format!("one connection takes {taken:.1?}")));
            } else {
                rivals.push((rival, pair));
            }
        }
        let [fleet, other] = members.fleets()?;
        let neti = Neti::new("tcx", fleet, &members)?;
        let xdp = Neti::new("xdp", other, &members)?;
        Ok(Self { family, neti, xdp, rivals, left_out, bare, members })
    }

    /// What is compared; the first is what the others are compared with.
    pub fn ways(&self) -> Vec<Way> {
        let family = self.family;
        let real = || self.members.peers().map(|(_, real)| real).collect::<Vec<_>>();
        let overlay = || self.members.peers().map(|(overlay, _)| overlay).collect::<Vec<_>>();
        let mut ways = vec![self.bare.way("bare", self.bare.right.real(family), real())];
        for (rival, pair) in &self.rivals {
            ways.push(pair.way(rival.name(), family.ghost(RIGHT), overlay()));
        }
        let neti = |name, Neti { pair, right, .. }: &Neti| {
            pair.way(name, right.overlay(family), overlay())
        };
        ways.push(neti("neti", &self.neti));
        ways.push(self.neti.pair.way("neti direct", self.neti.right.real(family), real()));
        ways.push(neti("neti XDP", &self.xdp));
        ways
    }

    /// The range of all overlay addresses.
    pub fn range(&self) -> IpNet {
        self.members.range()
    }

    /// Resident memory of each daemon of the first pair, in KiB.
    pub fn memory(&self) -> Result<BTreeMap<String, u64>> {
        let resident = |host: &Host| {
            let pid = host.pid().with_context(|| format!("neti on {} does not run", host.name))?;
            Ok((host.name.clone(), figures::memory(pid)?.resident))
        };
        [&self.neti.left, &self.neti.right].into_iter().map(resident).collect()
    }
}

impl lab::Lab for Lab {
    fn hosts(&self) -> Vec<&Host> {
        [&self.neti, &self.xdp].into_iter().flat_map(|neti| [&neti.left, &neti.right]).collect()
    }

    fn traces(&self) -> Traces {
        let Self { neti, xdp, .. } = self;
        Traces::of(&neti.fleet, [&neti.left, &neti.right]).and(&xdp.fleet, [&xdp.left, &xdp.right])
    }
}

impl lab::Lab for Neti {
    fn hosts(&self) -> Vec<&Host> {
        vec![&self.left, &self.right]
    }

    fn traces(&self) -> Traces {
        Traces::of(&self.fleet, [&self.left, &self.right])
    }
}

impl Neti {
    /// Hosts of a fleet that has these members. Their programs are attached in this way.
    pub fn new(attach: &str, fleet: Fleet, members: &Fleetmates) -> Result<Self> {
        let pair = Pair::new(NETWORK, members)?;
        let options = options(attach);
        let mut left = fleet.host_with("left", &pair.left, &options)?;
        let mut right = fleet.host_with("right", &pair.right, &options)?;
        left.launch()?;
        right.launch()?;
        let patience = PATIENCE + Duration::from_micros(300) * members.count;
        left.wait_ready_for(patience)?;
        right.wait_ready_for(patience)?;
        for host in [&left, &right] {
            let wanted = json!(members.count + 1);
            let knows = || host.show("status").is_ok_and(|status| status["members"] == wanted);
            ensure!(within(patience, knows), "{} does not know {wanted} members", host.name);
            let settled = || is_settled(host).unwrap_or(false);
            ensure!(within(PATIENCE, settled), "{} goes on looking for mixed forms", host.name);
        }
        Ok(Self { left, right, fleet, pair })
    }
}

/// Whether the daemon has found that no socket has names of a mixed form, as it does a few seconds after its start.
fn is_settled(host: &Host) -> Result<bool> {
    let mut words = Map::open(&host.pin("maps/mixed")?)?;
    let mut word = |index: u32| -> Result<u64> {
        let word = words.get(&index.to_ne_bytes())?.context("the map has two words")?;
        Ok(u64::from_ne_bytes(word.try_into()?))
    };
    Ok(word(1)? == word(0)?.wrapping_add(1))
}

/// The settings of a fleet without rules.
pub fn settings(range: IpNet) -> Value {
    json!({ "mode": "enforce", "identity": "overlay", "overlay": [range] })
}

/// How neti is configured here: the other members show no sign of life after they were written.
pub fn options(attach: &str) -> HostOptions {
    HostOptions { ttl: 86_400.0, ..host_options(attach) }
}

impl Pair {
    fn new(network: &'static str, members: &Fleetmates) -> Result<Self> {
        let family = members.family;
        let lan = Lan::new(network, family)?;
        let (left, right) = (lan.attach("left", LEFT)?, lan.attach("right", RIGHT)?);
        let crowd = lan.attach("crowd", 12)?;
        let stranger = lan.attach("stranger", 66)?;
        let mac = crowd.netns.mac(UPLINK)?;
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        let (mut own, mut near) = (String::new(), String::new());
        for (_, real) in members.peers() {
            let length = family.bits();
            let nodad = if family == Family::V6 { "nodad" } else { "" };
            writeln!(own, "addr add {real}/{length} dev {UPLINK} {nodad}")?;
            // The kernel keeps count of those that it has found out by itself, for the whole machine.
            writeln!(near, "neigh add {real} lladdr {mac} dev {UPLINK} nud permanent")?;
        }
        let link = format!("route add {} dev {UPLINK}\n", members.reals());
        crowd.netns.ip_batch(&own)?;
        left.netns.ip_batch(&format!("{link}{near}"))?;
        right.netns.ip_batch(&link)?;
        // As clients are: a packet that wakes another processor waits longer for that than for all else.
        let servers = on_one_processor(|| -> Result<_> {
            let crowd = TcpEcho::on(&crowd.netns, (family.any(), PORT))?;
            Ok((Servers::start(&right.netns, family)?, crowd))
        });
        let (servers, crowd_servers) = servers.context("stay on one processor")??;
        Ok(Self { _servers: servers, _crowd: crowd_servers, lan, left, right, crowd, stranger })
    }

    /// How long it takes to connect to the server and to have an answer: the best of a few times.
    fn connection(&self, to: IpAddr) -> Result<Duration> {
        let time = || -> Result<Duration> {
            let begun = Instant::now();
            self.left.netns.run(|| converse((to, PORT).into()))?;
            Ok(begun.elapsed())
        };
        let times = iter::repeat_with(time).take(5).collect::<Result<Vec<_>>>()?;
        times.into_iter().min().context("it was tried")
    }

    fn way(&self, name: &'static str, address: IpAddr, peers: Vec<IpAddr>) -> Way {
        let [client, server, crowd] =
            [&self.left, &self.right, &self.crowd].map(|site| site.netns.clone());
        Way { name, client, server, lan: self.lan.clone(), address, peers, crowd }
    }
}
