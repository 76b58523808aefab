//! `neti show status`.

use std::net::Ipv4Addr;

use anyhow::Result;
use neti_common::{
    family::{Family, V4},
    maps::{Prefix, Settings, identity, mode},
    verdict::Hook,
};
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use serde::Serialize;

use crate::{
    loader::pins::Pins,
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
    /// The hooks whose programs are pinned.
    attached: Vec<&'static str>,
    mode: &'static str,
    identity: &'static str,
    ranges: Vec<String>,
    #[serde(flatten)]
    daemon: Option<Status>,
}

pub fn read(pins: &Pins) -> Result<Shown> {
    let settings = KernelStore::open(pins)?.settings()?;
    let daemon = status::read(pins.instance())?;
    let attached = Hook::ALL.into_iter().filter(|hook| pins.link(*hook).exists());
    Ok(Shown {
        instance: pins.instance().to_owned(),
        running: daemon.as_ref().is_some_and(|daemon| is_alive(daemon.pid)),
        attached: attached.map(Hook::as_str).collect(),
        mode: match settings.mode {
            mode::ENFORCE => "enforce",
            _ => "observe",
        },
        identity: match settings.identity {
            identity::OVERLAY => "overlay",
            _ => "real",
        },
        ranges: ranges(&settings),
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
            ("overlay ranges", self.ranges.join(", ")),
        ];
        let Some(daemon) = &self.daemon else { return facts };
        let reals: Vec<_> = daemon.reals.iter().map(Ipv4Addr::to_string).collect();
        facts.extend([
            ("pid", daemon.pid.to_string()),
            ("version", daemon.version.clone()),
            ("host", daemon.host.to_string()),
            ("network", daemon.network.clone()),
            ("overlay address", daemon.overlay.to_string()),
            ("real addresses", reals.join(", ")),
            ("uplink", format!("{} by {}", daemon.uplink, daemon.attach)),
            ("registry", daemon.registry.clone()),
            ("revision", daemon.revision.to_string()),
            ("members", daemon.members.to_string()),
        ]);
        if let Some(stale) = &daemon.stale {
            let age = stale.since.elapsed().unwrap_or_default().as_secs();
            facts.push(("stale", format!("for {age} s: {}", stale.why)));
        }
        let problems = daemon.problems.iter();
        facts.extend(problems.map(|p| ("problem", format!("{}: {}", p.key, p.what))));
        facts
    }
}

fn ranges(settings: &Settings<V4>) -> Vec<String> {
    let length = |mask: [u8; 4]| u32::from_be_bytes(mask).leading_ones().min(V4::BITS);
    settings
        .ranges
        .iter()
        .filter(|range| **range != Prefix::NONE)
        .map(|range| format!("{}/{}", Ipv4Addr::from(range.network), length(range.mask)))
        .collect()
}

/// A process of another user answers EPERM, and lives.
fn is_alive(pid: i32) -> bool {
    !matches!(kill(Pid::from_raw(pid), None), Err(Errno::ESRCH))
}
