//! The registry's side of the simulation: a server, and who writes into it.

mod directory;
mod etcd;
mod zookeeper;

use std::{fs, net::IpAddr, path::PathBuf};

use anyhow::Result;
use harness::{
    netns::Netns,
    servers::{Etcd, EtcdOptions, ZooKeeper, ZooKeeperOptions},
};

use crate::synthetic::{Member, settings};

/// The prefix of all keys.
const PREFIX: &str = "/neti";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    Etcd,
    ZooKeeper,
}

impl Kind {
    pub fn parse(name: &str) -> Result<Self, &'static str> {
        match name {
            "directory" => Ok(Self::Directory),
            "etcd" => Ok(Self::Etcd),
            "zookeeper" => Ok(Self::ZooKeeper),
            _ => Err("give etcd, zookeeper or directory"),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Etcd => "etcd",
            Self::ZooKeeper => "zookeeper",
        }
    }
}

/// A registry that serves.
pub enum Server {
    Directory(PathBuf),
    Etcd(Etcd),
    ZooKeeper(ZooKeeper),
}

impl Server {
    /// At `address` of `netns`; `directory` is where one without a server is.
    pub fn start(kind: Kind, netns: &Netns, address: IpAddr, directory: PathBuf) -> Result<Self> {
        Ok(match kind {
            Kind::Directory => Self::Directory(directory),
            Kind::Etcd => Self::Etcd(Etcd::start(netns, address, &EtcdOptions::default())?),
            Kind::ZooKeeper => {
                Self::ZooKeeper(ZooKeeper::start(netns, address, &ZooKeeperOptions::default())?)
            }
        })
    }

    /// The keys of a host's table `registry`, without `ttl`.
    pub fn table(&self) -> String {
        match self {
            Self::Directory(path) => {
                format!("kind = \"directory\"\npath = \"{}\"\n", path.display())
            }
            Self::Etcd(etcd) => table("etcd", &etcd.endpoint()),
            Self::ZooKeeper(zookeeper) => table("zookeeper", &zookeeper.endpoint()),
        }
    }

    /// Someone who writes into it, from the namespace of the caller.
    pub async fn writer(&self) -> Result<Writer> {
        Ok(match self {
            Self::Directory(path) => Writer::Directory(path.clone()),
            Self::Etcd(etcd) => Writer::Etcd(Box::new(etcd::connect(&etcd.endpoint()).await?)),
            Self::ZooKeeper(server) => {
                Writer::ZooKeeper(zookeeper::connect(&server.endpoint()).await?)
            }
        })
    }
}

/// The keys of a table `registry` that names one server.
pub fn table(kind: &str, endpoint: &str) -> String {
    format!("kind = \"{kind}\"\nendpoints = [\"{endpoint}\"]\n")
}

/// Writes records as hosts would.
pub enum Writer {
    Directory(PathBuf),
    Etcd(Box<etcd_client::Client>),
    ZooKeeper(zookeeper_client::Client),
}

impl Writer {
    /// Puts the settings and all members into an empty registry; `progress` is told how many there are so far.
    pub async fn fill(
        &self,
        members: &[Member],
        mut progress: impl FnMut(usize) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Directory(path) => {
                fs::create_dir_all(path.join("members"))?;
                fs::write(path.join("fleet"), settings())?;
            }
            Self::Etcd(client) => etcd::begin(client).await?,
            Self::ZooKeeper(client) => zookeeper::begin(client).await?,
        }
        let mut done = 0;
        for some in members.chunks(self.at_once()) {
            match self {
                Self::Directory(path) => directory::put(path, some)?,
                Self::Etcd(client) => etcd::create(client, some).await?,
                Self::ZooKeeper(client) => zookeeper::create(client, some).await?,
            }
            done += some.len();
            progress(done)?;
        }
        Ok(())
    }

    /// Writes the record of a member that is there, and comes back when that is acknowledged.
    pub async fn change(&self, member: &Member) -> Result<()> {
        match self {
            Self::Directory(path) => directory::replace(path, member),
            Self::Etcd(client) => etcd::put(client, member).await,
            Self::ZooKeeper(client) => zookeeper::set(client, member).await,
        }
    }

    /// Writes the records of members that are there, in as few transactions as that takes.
    pub async fn change_all(&self, members: &[Member]) -> Result<()> {
        for some in members.chunks(self.at_once()) {
            match self {
                Self::Directory(path) => {
                    some.iter().try_for_each(|member| directory::replace(path, member))?;
                }
                Self::Etcd(client) => etcd::create(client, some).await?,
                Self::ZooKeeper(client) => zookeeper::set_all(client, some).await?,
            }
        }
        Ok(())
    }

    /// How many records are written in one transaction.
    fn at_once(&self) -> usize {
        match self {
            Self::Directory(_) => 1000,
            Self::Etcd(_) => etcd::AT_ONCE,
            Self::ZooKeeper(_) => zookeeper::AT_ONCE,
        }
    }
}
