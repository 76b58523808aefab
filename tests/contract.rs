//! Promise: every registry keeps the same contract, on real servers.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::Result;
use harness::{
    family::{Family, addr_add},
    fleet::Served,
    netns::Netns,
    servers::{Etcd, EtcdOptions, Pki, ZooKeeper, ZooKeeperOptions},
};
use neti_userspace::{
    config::Config,
    registry::{
        self, Registry,
        contract::{self, Bench, Tree},
    },
};

/// Servers have a namespace of their own, with one of these addresses. Operators are on 127.0.0.1.
const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));

fn place(address: IpAddr) -> Result<Netns> {
    let netns = Netns::new("registry")?;
    if address.is_ipv6() {
        netns.enable_ipv6()?;
    }
    netns.ip(addr_add(address, Family::of(address).bits(), "lo").trim())?;
    Ok(netns)
}

/// A server in which every test has a prefix of its own.
struct Server {
    served: Served,
    number: AtomicU32,
}

/// The tree under a prefix.
struct Prefix {
    served: Served,
    prefix: String,
}

impl Bench for Server {
    type Tree = Prefix;

    async fn fresh(&self) -> Result<Prefix> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        Ok(Prefix { served: self.served.clone(), prefix: format!("/neti/tree-{number}") })
    }
}

impl Prefix {
    fn key(&self, key: &str) -> String {
        let prefix = self.prefix.strip_prefix("/neti/").unwrap_or_default();
        format!("{prefix}/{key}")
    }
}

impl Tree for Prefix {
    fn open(&self, ttl: Duration) -> Result<impl Registry + 'static> {
        let text = format!(
            "network = \"ec2\"\nuplink = \"eth0\"\n[registry]\n{}prefix = \"{}\"\nttl = {}\n",
            self.served.table,
            self.prefix,
            ttl.as_secs_f64()
        );
        Ok(registry::open(&Config::parse("contract", &text, "hudson")?)?)
    }

    async fn put(&self, key: &str, text: &str) -> Result<()> {
        let (operator, key, text) = (self.served.operator.clone(), self.key(key), text.to_owned());
        tokio::task::spawn_blocking(move || operator.put(&key, &text)).await?
    }

    async fn remove(&self, key: &str) -> Result<()> {
        let (operator, key) = (self.served.operator.clone(), self.key(key));
        tokio::task::spawn_blocking(move || operator.delete(&key)).await?
    }
}

fn check(netns: &Netns, served: Served) -> Result<()> {
    let server = Server { served, number: AtomicU32::new(0) };
    netns.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            // A server's first handshake may take seconds on a busy machine, which is not what is tested.
            let first = server.fresh().await?.open(Duration::from_secs(2))?;
            registry::retry::until_reached(|| first.settings()).await?;
            drop(first);
            contract::check(&server).await
        })
    })
}

#[test]
fn etcd() -> Result<()> {
    let netns = place(V4)?;
    let server = Etcd::start(&netns, V4, &EtcdOptions::default())?;
    check(&netns, Served::etcd(&[server.endpoint()], server.operator().clone()))
}

#[test]
fn zookeeper() -> Result<()> {
    let netns = place(V4)?;
    let server = ZooKeeper::start(&netns, V4, &ZooKeeperOptions::default())?;
    check(&netns, Served::zookeeper(&[server.endpoint()], server.operator()))
}

/// With TLS, a certificate of the client's own, and a password, over IPv6.
#[test]
fn etcd_with_all_locks_on() -> Result<()> {
    let netns = place(V6)?;
    let pki = Pki::new()?;
    let options = EtcdOptions {
        tls: Some(pki.server(&[&V6.to_string()], true)?),
        root_password: Some("root".to_owned()),
        ..EtcdOptions::default()
    };
    let server = Etcd::start(&netns, V6, &options)?;
    let operator = server.operator().clone();
    operator.add_user("neti", Some("secret"), &[("readwrite", "/neti/")])?;
    let mut served = Served::etcd(&[server.endpoint()], operator);
    let secret = tempfile::NamedTempFile::new()?;
    std::fs::write(secret.path(), "secret\n")?;
    served.table += &pki.client("neti")?.table();
    served.table += &credentials(secret.path());
    check(&netns, served)
}

#[test]
fn zookeeper_with_all_locks_on() -> Result<()> {
    let netns = place(V6)?;
    let pki = Pki::new()?;
    let options = ZooKeeperOptions {
        tls: Some(pki.server(&[&V6.to_string()], true)?),
        ..ZooKeeperOptions::default()
    };
    let server = ZooKeeper::start(&netns, V6, &options)?;
    let mut served = Served::zookeeper(&[server.endpoint()], server.operator());
    let secret = tempfile::NamedTempFile::new()?;
    std::fs::write(secret.path(), "secret\n")?;
    served.table += &pki.client("neti")?.table();
    served.table += &credentials(secret.path());
    check(&netns, served)
}

fn credentials(secret: &Path) -> String {
    format!("user = \"neti\"\npassword_file = \"{}\"\n", secret.display())
}
