//! The demo's fleet: hosts, their programs, and everything that must be gone afterwards.

use std::time::Duration;

use anyhow::{Result, bail};
use harness::{
    family::Family,
    host::{Fleet, Host, HostOptions},
    interrupt::interrupted,
    topology::{self, Demo},
    traces::Traces,
    within,
};
use serde_json::json;

use crate::{server::Web, wire::Capture};

/// The family of the fleet's addresses.
pub const FAMILY: Family = Family::V4;
/// After this many seconds without a sign of life a host is gone.
pub const TTL: f64 = 3.0;

/// A host with its neti and its web server.
pub struct Member {
    pub web: Web,
    pub host: Host,
}

/// Everything.
pub struct Lab {
    pub members: Vec<Member>,
    /// The stranger's own web server.
    pub stranger_web: Web,
    pub demo: Demo,
    fleet: Fleet,
}

impl Lab {
    /// The networks and the servers; no neti runs.
    pub fn new() -> Result<Self> {
        let fleet = Fleet::new(FAMILY, json!({ "mode": "enforce", "identity": "overlay" }))?;
        let demo = topology::demo(FAMILY)?;
        let stranger_web = Web::start(&demo.stranger.netns, "stranger", fleet.dir())?;
        let options =
            HostOptions { ttl: TTL, extra: "notrack = true".to_owned(), ..HostOptions::default() };
        let mut members = Vec::new();
        for (name, site) in
            [("hudson", &demo.hudson), ("sierra", &demo.sierra), ("walden", &demo.walden)]
        {
            members.push(Member {
                web: Web::start(&site.netns, name, fleet.dir())?,
                host: fleet.host_with(name, site, &options)?,
            });
        }
        Ok(Self { members, stranger_web, demo, fleet })
    }

    /// Every ordered pair of members.
    pub fn pairs(&self) -> impl Iterator<Item = (&Member, &Member)> {
        let others = |from| self.members.iter().filter(move |to| !std::ptr::eq(*to, from));
        self.members.iter().flat_map(move |from| others(from).map(move |to| (from, to)))
    }

    /// Captures the wire of every host, at the router's end.
    pub fn capture(&self) -> Result<Vec<Capture>> {
        let ports = [(&self.demo.ec2, 10), (&self.demo.ec2, 11), (&self.demo.vpc, 10)];
        let start = |(member, (lan, port)): (&Member, (&topology::Lan, u8))| {
            let file = self.fleet.dir().join(format!("{}.pcap", member.host.name));
            Capture::start(&lan.router, &format!("port-{port}"), &file)
        };
        self.members.iter().zip(ports).map(start).collect()
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
