//! Programs that end with their owner.

use std::{
    io,
    process::{Child, ExitStatus},
    sync::{OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// A running program, killed by its own process id when dropped.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
}

impl Process {
    pub(crate) fn new(what: String, child: Child) -> Self {
        Self { what, child }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The pipes asked for.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends it a signal; one that has ended is left alone.
    pub fn signal(&mut self, signal: Signal) {
        // A child that was not waited for keeps its id, so this cannot hit another process.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
        }
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it is still there after `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "still running after {limit:?}: {}", self.what);
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets the calling thread, and what it starts, go before others; by 20 at most.
pub fn prefer(by: i32) -> io::Result<()> {
    // SAFETY: plain integers; 0 is the calling thread.
    let set = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -by) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Runs `run`, and lets all threads that it starts run, on one processor: always the same.
pub fn on_one_processor<T: Send>(run: impl FnOnce() -> T + Send) -> nix::Result<T> {
    let staying = || stay().map(|()| run());
    thread::scope(|scope| scope.spawn(staying).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Keeps the calling thread, and what it starts, on the first of the processors that it may use.
fn stay() -> nix::Result<()> {
    let myself = Pid::from_raw(0);
    let may = sched_getaffinity(myself)?;
    let mut one = CpuSet::new();
    let first = (0..CpuSet::count()).find(|processor| may.is_set(*processor).unwrap_or(false));
    one.set(first.ok_or(nix::errno::Errno::EINVAL)?)?;
    sched_setaffinity(myself, &one)
}

/// Runs `start` on the one thread that starts all programs.
///
/// A child that asked to die with its parent (`PR_SET_PDEATHSIG`) dies with the *thread* that started it, and test
/// threads come and go.
pub(crate) fn on_spawner<T: Send + 'static>(start: impl FnOnce() -> T + Send + 'static) -> T {
    type Work = Box<dyn FnOnce() + Send>;
    static SPAWNER: OnceLock<mpsc::Sender<Work>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Work>();
        thread::spawn(move || receiver.into_iter().for_each(|work| work()));
        sender
    });
    let (sender, receiver) = mpsc::channel();
    let work = Box::new(move || drop(sender.send(start())));
    assert!(spawner.send(work).is_ok(), "the spawner thread lives as long as the process");
    receiver.recv().unwrap_or_else(|_| panic!("starting a program panicked"))
}
