//! Hosts that run the real `neti`.

use std::{
    fs::{self, OpenOptions},
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde_json::Value;

pub use crate::fleet::{Fleet, HostOptions};
use crate::{
    PATIENCE, binary::neti, eventually, family::Family, process::Process, topology::Site, within,
};

/// Where pinned maps and links are.
pub const PINS: &str = "/sys/fs/bpf/neti";
/// Where a running daemon keeps its files.
pub const RUN: &str = "/run/neti";
/// Where it keeps what a reboot must not take.
pub const STATE: &str = "/var/lib/neti/state";

/// A host and its neti, which is undone (`neti down`) when dropped.
#[derive(Debug)]
pub struct Host {
    pub name: String,
    pub site: Site,
    pub instance: String,
    /// The configuration file.
    pub config: PathBuf,
    log: PathBuf,
    log_start: usize,
    daemon: Option<Process>,
    overlays: Vec<IpAddr>,
}

impl Host {
    /// A host whose configuration file is written; its log is beside that.
    pub(crate) fn new(name: &str, site: &Site, instance: String, config: PathBuf) -> Self {
        Self {
            name: name.to_owned(),
            site: site.clone(),
            instance,
            log: config.with_extension("log"),
            config,
            log_start: 0,
            daemon: None,
            overlays: Vec::new(),
        }
    }

    /// Starts `neti run` and waits for `ready`.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Starts `neti run` only.
    pub fn launch(&mut self) -> Result<()> {
        self.log_start = self.log().len();
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = self.neti(&["run", "--config"])?;
        command.arg(&self.config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.daemon = Some(self.site.netns.spawn(command)?);
        Ok(())
    }

    /// Starts `neti run` and waits for its end, which should come by itself; its exit code and what it printed.
    pub fn fail(&mut self) -> Result<(Option<i32>, String)> {
        self.launch()?;
        let status = self.daemon.take().context("neti was launched")?.wait(PATIENCE);
        let text = self.log().get(self.log_start..).unwrap_or_default().to_owned();
        Ok((status.code(), text))
    }

    /// Waits until the daemon launched says that it is ready.
    ///
    /// # Errors
    /// If it ends, or says nothing; the message has what it printed.
    pub fn wait_ready(&mut self) -> Result<()> {
        self.wait_ready_for(PATIENCE)
    }

    /// The same where the fleet is so large that it may take longer.
    pub fn wait_ready_for(&mut self, limit: Duration) -> Result<()> {
        let daemon = self.daemon.as_mut().context("neti was not launched")?;
        let (log, start) = (self.log.clone(), self.log_start);
        let said = || fs::read_to_string(&log).unwrap_or_default().get(start..).map(str::to_owned);
        let mut ended = None;
        let mut overlays = None;
        within(limit, || {
            // First the end, then the text: what was printed before the end is then complete.
            ended = daemon.ended();
            overlays = said().as_deref().and_then(ready_overlays);
            overlays.is_some() || ended.is_some()
        });
        let text = said().unwrap_or_default();
        let name = &self.name;
        if let Some(status) = ended {
            bail!("neti on {name} ended ({status}):\n{text}");
        }
        self.overlays = overlays
            .with_context(|| format!("neti on {name} is not ready after {limit:?}:\n{text}"))?;
        Ok(())
    }

    /// Its overlay address.
    ///
    /// # Panics
    /// If neti was not started, or has none of this family.
    pub fn overlay(&self, family: Family) -> IpAddr {
        let overlay = family.among(&self.overlays);
        overlay.unwrap_or_else(|| panic!("neti on {} has no {family:?} overlay", self.name))
    }

    /// All its overlay addresses; none if neti was not started.
    pub fn overlays(&self) -> &[IpAddr] {
        &self.overlays
    }

    /// Its private address.
    ///
    /// # Panics
    /// If it has none of this family.
    pub fn real(&self, family: Family) -> IpAddr {
        self.site.real(family)
    }

    /// The daemon's process id, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.daemon.as_ref().map(Process::pid)
    }

    /// Ends the daemon with a signal and gives its exit status. The dataplane stays.
    pub fn stop(&mut self, signal: Signal) -> Result<ExitStatus> {
        let mut daemon = self.daemon.take().context("neti was not launched")?;
        daemon.signal(signal);
        Ok(daemon.wait(PATIENCE))
    }

    /// Sends the daemon a signal.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        self.daemon.as_mut().context("neti was not launched")?.signal(signal);
        Ok(())
    }

    /// `neti down`.
    pub fn down(&mut self) -> Result<Output> {
        self.run_neti(&["down", "--config", &self.config.to_string_lossy()])
    }

    /// The path of something it pinned, `maps/NAME` or `links/NAME`, whatever the layout's version.
    pub fn pin(&self, name: &str) -> Result<PathBuf> {
        pin(&self.instance, name)
    }

    /// The file that a reboot leaves it.
    pub fn state_file(&self) -> PathBuf {
        Path::new(STATE).join(format!("{}.jsonl", self.instance))
    }

    /// Runs `neti ARGUMENTS` on the host to its end.
    pub fn run_neti(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.neti(arguments)?;
        command.stdin(Stdio::null());
        let output = crate::process::on_spawner(move || {
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        })?
        .wait_with_output()?;
        Ok(output)
    }

    /// `neti show WHAT -j`, where `what` may have flags too.
    pub fn show(&self, what: &str) -> Result<Value> {
        let mut arguments = vec!["show"];
        arguments.extend(what.split(' ').chain(["--instance", &self.instance, "-j"]));
        let output = self.run_neti(&arguments)?;
        if !output.status.success() {
            bail!("neti show {what}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        serde_json::from_slice(&output.stdout).with_context(|| {
            format!("read neti show {what}: {}", String::from_utf8_lossy(&output.stdout))
        })
    }

    /// The ids of the members in its maps, in order; a member that is there by both families is one.
    pub fn members(&self) -> Result<Vec<String>> {
        let shown = self.show("members")?;
        let members = shown.as_array().context("neti show members -j prints an array")?;
        let mut ids: Vec<String> = members
            .iter()
            .filter_map(|member| member["id"].as_str().or(member["overlay"].as_str()))
            .map(str::to_owned)
            .collect();
        ids.sort();
        ids.dedup();
        Ok(ids)
    }

    /// Waits until exactly these members are in its maps.
    ///
    /// # Panics
    /// If that does not come.
    pub fn await_members(&self, ids: &[&str]) {
        let mut seen = Vec::new();
        let came = within(PATIENCE, || {
            seen = self.members().unwrap_or_default();
            seen == ids
        });
        assert!(came, "{}: members are {seen:?}, not {ids:?}\n{}", self.name, self.log());
    }

    /// The overlay addresses in its maps, in order.
    pub fn peers(&self) -> Result<Vec<IpAddr>> {
        let shown = self.show("members")?;
        let members = shown.as_array().context("neti show members -j prints an array")?;
        let overlays = members.iter().filter_map(|member| member["overlay"].as_str()?.parse().ok());
        let mut overlays: Vec<IpAddr> = overlays.collect();
        overlays.sort();
        Ok(overlays)
    }

    /// Packets counted in `hook` (`filter`, `ingress`, `egress` or `guard`) with `reason`, in whatever way they went on.
    pub fn count(&self, hook: &str, reason: &str) -> Result<u64> {
        self.count_where(|counter| counter["hook"] == hook && counter["reason"] == reason)
    }

    /// Packets of all counters, as `neti show stats -j` prints them, that `wanted` takes.
    pub fn count_where(&self, wanted: impl Fn(&Value) -> bool) -> Result<u64> {
        let shown = self.show("stats")?;
        let counters = shown.as_array().context("neti show stats -j prints an array")?;
        Ok(counters
            .iter()
            .filter(|counter| wanted(counter))
            .filter_map(|c| c["packets"].as_u64())
            .sum())
    }

    /// Packets with `reason` that came by the uplink, whichever hook judged, by what became of them (`pass`, `drop` or
    /// `would-drop`).
    pub fn arrived(&self, reason: &str, action: &str) -> Result<u64> {
        self.count_where(|counter| {
            (counter["hook"] == "filter" || counter["hook"] == "ingress")
                && counter["reason"] == reason
                && counter["action"] == action
        })
    }

    /// Everything the daemon has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn neti(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = self.site.netns.command(neti()?);
        command.args(arguments).env("NO_COLOR", "1").env_remove("NOTIFY_SOCKET");
        Ok(command)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.daemon.is_some() {
            let _ = self.stop(Signal::SIGTERM);
        }
        if let Err(error) = self.down() {
            eprintln!("{}: {error:#}", self.name);
        }
        if std::thread::panicking() {
            eprintln!("--- neti on {} printed:\n{}---", self.name, self.log());
        }
    }
}

