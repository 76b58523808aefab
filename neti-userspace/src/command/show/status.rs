//! `neti show status`.

use anyhow::Result;
use ipnet::IpNet;
use neti_common::{
    maps::{identity, mode},
    verdict::Hook,
};
use serde::Serialize;

use crate::{
    addresses::list,
    command::installed,
    loader::{bpf, pins::Pins},
    output::Facts,
    status::{self, Status},
    store::kernel::KernelStore,
};

/// The instance: what the kernel has of it, and what its daemon said last.
#[derive(Debug, Serialize)]
pub struct Shown {
    instance: String,
    /// Whether the daemon runs.
    running: bool,
    /// The hooks whose programs are attached.
    attached: Vec<&'static str>,
    mode: &'static str,
    identity: &'static str,
    ranges: Vec<IpNet>,
    #[serde(flatten)]
    daemon: Option<Status>,
}

pub fn read(pins: &Pins) -> Result<Shown> {
    let (v4, v6) = KernelStore::open(pins)?.settings()?;
    let daemon = status::read(pins.instance())?;
    let guards = !pins.guards()?.is_empty();
    let attached = Hook::ALL.into_iter().filter(|hook| match hook {
        Hook::Guard => guards,
        // With clsact it is the program that is pinned, and no link.
        hook => {
            let path = pins.link(*hook);
            path.exists() && bpf::link_interface(&path).map_or(true, |index| index != 0)
        }
    });
    Ok(Shown {
        instance: pins.instance().to_owned(),
        running: daemon.as_ref().is_some_and(Status::is_alive),
        attached: attached.map(Hook::as_str).collect(),
        mode: match v4.mode {
            mode::ENFORCE => "enforce",
            _ => "observe",
        },
        identity: match v4.identity {
            identity::OVERLAY => "overlay",
            _ => "real",
        },
        ranges: installed::ranges(&v4).chain(installed::ranges(&v6)).collect(),
        daemon,
    })
}

impl Facts for Shown {
    fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("instance", self.instance.clone()),
            ("daemon", if self.running { "running" } else { "not running" }.to_owned()),
            ("attached", self.attached.join(", ")),
            ("mode", self.mode.to_owned()),
            ("identity", self.identity.to_owned()),
            ("overlay ranges", list(&self.ranges)),
        ];
        let Some(daemon) = &self.daemon else { return facts };
        facts.extend([
            ("pid", daemon.pid.to_string()),
            ("version", daemon.version.clone()),
            ("host", daemon.host.to_string()),
            ("network", daemon.network.clone()),
            ("overlay addresses", list(&daemon.overlays)),
            ("real addresses", list(&daemon.reals)),
            ("uplink", format!("{} by {}", daemon.uplink, daemon.attach)),
            ("registry", daemon.registry.clone()),
            ("revision", daemon.revision.to_string()),
            ("members", daemon.members.to_string()),
        ]);
        if let Some(stale) = &daemon.stale {
            let age = stale.since.elapsed().unwrap_or_default().as_secs();
            facts.push(("stale", format!("for {age} s: {}", stale.why)));
        }
        if let Some(held) = &daemon.held {
            facts.push(("held", held.to_string()));
        }
        if let Some(wrong) = &daemon.registration {
            facts.push(("own record", wrong.clone()));
        }
        let problems = daemon.problems.iter();
        facts.extend(problems.map(|p| ("problem", format!("{}: {}", p.key, p.what))));
        let more = daemon.problem_count.saturating_sub(daemon.problems.len());
        if more > 0 {
            facts.push(("problem", format!("and {more} more")));
        }
        facts
    }
}
