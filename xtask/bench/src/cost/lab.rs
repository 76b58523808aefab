//! The hosts that are measured: pairs on networks of their own, alike but for what is between their applications and the
//! wire.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context, Result, ensure};
use harness::{
    PATIENCE,
    family::Family,
    figures,
    host::{Fleet, Host, HostOptions},
    netns::Netns,
    rivals::{Member, Rival},
    topology::{LAN, Lan, Site, UPLINK},
    traces::Traces,
    traffic::TcpEcho,
    within,
};
use ipnet::{IpNet, Ipv4Net};
use serde_json::json;

use super::server::{PORT, Servers};
use crate::lab::{self, host_options};

/// So many of the members are talked to, spread over all of them.
const PEERS: u32 = 1000;

/// How a client reaches its servers.
pub struct Way {
    pub name: &'static str,
    pub client: Netns,
    pub server: Netns,
    /// The server's address, as it is dialled.
    pub address: IpAddr,
    /// Those of other members, all of them served by one host that has nothing between.
    pub peers: Vec<IpAddr>,
}

/// Everything. Dropped in this order: hosts undo themselves while their fleet still exists.
pub struct Lab {
    /// The family of all addresses.
    pub family: Family,
    pub neti: Neti,
    xdp: Neti,
    rivals: Vec<(Rival, Pair)>,
    bare: Pair,
    pub members: Fleetmates,
}

/// A pair with neti, attached in one way.
pub struct Neti {
    pub left: Host,
    pub right: Host,
    pub fleet: Fleet,
    pub pair: Pair,
}

/// Two hosts, and one that is all other members that are talked to.
pub struct Pair {
    /// Their network.
    pub lan: Lan,
    left: Site,
    right: Site,
    _servers: Servers,
    _crowd: TcpEcho,
}

impl Lab {
    /// All hosts and servers; each knows so many other members.
    pub fn new(family: Family, members: u32) -> Result<Self> {
        let members = Fleetmates { family, count: members };
        let bare = Pair::new("bare", &members)?;
        let mut rivals = Vec::new();
        for rival in Rival::ALL {
            let pair = Pair::new("rival", &members)?;
            let ends = [10, 11].map(|last| (family.ghost(last), LAN.host(family, last)));
            // The pair in the middle: of rules that are asked one after the other the first are the fastest.
            let mut known: Vec<Member> = members.all().collect();
            let middle = known.len() / 2;
            known.splice(middle..middle, ends);
            for site in [&pair.left, &pair.right] {
                let installed = rival.install(&site.netns, family, &known);
                installed
                    .with_context(|| format!("{} with {} members", rival.name(), members.count))?;
            }
            rivals.push((rival, pair));
        }
        let neti = Neti::new("tcx", &members)?;
        let xdp = Neti::new("xdp", &members)?;
        Ok(Self { family, neti, xdp, rivals, bare, members })
    }

