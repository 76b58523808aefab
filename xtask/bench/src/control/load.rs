//! The first load: a host that has nothing starts in a fleet that is there.

use std::{
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::{
    bpf::Map,
    figures::{memory, processor_time},
};
use neti_simulate::{arrival, lab::Lab, synthetic::Member};
use nix::sys::signal::Signal;

use super::said::Said;

/// What one first load took.
pub struct Load {
    /// From the question to the registry until all records were read and understood.
    pub read: Duration,
    /// From there, with the programs loaded, until all members were in the kernel's maps.
    pub filled: Duration,
    /// From neti's start until it said that it is ready.
    pub ready: Duration,
    /// The processor time of all that.
    pub processor: Duration,
    /// Of the daemon then, in KiB.
    pub resident: u64,
}

impl Load {
    /// `again`: what the last one has left is removed first.
    pub fn measure(lab: &mut Lab, members: &[Member], again: bool) -> Result<Self> {
        let host = &mut lab.host;
        if again {
            host.stop(Signal::SIGTERM)?;
            let down = host.down()?;
            ensure!(down.status.success(), "neti down: {}", String::from_utf8_lossy(&down.stderr));
        }
        let before = host.log().len();
        let begun = Instant::now();
        host.launch()?;
        host.wait_ready()?;
        let ready = begun.elapsed();
        let pid = host.pid().context("neti has ended")?;
        let (processor, resident) = (processor_time(pid)?, memory(pid)?.resident);
        // That it is ready is its own word.
        arrival::of_all(&host.instance, members, &AtomicBool::new(false))?;
        let log = host.log();
        let log = log.get(before..).unwrap_or_default();
        let took = |message: &str| {
            let said = Said::all(log, message);
            let took = said.first().and_then(|line| line.number("took_ms"));
            let took = took.with_context(|| format!("neti does not say {message:?}:\n{log}"))?;
            Ok::<_, anyhow::Error>(Duration::from_secs_f64(took / 1e3))
        };
        Ok(Self {
            read: took("registry read")?,
            filled: took("maps changed")?,
            ready,
            processor,
            resident,
        })
    }
}

/// Kernel memory of the maps of members.
pub struct Maps {
    /// Of all that is there, in bytes.
    pub bytes: u64,
    /// Without the buckets that more members would have, in bytes.
    pub used: u64,
}

/// What the kernel says that the maps take which hold `members`.
pub fn maps(lab: &Lab, members: &[Member]) -> Result<Maps> {
    /// `struct bucket` of a hash map.
    const BUCKET: u64 = 16;
    let here = members.iter().filter(|member| member.is_here()).count();
    let count = members.len() as u64;
    let mut maps = Maps { bytes: 0, used: 0 };
    for (name, entries) in [("overlays4", count), ("members4", count + here as u64)] {
        let map = Map::open(&lab.host.pin(&format!("maps/{name}"))?)?;
        let (bytes, buckets) = (map.memory()?, map.room()?.next_power_of_two());
        maps.bytes += bytes;
        maps.used += bytes - BUCKET * (buckets - entries.min(buckets));
    }
    Ok(maps)
}
