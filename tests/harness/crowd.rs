//! Many TCP connections at once, all of them held open.
//!
//! A process may have fewer descriptors than there are connections (`RLIMIT_NOFILE`). Each thread here therefore has a
//! table of descriptors of its own, for which the limit holds by itself. What a thread opens is nobody else's, and what
//! the others have is not in its table: no value that owns a descriptor may go in or out.

mod client;
mod server;

use std::{
    io::{self, ErrorKind, Read as _},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use socket2::Socket;

use crate::netns::Netns;

/// The first port that is dialled; every lane has one.
const PORT: u16 = 10_000;
/// The most connections to one port: of those that the kernel chooses from it takes every other one first, and looks long
/// for a free one when these 14,000 are nearly used up.
const LANE: usize = 8_000;
/// Descriptors that a thread needs besides: standard input, output and error, and the listener.
const OTHERS: usize = 4;
/// What one connection takes of the kernel's memory, both ends, in bytes; measured, and rounded up.
const MEMORY: u64 = 10 << 10;
/// What has not come for so long does not come, where some should not. The kernel repeats a lost SYN after a second.
pub const SILENCE: Duration = Duration::from_secs(5);
/// Between two looks at what has not come.
const PAUSE: Duration = Duration::from_millis(2);

/// Who talks to whom.
#[derive(Clone, Debug)]
pub struct Plan {
    pub client: Netns,
    pub server: Netns,
    /// The server's address, as it is dialled.
    pub to: IpAddr,
    pub connections: usize,
}

/// How far it has come, in connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Of which the client has sent a SYN.
    pub tried: usize,
    /// That the client has open.
    pub open: usize,
    /// That carried a byte there and back.
    pub talked: usize,
}

/// Connections, until dropped. They end by a reset, so that none stays in TIME_WAIT.
#[derive(Debug)]
pub struct Crowd {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Beyond the threads: the last owner of a namespace must not be one of them, which has not its descriptor.
    _plan: Plan,
}

impl Crowd {
    /// Bytes of memory that so many connections take.
    pub fn memory(connections: usize) -> u64 {
        connections as u64 * MEMORY
    }

    /// Opens them all. `tell` hears how it goes, several times a second, and ends it by an error.
    ///
    /// # Errors
    /// Whatever keeps it from being tried; that connections fail is none.
    pub fn dial(plan: &Plan, tell: impl FnMut(Counts) -> Result<()>) -> Result<Self> {
        Self::dial_patiently(plan, SILENCE, tell)
    }

    /// The same where whatever has not come for `silence` does not come.
    pub fn dial_patiently(
        plan: &Plan,
        silence: Duration,
        tell: impl FnMut(Counts) -> Result<()>,
    ) -> Result<Self> {
        let most = LANE.min(descriptors()?.saturating_sub(OTHERS));
        ensure!(most > 0, "RLIMIT_NOFILE leaves no room for a connection");
        // The queue of a listener must hold what is accepted later.
        plan.server.sysctl("net.core.somaxconn", "65535")?;
        let shared = Arc::new(Shared { silence, ..Shared::default() });
        let mut crowd = Self { shared, threads: Vec::new(), _plan: plan.clone() };
        for (number, first) in (0..plan.connections).step_by(most).enumerate() {
            let port = u16::try_from(number).ok().and_then(|number| PORT.checked_add(number));
            let port = port.context("more lanes than ports")?;
            let lane = Arc::new(Lane {
                to: SocketAddr::new(plan.to, port),
                size: most.min(plan.connections - first),
                open: AtomicUsize::new(0),
            });
            let (shared, own) = (Arc::clone(&crowd.shared), Arc::clone(&lane));
            let serve = move || shared.work(|| server::run(&shared, &own));
            crowd.threads.push(plan.server.go(serve));
            let shared = Arc::clone(&crowd.shared);
            let dial = move || shared.work(|| client::run(&shared, &lane));
            crowd.threads.push(plan.client.go(dial));
        }
        crowd.finish(Stage::Listen, |_| Ok(()))?;
        crowd.finish(Stage::Dial, tell)?;
        Ok(crowd)
    }

    /// Sends a byte there and back over each connection that is open.
    pub fn talk(&mut self, tell: impl FnMut(Counts) -> Result<()>) -> Result<()> {
        self.finish(Stage::Talk, tell)
    }

    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// What the first connection that failed said, if it said anything but nothing.
    pub fn fault(&self) -> Option<String> {
        lock(&self.shared.fault).clone()
    }

