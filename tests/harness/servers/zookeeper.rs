//! ZooKeeper, one server or a member of an ensemble.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::{Deref, DerefMut},
    path::Path,
};

use anyhow::{Context, Result};

use super::{Kazoo, Question, Server, Tls, ask};
use crate::{PATIENCE, instance::server_directory, netns::Netns, within};

/// What differs from a plain ZooKeeper. Sessions time out between two and twenty ticks if it does not say otherwise.
#[derive(Clone, Debug)]
pub struct ZooKeeperOptions {
    /// Milliseconds.
    pub tick: u32,
    /// The shortest session timeout that clients get, in milliseconds.
    pub min_session: Option<u32>,
    /// The longest, in milliseconds.
    pub max_session: Option<u32>,
    /// Clients get in with TLS alone.
    pub tls: Option<Tls>,
}

impl Default for ZooKeeperOptions {
    fn default() -> Self {
        Self { tick: 500, min_session: None, max_session: None, tls: None }
    }
}

/// A ZooKeeper. See [`Server`] for what can be done to it.
#[derive(Debug)]
pub struct ZooKeeper {
    server: Server,
    endpoint: SocketAddr,
    /// Without TLS.
    inside: SocketAddr,
}

/// A place for a member of an ensemble.
pub(super) struct Member<'a> {
    pub(super) netns: &'a Netns,
    /// Of all members; the ensemble is one server if there is one.
    pub(super) addresses: &'a [IpAddr],
    /// Which of them it is.
    pub(super) number: usize,
}

impl ZooKeeper {
    /// Starts a server alone that serves at `address`.
    pub fn start(netns: &Netns, address: IpAddr, options: &ZooKeeperOptions) -> Result<Self> {
        let member = Member { netns, addresses: &[address], number: 0 };
        let mut zookeeper = Self::new(&member, options)?;
        zookeeper.restart()?;
        Ok(zookeeper)
    }

    /// A member that is not launched.
    pub(super) fn new(member: &Member<'_>, options: &ZooKeeperOptions) -> Result<Self> {
        let directory = server_directory().context("make a directory for ZooKeeper")?;
        let address = member.addresses[member.number];
        let plain = SocketAddr::new(address, CLIENTS);
        let (endpoint, inside) = match options.tls {
            Some(_) => (SocketAddr::new(address, SECURE), (Ipv4Addr::LOCALHOST, CLIENTS).into()),
            None => (plain, plain),
        };
        let data = directory.path().join("data");
        fs::create_dir(&data)?;
        fs::write(data.join("myid"), (member.number + 1).to_string())?;
        let config = directory.path().join("zoo.cfg");
        fs::write(&config, options.config(&data, endpoint, inside)? + &member.ensemble())?;
        let server = Server {
            name: format!("ZooKeeper at {endpoint}"),
            netns: member.netns.clone(),
            command: command_line(directory.path(), &config),
            // Unlike `ruok`, it is not answered by a member that knows no leader.
            ready: Question { to: inside, say: "srvr", wanted: "Mode: " },
            process: None,
            directory,
        };
        Ok(Self { server, endpoint, inside })
    }

    /// Where clients find it, as `ADDRESS:PORT`.
    pub fn endpoint(&self) -> String {
        self.endpoint.to_string()
    }

    /// An operator's tool, which needs no certificate and whom no ACL stops.
    pub fn operator(&self) -> Kazoo {
        let mut operator = Kazoo::new(&self.netns, &self.inside.to_string());
        operator.user = Some(OPERATOR.to_owned());
        operator
    }

    /// What it answers to a command of four letters: `ruok`, `srvr`, `cons`.
    pub fn ask(&self, command: &str) -> Result<String> {
        let mut answer = ask(&self.netns, self.inside, command);
        within(PATIENCE, || {
            if answer.is_err() {
                answer = ask(&self.netns, self.inside, command);
            }
            answer.is_ok()
        });
        answer.with_context(|| format!("ask ZooKeeper at {} {command}", self.inside))
    }