/// The path of something that an instance pinned, `maps/NAME` or `links/NAME`, whatever the layout's version.
pub fn pin(instance: &str, name: &str) -> Result<PathBuf> {
    let instance = Path::new(PINS).join(instance);
    let versions = fs::read_dir(&instance)
        .with_context(|| format!("list {}", instance.display()))?
        .collect::<std::io::Result<Vec<_>>>()?;
    let found = versions.iter().map(|version| version.path().join(name)).find(|p| p.exists());
    found.with_context(|| format!("{}: no {name} is pinned in any version", instance.display()))
}

/// Starts neti on all of them, together, and waits until each has all the others in its maps.
pub fn start_all(hosts: &mut [&mut Host]) -> Result<()> {
    for host in hosts.iter_mut() {
        host.launch()?;
    }
    for host in hosts.iter_mut() {
        host.wait_ready()?;
    }
    let mut names: Vec<String> = hosts.iter().map(|host| host.name.clone()).collect();
    names.sort();
    for host in hosts.iter() {
        let others: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| *name != host.name).collect();
        host.await_members(&others);
        let shared = |overlay: &&IpAddr| Family::of(**overlay).among(&host.overlays).is_some();
        let all = hosts.iter().filter(|other| other.name != host.name);
        let mut peers: Vec<IpAddr> =
            all.flat_map(|o| o.overlays.iter().filter(shared)).copied().collect();
        peers.sort();
        eventually(&format!("{} reaches {peers:?}", host.name), || {
            host.peers().is_ok_and(|found| found == peers)
        });
    }
    Ok(())
}

/// Runs `provoke` and requires that at least one packet arrives with this reason and end.
///
/// # Panics
/// If none does.
pub fn counted(
    host: &Host,
    reason: &str,
    action: &str,
    provoke: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let before = host.arrived(reason, action)?;
    provoke()?;
    eventually(&format!("{reason} is counted as {action}"), || {
        host.arrived(reason, action).is_ok_and(|after| after > before)
    });
    Ok(())
}

/// What `ready: overlay ADDRESS, ...` names, once the line is whole.
fn ready_overlays(log: &str) -> Option<Vec<IpAddr>> {
    let (_, rest) = log.split_once("ready: overlay ")?;
    let (line, _) = rest.split_once('\n')?;
    let words = line.split([' ', ',']).filter(|word| !["", "and"].contains(word));
    let overlays: Vec<IpAddr> = words.map_while(|word| word.parse().ok()).collect();
    (!overlays.is_empty()).then_some(overlays)
}