    /// What is compared; the first is what the others are compared with.
    pub fn ways(&self) -> Vec<Way> {
        let family = self.family;
        let real = || self.members.peers().map(|(_, real)| real).collect::<Vec<_>>();
        let overlay = || self.members.peers().map(|(overlay, _)| overlay).collect::<Vec<_>>();
        let mut ways = vec![self.bare.way("bare", self.bare.right.real(family), real())];
        for (rival, pair) in &self.rivals {
            ways.push(pair.way(rival.name(), family.ghost(11), overlay()));
        }
        let neti = |name, Neti { pair, right, .. }: &Neti| {
            pair.way(name, right.overlay(family), overlay())
        };
        ways.push(neti("neti", &self.neti));
        ways.push(self.neti.pair.way("neti direct", self.neti.right.real(family), real()));
        ways.push(neti("neti XDP", &self.xdp));
        ways
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
    /// Their programs are attached in this way.
    pub fn new(attach: &str, members: &Fleetmates) -> Result<Self> {
        let family = members.family;
        let pair = Pair::new("ec2", members)?;
        let settings = json!({
            "mode": "enforce", "identity": "overlay", "overlay": [members.range()],
        });
        let fleet = Fleet::new(family, settings)?;
        let named: Vec<(String, Member)> = members
            .all()
            .enumerate()
            .map(|(number, member)| (format!("host-{number}"), member))
            .collect();
        let named = named.iter().map(|(id, (overlay, real))| (&id[..], *overlay, *real));
        fleet.add_members(named, pair.left.network)?;
        let options = options(attach);
        let mut left = fleet.host_with("left", &pair.left, &options)?;
        let mut right = fleet.host_with("right", &pair.right, &options)?;
        left.start()?;
        right.start()?;
        for host in [&left, &right] {
            let wanted = json!(members.count + 1);
            let knows = || host.show("status").is_ok_and(|status| status["members"] == wanted);
            ensure!(within(PATIENCE, knows), "{} does not know {wanted} members", host.name);
        }
        Ok(Self { left, right, fleet, pair })
    }
}

/// How neti is configured here: the other members show no sign of life after they were written.
pub fn options(attach: &str) -> HostOptions {
    HostOptions { ttl: 86_400.0, ..host_options(attach) }
}

impl Pair {
    fn new(network: &'static str, members: &Fleetmates) -> Result<Self> {
        let family = members.family;
        let lan = Lan::new(network, family)?;
        let (left, right) = (lan.attach("left", 10)?, lan.attach("right", 11)?);
        let crowd = lan.attach("crowd", 12)?;
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
        Ok(Self {
            _servers: Servers::start(&right.netns, family)?,
            _crowd: TcpEcho::on(&crowd.netns, (family.any(), PORT))?,
            lan,
            left,
            right,
        })
    }

    fn way(&self, name: &'static str, address: IpAddr, peers: Vec<IpAddr>) -> Way {
        let (client, server) = (self.left.netns.clone(), self.right.netns.clone());
        Way { name, client, server, address, peers }
    }
}

/// The members beside the pair.
pub struct Fleetmates {
    pub family: Family,
    pub count: u32,
}

impl Fleetmates {
    fn all(&self) -> impl Iterator<Item = Member> {
        (0..self.count).map(|number| self.member(number))
    }

    /// Those that are talked to.
    pub fn peers(&self) -> impl Iterator<Item = Member> {
        self.spread(PEERS)
    }

    /// So many at the most, spread over all of them.
    pub fn spread(&self, most: u32) -> impl Iterator<Item = Member> {
        let count = self.count.min(most);
        (0..count).map(move |number| {
            self.member((u64::from(number) * u64::from(self.count) / u64::from(count)) as u32)
        })
    }

    fn member(&self, number: u32) -> Member {
        let number = number + 1;
        match self.family {
            // From the middle of the range on, which hosts take addresses from the beginning of.
            Family::V4 => (
                Ipv4Addr::from_bits(Ipv4Addr::new(100, 96, 0, 0).to_bits() + number).into(),
                Ipv4Addr::from_bits(Ipv4Addr::new(10, 64, 0, 0).to_bits() + number).into(),
            ),
            Family::V6 => {
                let IpAddr::V6(overlay) = self.range().addr() else { unreachable!() };
                let real = Ipv6Addr::new(0xfd00, 0, 0, 1, 1, 0, 0, 0);
                let after = |base: Ipv6Addr, far: u128| {
                    Ipv6Addr::from_bits(base.to_bits() + far + u128::from(number)).into()
                };
                (after(overlay, 1 << 64), after(real, 0))
            }
        }
    }

    /// The overlay range that all of them are in.
    fn range(&self) -> IpNet {
        match self.family {
            Family::V4 => Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10).into(),
            Family::V6 => self.family.range(),
        }
    }

    /// The range of their real addresses.
    fn reals(&self) -> &'static str {
        match self.family {
            Family::V4 => "10.64.0.0/10",
            Family::V6 => "fd00:0:0:1:1::/80",
        }
    }
}
