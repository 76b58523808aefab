//! The demo's fleet: hosts, their programs, and everything that must be gone afterwards.

use std::{net::IpAddr, ptr, time::Duration};

use anyhow::{Result, bail};
use harness::{
    family::Family,
    host::{Fleet, Host, HostOptions},
    interrupt::interrupted,
    netns::Netns,
    topology::{self, Demo},
    traces::Traces,
    web::Web,
    within,
};
use serde_json::json;

use crate::{server::web, wire::Capture};

/// After this many seconds without a sign of life a host is gone.
pub const TTL: f64 = 3.0;

/// A host with its neti and its web server.
pub struct Member {
    pub host: Host,
    /// The router that its wire leads to, and the interface there.
    port: (Netns, String),
    _web: Web,
}

impl Member {
    /// Whether it has addresses of this family.
    fn has(&self, family: Family) -> bool {
        family.among(&self.host.site.private).is_some()
    }
}

/// Everything.
pub struct Lab {
    pub families: &'static [Family],
    pub members: Vec<Member>,
    pub demo: Demo,
    fleet: Fleet,
    _stranger: Web,
}

impl Lab {
    /// The networks and the servers; no neti runs. Of several families two more hosts have one each.
    pub fn new(families: &'static [Family]) -> Result<Self> {
        // As many addresses in either family: those of so small an IPv6 range are short enough for the screen.
        let range =
            |family: &Family| format!("{}/{}", family.range().network(), family.bits() - 16);
        let overlay: Vec<String> = families.iter().map(range).collect();
        let settings = json!({ "overlay": overlay, "mode": "enforce", "identity": "overlay" });
        let fleet = Fleet::new(families, settings)?;
        let demo = topology::demo(families)?;
        let mut places = vec![
            ("hudson", demo.hudson.clone(), &demo.ec2, 10),
            ("sierra", demo.sierra.clone(), &demo.ec2, 11),
            ("walden", demo.walden.clone(), &demo.vpc, 10),
        ];
        if families.len() > 1 {
            for (name, last, family) in [("legacy", 12, Family::V4), ("modern", 13, Family::V6)] {
                places.push((name, demo.attach(name, last, family)?, &demo.ec2, last));
            }
        }
        let options =
            HostOptions { ttl: TTL, extra: "notrack = true".to_owned(), ..HostOptions::default() };
        let mut members = Vec::new();
        for (name, site, lan, last) in places {
            members.push(Member {
                host: fleet.host_with(name, &site, &options)?,
                port: (lan.router.clone(), format!("port-{last}")),
                _web: web(&site.netns, name, fleet.dir())?,
            });
        }
        let stranger = web(&demo.stranger.netns, "stranger", fleet.dir())?;
        Ok(Self { families, members, demo, fleet, _stranger: stranger })
    }

    /// The host that most is asked of.
    pub fn hudson(&self) -> &Member {
        &self.members[0]
    }

    /// The host that dies.
    pub fn sierra(&mut self) -> &mut Member {
        &mut self.members[1]
    }

    /// Every member, once for each of its families.
    pub fn each(&self) -> impl Iterator<Item = (Family, &Member)> {
        let having = |family| self.members.iter().filter(move |member| member.has(family));
        self.families.iter().flat_map(move |&family| having(family).map(move |m| (family, m)))
    }

    /// Every ordered pair of members, once for each family that both have.
    pub fn pairs(&self) -> impl Iterator<Item = (Family, &Member, &Member)> {
        let others = |family, from| self.others(family, from).map(move |to| (family, from, to));
        self.each().flat_map(move |(family, from)| others(family, from))
    }

    /// Whom a member that has this family shares it with.
    pub fn others(&self, family: Family, of: &Member) -> impl Iterator<Item = &Member> {
        let others = self.members.iter().filter(move |member| !ptr::eq(*member, of));
        others.filter(move |member| member.has(family))
    }

    /// The overlay addresses that must be in a member's maps, in order: it shares a family with each.
    pub fn peers(&self, of: &Member) -> Vec<IpAddr> {
        let pairs = self.pairs().filter(|(_, from, _)| ptr::eq(*from, of));
        let mut peers: Vec<IpAddr> = pairs.map(|(family, _, to)| to.host.overlay(family)).collect();
        peers.sort();
        peers
    }

    /// Captures the wire of every host, at the router's end.
    pub fn capture(&self) -> Result<Vec<Capture>> {
        let start = |member: &Member| {
            let file = self.fleet.dir().join(format!("{}.pcap", member.host.name));
            let (router, interface) = &member.port;
            Capture::start(router, interface, &file)
        };
        self.members.iter().map(start).collect()
    }

    /// What this lab leaves on the machine until it is dropped.
    pub fn traces(&self) -> Traces {
        Traces::of(&self.fleet, self.members.iter().map(|member| &member.host))
    }
}

/// Asks until the answer is yes.
///
/// # Errors
/// After ten seconds, naming what did not come, or when the demo is told to stop.
pub fn until(what: &str, mut ask: impl FnMut() -> Result<bool>) -> Result<()> {
    let mut last = Ok(false);
    let came = within(Duration::from_secs(10), || {
        last = ask();
        interrupted() || matches!(last, Ok(true))
    });
    if came && !interrupted() {
        return Ok(());
    }
    match last {
        Err(error) => Err(error.context(what.to_owned())),
        Ok(_) => bail!("{what}: not within ten seconds"),
    }
}