    /// Begins a stage, and waits until all threads are done with it.
    fn finish(&self, stage: Stage, mut tell: impl FnMut(Counts) -> Result<()>) -> Result<()> {
        self.shared.begin(stage);
        loop {
            let progress = lock(&self.shared.progress);
            let wait = self.shared.changed.wait_timeout(progress, Duration::from_millis(200));
            let (progress, _) = wait.unwrap_or_else(PoisonError::into_inner);
            let panicked = self.threads.iter().any(JoinHandle::is_finished);
            let (done, broken) = (progress.done, progress.broken.clone());
            drop(progress);
            if let Some(error) = broken {
                bail!(error);
            }
            ensure!(!panicked, "a thread panicked");
            tell(self.shared.counts())?;
            if done == self.threads.len() {
                return Ok(());
            }
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.begin(Stage::End);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Connections to one port, which two threads hold.
#[derive(Debug)]
struct Lane {
    to: SocketAddr,
    /// How many are dialled.
    size: usize,
    /// How many of them the client has open.
    open: AtomicUsize,
}

/// What all threads do at the same time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Listen,
    Dial,
    Talk,
    End,
}

#[derive(Debug, Default)]
struct Shared {
    /// What has not come for so long does not come.
    silence: Duration,
    progress: Mutex<Progress>,
    changed: Condvar,
    tried: AtomicUsize,
    open: AtomicUsize,
    talked: AtomicUsize,
    /// What the first that failed said.
    fault: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Progress {
    stage: Stage,
    /// Threads that are done with it.
    done: usize,
    /// Why one of them could not do its part.
    broken: Option<String>,
}

impl Shared {
    fn begin(&self, stage: Stage) {
        let mut progress = lock(&self.progress);
        if progress.stage != stage {
            *progress = Progress { stage, ..Progress::default() };
        }
        self.changed.notify_all();
    }

    /// Does a thread's part.
    fn work(&self, part: impl FnOnce() -> Result<()>) {
        if let Err(error) = own_descriptors().and_then(|()| part()) {
            lock(&self.progress).broken.get_or_insert(format!("{error:#}"));
            self.changed.notify_all();
        }
    }

    /// Tells that this thread is done with its stage, and waits for `next`.
    ///
    /// # Errors
    /// If the end comes instead.
    fn await_stage(&self, next: Stage) -> Result<()> {
        let mut progress = lock(&self.progress);
        progress.done += 1;
        self.changed.notify_all();
        let before = |progress: &mut Progress| progress.stage < next;
        progress =
            self.changed.wait_while(progress, before).unwrap_or_else(PoisonError::into_inner);
        ensure!(progress.stage == next, "ended before its time");
        Ok(())
    }

    fn ends(&self) -> bool {
        lock(&self.progress).stage == Stage::End
    }

    fn counts(&self) -> Counts {
        let of = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        Counts { tried: of(&self.tried), open: of(&self.open), talked: of(&self.talked) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Patience with many that are waited for one after the other: where one of them does not come, so long after the one
/// before, the others have had as long, and are not waited for any more.
struct Patience {
    /// `None` once it is over.
    since: Option<Instant>,
}

impl Patience {
    fn new() -> Self {
        Self { since: Some(Instant::now()) }
    }

    /// Waits until `come` gives something.
    fn wait<T>(&mut self, shared: &Shared, mut come: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            if let Some(come) = come() {
                self.since = self.since.map(|_| Instant::now());
                return Some(come);
            }
            if self.since.is_none_or(|since| since.elapsed() > shared.silence) || shared.ends() {
                self.since = None;
                return None;
            }
            sleep(PAUSE);
        }
    }
}

/// The next byte of a socket that does not block; nothing while there is none.
fn received(mut socket: &Socket) -> Option<io::Result<u8>> {
    let mut byte = [0];
    match socket.read_exact(&mut byte) {
        Ok(()) => Some(Ok(byte[0])),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => Some(Err(error)),
    }
}

/// How many descriptors a table may have, once we ask for all that we may have.
fn descriptors() -> Result<usize> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit is live.
    let got = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    ensure!(got == 0, "getrlimit: {}", io::Error::last_os_error());
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the limit is live.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    ensure!(set == 0, "setrlimit: {}", io::Error::last_os_error());
    Ok(usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX))
}

/// Gives the calling thread a table of descriptors of its own, with standard input, output and error alone.
fn own_descriptors() -> Result<()> {
    const AFTER_STDERR: libc::c_uint = 3;
    // SAFETY: plain integers. What the other threads own stays open in their table.
    let closed = unsafe {
        libc::close_range(AFTER_STDERR, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE as libc::c_int)
    };
    ensure!(closed == 0, "close_range: {}", io::Error::last_os_error());
    Ok(())
}
