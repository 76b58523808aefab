//! Looks into the host's pinned maps for what is to arrive there.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, Ordering},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use harness::{
    bpf::Map,
    host::{Host, pin},
    interrupt,
};

use crate::synthetic::Member;

/// How long anything may take until it counts as lost.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The maps of peers, by overlay and by real address.
pub struct Maps {
    overlays: Map,
    members: Map,
}

impl Maps {
    pub fn open(instance: &str) -> Result<Self> {
        let open = |name: &str| {
            let path = pin(instance, &format!("maps/{name}"))?;
            Map::open(&path).with_context(|| format!("open {}", path.display()))
        };
        Ok(Self { overlays: open("overlays4")?, members: open("members4")? })
    }

    /// Whether packets from this real address are a member's.
    pub fn has_real(&mut self, address: Ipv4Addr) -> Result<bool> {
        Ok(self.members.get(&address.octets())?.is_some())
    }

    /// Whether packets for this overlay address find a member.
    fn has_overlay(&mut self, address: Ipv4Addr) -> Result<bool> {
        Ok(self.overlays.get(&address.octets())?.is_some())
    }

    /// Whether everything is there that the host must know of a member.
    fn has(&mut self, member: &Member) -> Result<bool> {
        Ok(self.has_overlay(member.overlay())?
            && self.has_real(member.public())?
            && (!member.is_here() || self.has_real(member.private())?))
    }
}

/// Waits until all members are in the maps of an instance, which may not be there yet, and gives the moment.
pub fn of_all(instance: &str, members: &[Member], stop: &AtomicBool) -> Result<Instant> {
    let begun = Instant::now();
    let pause = || {
        interrupt::go_on()?;
        if stop.load(Ordering::Relaxed) {
            bail!("neti has ended");
        }
        if begun.elapsed() > PATIENCE {
            bail!("not all members are in the maps after {PATIENCE:?}");
        }
        sleep(Duration::from_millis(1));
        Ok(())
    };
    let mut maps = loop {
        match Maps::open(instance) {
            Ok(maps) => break maps,
            Err(_) => pause()?,
        }
    };
    let mut arrived = Instant::now();
    // To look at all of them takes time that is not the host's. What is put last comes first: others are waited for if
    // it does not hold.
    for member in members.iter().rev() {
        while !maps.has(member)? {
            pause()?;
            arrived = Instant::now();
        }
    }
    Ok(arrived)
}

/// The memory of all maps of peers, both families', in bytes.
pub fn map_memory(host: &Host) -> Result<u64> {
    ["overlays4", "members4", "overlays6", "members6"].iter().try_fold(0, |sum, name| {
        let map = Map::open(&host.pin(&format!("maps/{name}"))?)?;
        Ok(sum + map.memory()?)
    })
}
