//! What the daemon says of itself: files that `neti show` reads, each replaced as a whole. The names
//! of the members have one of their own ([`names`]), for they are many.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::SystemTime,
};

use anyhow::{Context, Result};
use ipnet::IpNet;
use nix::{errno::Errno, sys::signal::kill, unistd::Pid};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};

use crate::{
    addresses::Addresses,
    membership::{Held, HostId, Problem, Stale},
    sync,
};

pub mod names;

/// Holds a directory and a lock file per instance.
pub const RUN: &str = "/run/neti";

/// The daemon's status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    pub pid: i32,
    /// Unix time, seconds.
    pub started: u64,
    pub version: String,
    pub host: HostId,
    pub network: String,
    /// At most one of each family. Up to layout 1 it was one, as `overlay`: `neti down` reads that too, or it would leave
    /// the routes of such an instance behind.
    #[serde(alias = "overlay", deserialize_with = "one_or_more")]
    pub overlays: Vec<IpAddr>,
    /// Our own addresses on the uplink, in each family the one we send from first.
    pub reals: Vec<IpAddr>,
    pub uplink: String,
    /// Its interface index.
    pub uplink_index: u32,
    /// The overlay ranges that are routed out of the uplink.
    pub routed: Vec<IpNet>,
    /// What the programs are attached by: `tcx`, `xdp+tcx`.
    pub attach: String,
    pub registry: String,
    pub revision: u64,
    /// How many peers are in the maps.
    pub members: usize,
    pub stale: Option<Stale>,
    /// Members that have vanished from the registry and are held.
    #[serde(default)]
    pub held: Option<Held>,
    /// What is wrong with our own record.
    #[serde(default)]
    pub registration: Option<String>,
    /// The first [`sync::PROBLEMS`] of them.
    pub problems: Vec<Problem>,
    /// How many there are.
    #[serde(default)]
    pub problem_count: usize,
}

impl Status {
    /// Takes over what the last round of synchronising came to, and which interfaces are not guarded.
    pub fn update(&mut self, sync: &sync::Status, unguarded: &[Problem]) {
        self.members = sync.peers;
        self.revision = sync.revision;
        self.stale = sync.stale.clone();
        self.held.clone_from(&sync.held);
        let problems = unguarded.iter().chain(&sync.problems);
        self.problems = problems.take(sync::PROBLEMS).cloned().collect();
        self.problem_count = unguarded.len() + sync.problem_count;
    }

    /// Whether the daemon that wrote it runs. A process of another user answers EPERM, and lives.
    pub fn is_alive(&self) -> bool {
        !matches!(kill(Pid::from_raw(self.pid), None), Err(Errno::ESRCH))
    }

    /// Replaces the instance's status file.
    pub fn write(&self, instance: &str) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context("the status as JSON")?;
        replace(instance, FILE, &text)
    }
}

/// The status of an instance; `None` if its daemon never wrote one.
pub fn read(instance: &str) -> Result<Option<Status>> {
    load(instance, FILE)
}

/// Replaces one of the instance's files.
fn replace(instance: &str, name: &str, content: &[u8]) -> Result<()> {
    let directory = directory(instance);
    let file = directory.join(name);
    let draft = directory.join(format!(".{name}"));
    let write = || -> io::Result<()> {
        fs::create_dir_all(&directory)?;
        fs::write(&draft, content)?;
        fs::rename(&draft, &file)
    };
    write().with_context(|| format!("writing {}", file.display()))
}

/// What is in one of the instance's files; `None` if it was never written.
fn load<T: DeserializeOwned>(instance: &str, name: &str) -> Result<Option<T>> {
    let file = directory(instance).join(name);
    match fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{}: not a file of this version", file.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}

/// Removes what the instance keeps in `/run`. Idempotent.
pub fn remove(instance: &str) -> Result<()> {
    let directory = directory(instance);
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", directory.display()))
        }
        _ => Ok(()),
    }
}

/// Where an instance keeps its files.
pub fn directory(instance: &str) -> PathBuf {
    Path::new(RUN).join(instance)
}

const FILE: &str = "status.json";

fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpAddr>, D::Error> {
    Ok(Addresses::deserialize(from)?.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_status_of_layout_1() {
        let text = r#"{
            "pid": 1, "started": 2, "version": "0.1.0", "host": "hudson", "network": "ec2",
            "overlay": "100.64.3.7", "reals": ["10.0.0.10"], "uplink": "eth0", "uplink_index": 2,
            "routed": ["100.64.0.0/16"], "attach": "tcx", "registry": "directory /r",
            "revision": 3, "members": 1, "stale": null, "problems": [],
            "names": { "100.64.3.8": "walden" }
        }"#;
        let status: Status = serde_json::from_str(text).unwrap();
        assert_eq!(status.overlays, ["100.64.3.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(status.routed, ["100.64.0.0/16".parse::<IpNet>().unwrap()]);
        let again = serde_json::to_string(&status).unwrap();
        let again: Status = serde_json::from_str(&again).unwrap();
        assert_eq!(again.overlays, status.overlays);
    }
}

/// Seconds since 1970; 0 on a clock that stands before.
pub fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map(|since| since.as_secs()).unwrap_or(0)
}
