//! tcpdump on the hosts' wires, and what it must not see.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    net::IpAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use harness::{family::Family, netns::Netns, packets::addresses, process::Process};
use nix::sys::signal::Signal;

use crate::{lab::Lab, screen::Screen};

/// A running tcpdump.
pub struct Capture {
    tcpdump: Process,
    file: PathBuf,
}

impl Capture {
    /// Captures the headers of all frames on `interface`.
    pub fn start(netns: &Netns, interface: &str, file: &Path) -> Result<Self> {
        let mut command = netns.command("tcpdump");
        command.args([
            "--interface",
            interface,
            "--snapshot-length",
            "128",
            "--relinquish-privileges",
        ]);
        // It would otherwise become a user who cannot write the file.
        command.args(["root", "--buffer-size", "16384", "-w"]).arg(file);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut tcpdump = netns.spawn(command)?;
        let stderr = tcpdump.child().stderr.take().context("tcpdump's messages are piped")?;
        for line in BufReader::new(stderr).lines() {
            if line?.contains("listening on") {
                return Ok(Self { tcpdump, file: file.to_owned() });
            }
        }
        bail!("tcpdump does not start on {interface}");
    }

    /// Everything captured.
    fn finish(mut self) -> Result<Vec<Vec<u8>>> {
        // tcpdump takes frames in batches: those on their way are given time.
        std::thread::sleep(Duration::from_millis(300));
        self.tcpdump.signal(Signal::SIGINT);
        self.tcpdump.wait(Duration::from_secs(5));
        let bytes = fs::read(&self.file)?;
        frames(&bytes).with_context(|| format!("{}: not a whole capture", self.file.display()))
    }
}

/// The frames of a capture file of this machine's byte order: a header of 24 bytes, then for each frame 16 bytes, of
/// which the third word is the length captured, and the frame.
fn frames(file: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut rest = file.get(24..)?;
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let length = u32::from_ne_bytes(rest.get(8..12)?.try_into().ok()?) as usize;
        frames.push(rest.get(16..16 + length)?.to_vec());
        rest = &rest[16 + length..];
    }
    Some(frames)
}

/// Frames by source and destination.
type Flows = BTreeMap<(IpAddr, IpAddr), u64>;

/// Ends the captures and says what was on the wires.
pub fn show(screen: &mut Screen, lab: &Lab, captures: Vec<Capture>) -> Result<()> {
    let wires = captures.len();
    let mut total = 0;
    let mut seen: BTreeMap<&str, Flows> = BTreeMap::new();
    for (member, capture) in lab.members.iter().zip(captures) {
        let frames = capture.finish()?;
        total += frames.len();
        let flows = seen.entry(&member.host.name).or_default();
        for frame in &frames {
            let found = addresses(frame);
            let leaks = found.iter().any(|address| Family::of(*address).range().contains(address));
            ensure!(!leaks, "{} sends {found:?}", member.host.name);
            if let [source, destination, ..] = found[..] {
                *flows.entry((source, destination)).or_default() += 1;
            }
        }
    }
    for (family, from, to) in lab.pairs() {
        let (from, to) = (&from.host, &to.host);
        let private = from.site.network == to.site.network;
        let real = if private { Some(to.real(family)) } else { to.site.public(family) };
        let real = real.context("every host of the demo has a public address")?;
        let flow = (from.real(family), real);
        let (name, peer, ends) = (&from.name, &to.name, format!("{} > {real}", flow.0));
        let count = seen.get(name.as_str()).and_then(|flows| flows.get(&flow)).copied();
        let count = count.with_context(|| format!("{name} to {peer}: no frame {ends}"))?;
        let path = if private { "private" } else { "public" };
        screen.ok(&format!("{name} to {peer}: {path:<7} {ends:<34} {count:>7} frames"))?;
    }
    screen.ok(&format!("{total} frames on {wires} wires, not one with an overlay address"))
}
