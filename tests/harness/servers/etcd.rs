//! etcd, one node or a member of a cluster.

use std::{
    net::{IpAddr, SocketAddr},
    ops::{Deref, DerefMut},
};

use anyhow::{Context, Result};

use super::{EtcdCtl, Question, Server, Tls, ask};
use crate::{instance::server_directory, netns::Netns};

/// What differs from a plain etcd.
#[derive(Clone, Debug, Default)]
pub struct EtcdOptions {
    /// The size of its store at which it raises the alarm NOSPACE and refuses writes.
    pub quota_bytes: Option<u64>,
    pub tls: Option<Tls>,
    /// Turns authentication on: the user `root` with this password.
    pub root_password: Option<String>,
    /// How long the token lasts that stands for a password, in seconds; etcd's own default is 300.
    pub token_seconds: Option<u32>,
}

/// An etcd. See [`Server`] for what can be done to it.
#[derive(Debug)]
pub struct Etcd {
    server: Server,
    scheme: &'static str,
    address: IpAddr,
    operator: EtcdCtl,
}

/// A place for a member of a cluster.
pub(super) struct Member<'a> {
    pub(super) name: &'a str,
    pub(super) netns: &'a Netns,
    pub(super) address: IpAddr,
    /// All members, as `--initial-cluster` wants them.
    pub(super) cluster: &'a str,
    /// Milliseconds between a leader's heartbeats; an election starts after ten.
    pub(super) heartbeat: u32,
}

impl Etcd {
    /// Starts a single node that serves at `address`.
    pub fn start(netns: &Netns, address: IpAddr, options: &EtcdOptions) -> Result<Self> {
        let cluster = initial("etcd", address);
        let member = Member { name: "etcd", netns, address, cluster: &cluster, heartbeat: 20 };
        let mut etcd = Self::new(&member, options)?;
        etcd.restart()?;
        if let Some(password) = &options.root_password {
            etcd.operator.enable_auth(password)?;
        }
        Ok(etcd)
    }

    /// A member that is not launched.
    pub(super) fn new(member: &Member<'_>, options: &EtcdOptions) -> Result<Self> {
        let directory = server_directory().context("make a directory for etcd")?;
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        let client = url(scheme, member.address, CLIENTS);
        let peer = url("http", member.address, PEERS);
        // Operators get in without TLS, from the server's own namespace.
        let inside = url("http", "127.0.0.1".parse()?, CLIENTS);
        let (listen, operated) = match options.tls {
            Some(_) => (format!("{client},{inside}"), inside),
            None => (client.clone(), client.clone()),
        };
        let data = directory.path().join("data");
        let mut command = vec![
            "etcd".to_owned(),
            // The cheapest there is: a password is looked at for each client.
            "--bcrypt-cost=4".to_owned(),
            format!("--name={}", member.name),
            format!("--data-dir={}", data.display()),
            format!("--listen-client-urls={listen}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={}", member.cluster),
            // Without TLS and authentication, whatever clients need.
            format!("--listen-metrics-urls={}", url("http", member.address, METRICS)),
            format!("--heartbeat-interval={}", member.heartbeat),
            format!("--election-timeout={}", member.heartbeat * 10),
            // A killed process loses nothing by it.
            "--unsafe-no-fsync".to_owned(),
            "--logger=zap".to_owned(),
            "--log-outputs=stderr".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        command.extend(options.arguments());
        let server = Server {
            name: format!("{} at {client}", member.name),
            netns: member.netns.clone(),
            command,
            ready: Question {
                to: SocketAddr::new(member.address, METRICS),
                // A full store does serve, reads.
                say: "GET /health?exclude=NOSPACE HTTP/1.0\r\n\r\n",
                wanted: "\"health\":\"true\"",
            },
            process: None,
            directory,
        };
        let operator = EtcdCtl::new(member.netns, &operated);
        Ok(Self { server, scheme, address: member.address, operator })
    }

    /// Where clients find it, as a URL.
    pub fn endpoint(&self) -> String {
        url(self.scheme, self.address, CLIENTS)
    }

    /// An operator's tool, which needs no certificate and, with authentication on, is root.
    pub fn operator(&self) -> &EtcdCtl {
        &self.operator
    }

    /// The operator's tool, to be made root.
    pub(super) fn operator_mut(&mut self) -> &mut EtcdCtl {
        &mut self.operator
    }

    /// Whether it leads its cluster, and a majority follows.
    pub fn leads(&self) -> bool {
        let to = SocketAddr::new(self.address, METRICS);
        let metrics = ask(&self.netns, to, "GET /metrics HTTP/1.0\r\n\r\n").unwrap_or_default();
        metrics.lines().any(|line| line == "etcd_server_is_leader 1")
            && self.server.ready.is_answered(&self.netns)
    }
}

impl Deref for Etcd {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Etcd {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl EtcdOptions {
    fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        if let Some(bytes) = self.quota_bytes {
            arguments.push(format!("--quota-backend-bytes={bytes}"));
        }
        if let Some(seconds) = self.token_seconds {
            arguments.push(format!("--auth-token-ttl={seconds}"));
        }
        if let Some(tls) = &self.tls {
            arguments.push(format!("--cert-file={}", tls.identity.certificate.display()));
            arguments.push(format!("--key-file={}", tls.identity.key.display()));
            if tls.client_auth {
                // The file alone would ask for certificates too.
                arguments.push(format!("--trusted-ca-file={}", tls.pki.ca().display()));
                arguments.push("--client-cert-auth".to_owned());
            }
        }
        arguments
    }
}

/// A member as `--initial-cluster` wants it.
pub(super) fn initial(name: &str, address: IpAddr) -> String {
    format!("{name}={}", url("http", address, PEERS))
}

fn url(scheme: &str, address: IpAddr, port: u16) -> String {
    format!("{scheme}://{}", SocketAddr::new(address, port))
}

const CLIENTS: u16 = 2379;
const PEERS: u16 = 2380;
const METRICS: u16 = 2381;