    /// The ids of the sessions connected from `client`.
    pub fn sessions(&self, client: IpAddr) -> Result<Vec<u64>> {
        let answer = self.ask("cons")?;
        // `/10.0.0.10:40000[1](queued=0,recved=1,sent=1,sid=0x1000...,...)`; Java writes IPv6 as
        // `[fd00:0:0:1:0:0:0:10%eth0]`.
        let from = |line: &str| {
            let (peer, rest) = line.trim().strip_prefix('/')?.split_once("](")?;
            let (peer, _interest_ops) = peer.rsplit_once('[')?;
            let (peer, _port) = peer.rsplit_once(':')?;
            let peer = peer.trim_matches(['[', ']']).split('%').next()?;
            let id = rest.split_once("sid=0x")?.1.split(',').next()?;
            let is_from_it = peer.parse::<IpAddr>().is_ok_and(|peer| peer == client);
            is_from_it.then(|| u64::from_str_radix(id, 16).ok())?
        };
        Ok(answer.lines().filter_map(from).collect())
    }

    /// Whether it leads its ensemble. A server alone does not.
    pub fn leads(&self) -> bool {
        // Once: others are asked while this one hangs.
        ask(&self.netns, self.inside, "srvr").is_ok_and(|answer| answer.contains("Mode: leader"))
    }
}

impl Deref for ZooKeeper {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for ZooKeeper {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl ZooKeeperOptions {
    fn config(&self, data: &Path, endpoint: SocketAddr, inside: SocketAddr) -> Result<String> {
        let mut text = format!(
            "dataDir={}\ntickTime={}\ninitLimit=20\nsyncLimit=10\n\
             clientPort={}\nclientPortAddress={}\n\
             admin.enableServer=false\n4lw.commands.whitelist=ruok,srvr,cons\n\
             preAllocSize=1024\nforceSync=no\n",
            data.display(),
            self.tick,
            inside.port(),
            inside.ip()
        );
        if let Some(milliseconds) = self.min_session {
            writeln!(text, "minSessionTimeout={milliseconds}")?;
        }
        if let Some(milliseconds) = self.max_session {
            writeln!(text, "maxSessionTimeout={milliseconds}")?;
        }
        if let Some(tls) = &self.tls {
            write!(
                text,
                "secureClientPort={}\nsecureClientPortAddress={}\n\
                 serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
                 ssl.keyStore.type=PEM\nssl.keyStore.location={}\n\
                 ssl.trustStore.type=PEM\nssl.trustStore.location={}\n\
                 ssl.clientAuth={}\n",
                endpoint.port(),
                endpoint.ip(),
                tls.identity.both.display(),
                tls.pki.ca().display(),
                if tls.client_auth { "need" } else { "none" }
            )?;
        }
        Ok(text)
    }
}

impl Member<'_> {
    /// The part of the configuration that is the same for all members.
    fn ensemble(&self) -> String {
        if self.addresses.len() == 1 {
            return String::new();
        }
        let line = |(number, address): (usize, &IpAddr)| {
            let quorum = SocketAddr::new(*address, QUORUM);
            format!("server.{}={quorum}:{ELECTION}\n", number + 1)
        };
        self.addresses.iter().enumerate().map(line).collect()
    }
}

fn command_line(directory: &Path, config: &Path) -> Vec<String> {
    let jar = |name: &str| format!("/usr/share/java/{name}.jar");
    let jars = CLASS_PATH.map(jar).join(":");
    // Starts quickly and stays small, rather than fast in the long run.
    let mut command: Vec<_> =
        ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
            .map(str::to_owned)
            .into();
    command.extend([
        format!("-Djava.io.tmpdir={}", directory.display()),
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".to_owned(),
        "-Dzookeeper.jmx.log4j.disable=true".to_owned(),
        format!("-Dzookeeper.DigestAuthenticationProvider.superDigest={OPERATOR_DIGEST}"),
        "-cp".to_owned(),
        jars,
        "org.apache.zookeeper.server.quorum.QuorumPeerMain".to_owned(),
        config.display().to_string(),
    ]);
    command
}

/// ZooKeeper, which names most of what it needs, the logger that writes to standard error, and what netty needs for TLS.
const CLASS_PATH: [&str; 4] = ["zookeeper", "slf4j-simple", "netty-codec", "netty-resolver"];

/// ZooKeeper's superuser, and the base64 of the SHA-1 of that.
const OPERATOR: &str = "super:operator";
const OPERATOR_DIGEST: &str = "super:50PTL5uPffq+H9AbDUx3SkOIHNQ=";

const CLIENTS: u16 = 2181;
const SECURE: u16 = 2281;
const QUORUM: u16 = 2888;
const ELECTION: u16 = 3888;
