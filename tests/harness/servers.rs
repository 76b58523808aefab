//! Registry servers, as Debian packages them, inside namespaces.
//!
//! A server's data lie in a directory of its own, so that it can be killed and started again with them; both end with
//! the value that stands for the server.

mod cluster;
mod cut;
mod etcd;
mod etcdctl;
mod kazoo;
mod pki;
mod zookeeper;

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tempfile::TempDir;

pub use self::{
    cluster::{Ensemble, EtcdCluster},
    cut::Cut,
    etcd::{Etcd, EtcdOptions},
    etcdctl::{EtcdCtl, Pair},
    kazoo::{Acl, Kazoo},
    pki::{ClientTls, Identity, Pki, Tls},
    zookeeper::{ZooKeeper, ZooKeeperOptions},
};
use crate::{PATIENCE, eventually, netns::Netns, process::Process, within};

/// How long an operator's tool goes on trying. Shorter than [`PATIENCE`], so that its own message is seen.
const OPERATOR_PATIENCE: Duration = Duration::from_secs(20);

/// A server program and its data.
#[derive(Debug)]
pub struct Server {
    name: String,
    netns: Netns,
    /// The program and its arguments.
    command: Vec<String>,
    ready: Question,
    /// Dropped before the directory that it writes into.
    process: Option<Process>,
    directory: TempDir,
}

/// What to say to a server, and what the answer of a ready one contains.
#[derive(Clone, Debug)]
struct Question {
    to: SocketAddr,
    say: &'static str,
    wanted: &'static str,
}

impl Server {
    /// Starts it again with its data, killed before if it runs, and waits until it serves.
    pub fn restart(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_ready()
    }

    /// Like [`Server::restart`], without waiting.
    pub fn launch(&mut self) -> Result<()> {
        self.kill();
        let log = OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let [program, arguments @ ..] = &self.command[..] else {
            bail!("{} has no command line", self.name);
        };
        let mut command = self.netns.command(program);
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(self.netns.spawn(command)?);
        Ok(())
    }

    /// Waits until the server launched serves.
    ///
    /// # Errors
    /// If it ends, or does not serve; the message has its log.
    pub fn wait_ready(&mut self) -> Result<()> {
        let process = self.process.as_mut().context("the server was not launched")?;
        let (mut ended, mut ready) = (None, false);
        within(PATIENCE, || {
            ended = process.ended();
            ready = ended.is_none() && self.ready.is_answered(&self.netns);
            ready || ended.is_some()
        });
        if let Some(status) = ended {
            bail!("{} ended ({status}):\n{}", self.name, self.log());
        }
        if !ready {
            bail!("{} does not serve after {PATIENCE:?}:\n{}", self.name, self.log());
        }
        Ok(())
    }

    /// Kills it, as a crash would; its kernel answers what comes for it with resets.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it as an operator would, with SIGTERM.
    ///
    /// # Panics
    /// If it does not end.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::SIGTERM);
            process.wait(PATIENCE);
        }
    }

    /// Stops it in the middle of what it does: connections stay, and nobody answers.
    ///
    /// # Panics
    /// If it does not run, or does not stop.
    pub fn hang(&mut self) {
        self.signal(Signal::SIGSTOP);
        // The signal is on its way when kill(2) returns, and a busy machine may run a thread before it arrives.
        eventually(&format!("{} hangs", self.name), || {
            self.process.as_ref().is_some_and(is_stopped)
        });
    }

    /// Ends [`Server::hang`].
    pub fn go_on(&mut self) {
        self.signal(Signal::SIGCONT);
    }

    /// Whether it was started, and not killed or stopped.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// What it printed, of all its lives.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Where it runs.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn log_path(&self) -> PathBuf {
        self.directory().join("log")
    }

    fn signal(&mut self, signal: Signal) {
        if let Some(process) = &mut self.process {
            process.signal(signal);
        }
    }
}

/// Whether none of its threads runs (state `T` in proc_pid_stat(5), after the name in parentheses).
fn is_stopped(process: &Process) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", process.pid()));
    let stats = threads.into_iter().flatten().flatten().map(|thread| thread.path().join("stat"));
    let states: Vec<_> = stats
        .map(|stat| {
            let text = fs::read_to_string(stat).unwrap_or_default();
            text.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('T'))
        })
        .collect();
    !states.is_empty() && states.into_iter().all(|stopped| stopped)
}

impl Question {
    fn is_answered(&self, netns: &Netns) -> bool {
        ask(netns, self.to, self.say).is_ok_and(|answer| answer.contains(self.wanted))
    }
}

/// What a server answers before it closes the connection, to a client in its own namespace.
fn ask(netns: &Netns, to: SocketAddr, text: &str) -> io::Result<String> {
    // Ample for one answer, and short enough to ask others while one server hangs.
    let limit = Duration::from_secs(2);
    netns.run(|| {
        let mut stream = TcpStream::connect_timeout(&to, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(text.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
}
