//! Network namespaces that end with their owner.
//!
//! A namespace is held by a file descriptor alone: it has no name under /run/netns, and the kernel takes it away when
//! the process that made it ends, however it ends. Only the network namespace is changed, so bpffs and /run are the
//! machine's.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    panic::resume_unwind,
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail};
use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::{prctl::set_pdeathsig, signal::Signal},
};

use crate::{
    family::Family,
    process::{Process, on_spawner},
};

/// A network namespace. Clones are the same one; it lives as long as the last of them, or a program or socket in it.
#[derive(Clone, Debug)]
pub struct Netns {
    name: Arc<str>,
    fd: Arc<OwnedFd>,
}

impl Netns {
    /// A fresh namespace with `lo` up. `label` is for messages only.
    pub fn new(label: &str) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("neti-{}-{number}-{label}", std::process::id());
        // A thread of its own: a thread that unshared cannot be given back to the test runner.
        let file = thread::spawn(|| -> io::Result<fs::File> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            fs::File::open("/proc/thread-self/ns/net")
        })
        .join()
        .unwrap_or_else(|panic| resume_unwind(panic))
        .context("create a network namespace (root is needed)")?;
        let netns = Self { name: name.into(), fd: Arc::new(file.into()) };
        // What does not ask for IPv6 has none, and nothing of it on its wires.
        netns.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        netns.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    /// The label, made unique.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path to the namespace that `ip ... netns PATH` takes while this process lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }

    /// Runs `work` inside, on a thread of its own; its panic is the caller's. Sockets it returns stay inside.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = || {
                if let Err(error) = setns(&*self.fd, CloneFlags::CLONE_NEWNET) {
                    panic!("enter {}: {error}", self.name);
                }
                work()
            };
            scope.spawn(inside).join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Like [`Netns::run`], but goes on beside the caller.
    pub fn go<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let netns = self.clone();
        thread::spawn(move || {
            if let Err(error) = setns(&*netns.fd, CloneFlags::CLONE_NEWNET) {
                panic!("enter {}: {error}", netns.name);
            }
            work()
        })
    }

    /// A command that will run inside. It dies with this process.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let fd = Arc::clone(&self.fd);
        let mut command = Command::new(program);
        // SAFETY: setns and prctl are plain system calls; nothing is allocated between fork and exec.
        unsafe {
            command.pre_exec(move || {
                setns(&*fd, CloneFlags::CLONE_NEWNET)?;
                set_pdeathsig(Signal::SIGKILL)?;
                Ok(())
            });
        }
        command
    }

    /// Starts a command made by [`Netns::command`].
    pub fn spawn(&self, mut command: Command) -> Result<Process> {
        let what = describe(&command);
        let child = on_spawner(move || command.spawn())
            .with_context(|| format!("start {what} in {}", self.name))?;
        Ok(Process::new(what, child))
    }

    /// Runs a command line (split at blanks) to its end and gives what it printed.
    ///
    /// # Errors
    /// As of [`Netns::complete`].
    pub fn exec(&self, line: &str) -> Result<String> {
        self.complete(self.words(line)?)
    }

    /// Runs a command line (split at blanks) to its end, whatever its exit status.
    pub fn output(&self, line: &str) -> Result<Output> {
        self.finish(self.words(line)?, "")
    }

    fn words(&self, line: &str) -> Result<Command> {
        let mut words = line.split_whitespace();
        let program = words.next().context("an empty command line")?;
        let mut command = self.command(program);
        command.args(words);
        Ok(command)
    }

    /// Runs a command made by [`Netns::command`] to its end and gives what it printed.
    ///
    /// # Errors
    /// If it cannot be started or does not exit with 0; the message has its standard error.
    pub fn complete(&self, command: Command) -> Result<String> {
        let what = describe(&command);
        let output = self.finish(command, "")?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("{what}: in {}: {}: {}", self.name, output.status, error.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `ip ARGUMENTS`.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.exec(&format!("ip {arguments}"))
    }

    /// Several lines of `ip`, in one process.
    pub fn ip_batch(&self, lines: &str) -> Result<()> {
        self.feed("ip -batch -", lines)
    }

    /// Loads an nftables script.
    pub fn nft(&self, script: &str) -> Result<()> {
        self.feed("nft -f -", script)
    }

    /// Sets a sysctl of this namespace, written with dots.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/{}", key.replace('.', "/"));
        self.run(|| fs::write(&path, value)).with_context(|| format!("set {key} to {value}"))
    }

    /// Turns IPv6 on, on interfaces made from then on too. Duplicate address detection, router solicitations and temporary
    /// addresses stay off: nothing is on the wire but what the test sends, and who listens to which group.
    pub fn enable_ipv6(&self) -> Result<()> {
        let off = ["accept_dad", "accept_ra", "accept_redirects", "use_tempaddr", "disable_ipv6"];
        for key in off {
            for interface in ["all", "default"] {
                self.sysctl(&format!("net.ipv6.conf.{interface}.{key}"), "0")?;
            }
        }
        Ok(())
    }

    /// Forwards packets between its interfaces.
    pub fn forward(&self, family: Family) -> Result<()> {
        match family {
            Family::V4 => self.sysctl("net.ipv4.ip_forward", "1"),
            Family::V6 => self.sysctl("net.ipv6.conf.all.forwarding", "1"),
        }
    }

    /// A veth pair: `ours` here, `theirs` in `peer`, both up.
    pub fn veth(&self, ours: &str, peer: &Netns, theirs: &str) -> Result<()> {
        self.ip(&format!("link add {ours} type veth peer name {theirs} netns {}", peer.path()))?;
        self.ip(&format!("link set {ours} up"))?;
        peer.ip(&format!("link set {theirs} up"))?;
        Ok(())
    }

    /// The hardware address of an interface.
    pub fn mac(&self, interface: &str) -> Result<[u8; 6]> {
        let text = self.ip(&format!("-br link show dev {interface}"))?;
        let field = text.split_whitespace().nth(2).context("ip -br link prints no address")?;
        let mut mac = [0; 6];
        for (byte, hex) in mac.iter_mut().zip(field.split(':')) {
            *byte = u8::from_str_radix(hex, 16).with_context(|| format!("read {field}"))?;
        }
        Ok(mac)
    }

    /// The index of an interface.
    pub fn index(&self, interface: &str) -> Result<u32> {
        self.run(|| nix::net::if_::if_nametoindex(interface))
            .with_context(|| format!("find {interface} in {}", self.name))
    }

    /// How many packets have come by an interface.
    pub fn received(&self, interface: &str) -> Result<u64> {
        self.count(interface, 1)
    }

    /// How many packets have left by an interface.
    pub fn sent(&self, interface: &str) -> Result<u64> {
        self.count(interface, 9)
    }

    /// One of the counts of /proc/net/dev.
    fn count(&self, interface: &str, column: usize) -> Result<u64> {
        // /proc/net is the namespace of the process, whatever that of the thread.
        let path = "/proc/thread-self/net/dev";
        let text = self.run(|| fs::read_to_string(path)).with_context(|| format!("read {path}"))?;
        let line = text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'));
        let count = line.and_then(|line| line.split_whitespace().nth(column)?.parse().ok());
        count.with_context(|| format!("{} has no {interface}", self.name))
    }

    /// Runs a command line (split at blanks) to its end, with this input.
    ///
    /// # Errors
    /// If it fails; with what it says, and the first of its input.
    pub fn feed(&self, line: &str, text: &str) -> Result<()> {
        let command = self.words(line)?;
        let what = describe(&command);
        let output = self.finish(command, text)?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            let begin: String = text.chars().take(2000).collect();
            bail!("{what}: in {}: {}\n{begin}", self.name, error.trim());
        }
        Ok(())
    }

    /// Runs a command made by [`Netns::command`] to its end, with this input.
    pub(crate) fn finish(&self, mut command: Command, input: &str) -> Result<Output> {
        let what = describe(&command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let run = || -> io::Result<Output> {
            let mut child = on_spawner(move || command.spawn())?;
            if let Some(mut stdin) = child.stdin.take() {
                match stdin.write_all(input.as_bytes()) {
                    // It ended without reading on, and its status says why.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                    written => written?,
                }
            }
            child.wait_with_output()
        };
        run().with_context(|| format!("run {what} in {}", self.name))
    }
}

fn describe(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}
