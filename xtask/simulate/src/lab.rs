//! The one host, the registry and what is between them.

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    process::Stdio,
};

use anyhow::{Result, ensure};
use harness::{
    PATIENCE,
    family::Family,
    host::{Fleet, Host, HostOptions},
    netns::Netns,
    process::Process,
    servers::Etcd,
    topology::{LAN, Lan},
    traces::Traces,
    within,
};
use serde_json::json;

use crate::{
    registry::{self, Kind, Server},
    synthetic::{HERE, OWN_RANGE},
};

/// Everything. Dropped in this order: the host leaves a registry that still serves.
pub struct Lab {
    pub host: Host,
    pub server: Server,
    _proxy: Option<Process>,
    /// From where records are written.
    pub operator: Netns,
    fleet: Fleet,
    _lan: Lan,
}

impl Lab {
    /// The registry serves, and is empty; neti is not started, and will reach etcd through a proxy if `proxied`.
    pub fn new(kind: Kind, proxied: bool) -> Result<Self> {
        let family = Family::V4;
        let lan = Lan::new(HERE, family)?;
        let (site, place) = (lan.attach("host", 10)?, lan.attach("registry", 20)?);
        let fleet = Fleet::new(family, json!({ "overlay": [OWN_RANGE] }))?;
        let at = LAN.host(family, 20);
        let server = Server::start(kind, &place.netns, at, fleet.registry())?;
        let proxy = match &server {
            Server::Etcd(etcd) if proxied => Some(proxy(etcd, &place.netns, at)?),
            _ => None,
        };
        let (proxy, table) = match proxy {
            Some((proxy, endpoint)) => (Some(proxy), registry::table("etcd", &endpoint)),
            None => (None, server.table()),
        };
        let options = HostOptions {
            // A directory's members show no sign of life after they were written.
            ttl: if kind == Kind::Directory { 86_400.0 } else { 10.0 },
            registry: Some(table),
            ..HostOptions::default()
        };
        let host = fleet.host_with("simulated", &site, &options)?;
        Ok(Self { host, server, _proxy: proxy, operator: place.netns, fleet, _lan: lan })
    }

    /// What this lab leaves on the machine until it is dropped.
    pub fn traces(&self) -> Traces {
        Traces::of(&self.fleet, [&self.host])
    }
}

/// etcd's grpc-proxy, and where clients find it. It keeps nothing.
fn proxy(etcd: &Etcd, netns: &Netns, address: IpAddr) -> Result<(Process, String)> {
    let at = SocketAddr::new(address, 23790);
    let mut command = netns.command("etcd");
    command.args(["grpc-proxy", "start", "--endpoints", &etcd.endpoint()]);
    command.args(["--listen-addr", &at.to_string(), "--advertise-client-url", &at.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let proxy = netns.spawn(command)?;
    let listens = || netns.run(|| TcpStream::connect(at)).is_ok();
    ensure!(within(PATIENCE, listens), "etcd grpc-proxy at {at} does not listen");
    Ok((proxy, format!("http://{at}")))
}
