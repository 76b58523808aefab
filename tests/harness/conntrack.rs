//! The kernel's connection tracking: what it holds, and for how much it has room.

use std::{
    fs::{self, File},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{netns::Netns, process::on_spawner};

/// The most connections that may be tracked in each namespace. It is written in the machine's own alone.
const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// Connections that the kernel tracks in a namespace.
pub fn entries(netns: &Netns) -> Result<usize> {
    let path = "/proc/sys/net/netfilter/nf_conntrack_count";
    let text = netns.run(|| fs::read_to_string(path));
    let text = text.with_context(|| format!("read {path} in {}", netns.name()))?;
    text.trim().parse().with_context(|| format!("read {path}: {text:?}"))
}

/// The most connections that the kernel may track in each namespace.
fn limit() -> Result<u64> {
    let text = fs::read_to_string(MAX).with_context(|| format!("read {MAX}"))?;
    text.trim().parse().with_context(|| format!("read {MAX}: {text:?}"))
}

/// A bound on what is tracked, for the whole machine, until dropped.
///
/// A guard process puts back what was there before. It hears of our end by the end of its input, so it does so too when
/// we are killed.
#[derive(Debug)]
pub struct Limit {
    most: u64,
    guard: Child,
}

impl Limit {
    /// Lowers the bound to `most`; one that is lower stays. One caller at a time: others wait.
    pub fn at_most(most: u64) -> Result<Self> {
        // The guard shares this open file, and with it the lock, until it has done its work.
        let lock = std::env::temp_dir().join("neti-conntrack.lock");
        let lock = File::create(&lock).with_context(|| format!("open {}", lock.display()))?;
        lock.lock().context("wait until nobody else bounds what is tracked")?;

        let before = limit()?;
        let mut command = Command::new("sh");
        command.args(["-c", &format!("cat >/dev/null; echo {before} >{MAX}")]);
        // It holds the lock as its output, of which there is none, and is in a group of its own, which Ctrl-C does not reach.
        command.stdin(Stdio::piped()).stdout(lock.as_fd().try_clone_to_owned()?).process_group(0);
        let guard = on_spawner(move || command.spawn()).context("start sh")?;
        let bound = Self { most: before.min(most), guard };
        if before > most {
            fs::write(MAX, most.to_string()).with_context(|| format!("write {MAX}"))?;
            ensure!(limit()? == most, "{MAX} does not become {most}");
        }
        Ok(bound)
    }
}

impl Limit {
    /// What holds.
    pub fn most(&self) -> u64 {
        self.most
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}
