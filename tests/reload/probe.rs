//! SYNs to ports at which nobody listens, as fast as they are answered: a host that lets one in refuses it with a reset,
//! and neither end remembers anything of it.

use std::{
    collections::BTreeMap,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use harness::{
    PATIENCE,
    family::Family,
    packets::{Link, Wire},
    topology::{Site, UPLINK},
};

use crate::policies::{ALWAYS, NEVER, POLICIES, only};

/// How many SYNs that must be answered are under way at most, so that no queue is ever full.
const WINDOW: u64 = 50;
/// Where more of them would be too many.
const PAUSE: Duration = Duration::from_micros(200);
/// The port that they come from.
const SOURCE: u16 = 40_000;

/// What is known of the SYNs to one port.
#[derive(Debug, Default)]
struct Port {
    sent: AtomicU64,
    answered: AtomicU64,
}

impl Port {
    /// SYNs that were not answered.
    fn silent(&self) -> u64 {
        // What is counted as sent before it is sent is never less than what was answered before.
        let answered = self.answered.load(Ordering::Relaxed);
        self.sent.load(Ordering::Relaxed) - answered
    }
}

/// One host that asks another, until it is finished or dropped.
pub struct Probe {
    ports: Arc<BTreeMap<u16, Port>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Probe {
    pub fn start(from: &Site, to: &Site, family: Family) -> Result<Self> {
        let all = ALWAYS.into_iter().chain(NEVER).chain((0..POLICIES).map(only));
        let ports: Arc<BTreeMap<u16, Port>> =
            Arc::new(all.map(|port| (port, Port::default())).collect());
        let link = Link { from: from.netns.mac(UPLINK)?, to: to.netns.mac(UPLINK)? };
        let syn = |port: &u16| {
            let (source, destination) = (from.real(family), to.real(family));
            (*port, link.syn((source, SOURCE).into(), (destination, *port).into()))
        };
        let frames: Vec<(u16, Vec<u8>)> = ports.keys().map(syn).collect();
        let wire = Wire::open(&from.netns, UPLINK)?;
        let stop = Arc::new(AtomicBool::new(false));
        let (counts, stopped) = (Arc::clone(&ports), Arc::clone(&stop));
        let ask = move || ask(&wire, family, &frames, &counts, &stopped);
        Ok(Self { ports, stop, thread: Some(std::thread::spawn(ask)) })
    }

    /// How many SYNs to a port were answered.
    pub fn answered(&self, port: u16) -> u64 {
        self.ports[&port].answered.load(Ordering::Relaxed)
    }

    /// Waits for the answers that are still to come, and gives how many SYNs had none.
    ///
    /// # Errors
    /// If one that must have an answer has none, or one has that must not.
    pub fn finish(mut self) -> Result<u64> {
        self.halt()?;
        for (port, Port { sent, answered }) in self.ports.iter() {
            let (sent, answered) = (sent.load(Ordering::Relaxed), answered.load(Ordering::Relaxed));
            let right = match (ALWAYS.contains(port), NEVER.contains(port)) {
                (true, _) => answered == sent,
                (_, true) => answered == 0,
                _ => 0 < answered && answered < sent,
            };
            ensure!(right, "port {port}: {answered} of {sent} SYNs were let in");
        }
        Ok(self.ports.values().map(Port::silent).sum())
    }

    fn halt(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        thread.map_or(Ok(()), |thread| thread.join().unwrap_or_else(|p| resume_unwind(p)))
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.halt();
    }
}

fn ask(
    wire: &Wire,
    family: Family,
    frames: &[(u16, Vec<u8>)],
    ports: &BTreeMap<u16, Port>,
    stop: &AtomicBool,
) -> Result<()> {
    let mut buffer = [0; 2048];
    let mut last = Instant::now();
    loop {
        let under_way: u64 = ALWAYS.iter().map(|port| ports[port].silent()).sum();
        let stops = stop.load(Ordering::Relaxed);
        if stops && under_way == 0 {
            return Ok(());
        }
        if !stops && under_way < WINDOW {
            for (port, frame) in frames {
                ports[port].sent.fetch_add(1, Ordering::Relaxed);
                wire.send(frame)?;
            }
        } else {
            sleep(PAUSE);
        }
        while let Some(length) = wire.try_receive(&mut buffer) {
            let port = reset(family, &buffer[..length]).and_then(|port| ports.get(&port));
            if let Some(port) = port {
                port.answered.fetch_add(1, Ordering::Relaxed);
                last = Instant::now();
            }
        }
        let open = || format!("{under_way} SYNs have no answer: {ports:?}");
        ensure!(last.elapsed() < PATIENCE, open());
    }
}

/// The source port of a TCP reset without options in front of it.
fn reset(family: Family, frame: &[u8]) -> Option<u16> {
    const TCP: u8 = 6;
    const RST: u8 = 1 << 2;
    let (ethertype, protocol) = match family {
        Family::V4 => ([0x08, 0x00], 14 + 9),
        Family::V6 => ([0x86, 0xdd], 14 + 6),
    };
    let tcp = frame.get(14 + family.header()..)?;
    let is_reset = frame[12..14] == ethertype && frame[protocol] == TCP && tcp.get(13)? & RST != 0;
    is_reset.then(|| u16::from_be_bytes([tcp[0], tcp[1]]))
}
