//! Fleets: a registry and the configuration of the hosts in it.

mod members;

use std::{
    fmt::Write as _,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use ipnet::IpNet;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    family::Family,
    host::Host,
    instance::{FLEETS, fresh_instance, sweep},
    servers::{EtcdCtl, Kazoo},
    topology::{Site, UPLINK},
};

/// A registry with fleet settings, and room for its hosts' files.
#[derive(Debug)]
pub struct Fleet {
    dir: TempDir,
    families: Vec<Family>,
    /// `None`: a directory of the fleet's own.
    served: Option<Served>,
}

/// A registry that is kept by servers.
#[derive(Clone, Debug)]
pub struct Served {
    /// The keys of the hosts' `[registry]`, without `ttl`.
    pub table: String,
    pub operator: Operator,
}

/// How an operator reads and writes a server's keys.
#[derive(Clone, Debug)]
pub enum Operator {
    Etcd(EtcdCtl),
    ZooKeeper(Kazoo),
}

/// What the keys of the tests' fleets begin with.
pub const PREFIX: &str = "/neti";

impl Served {
    pub fn etcd(endpoints: &[String], operator: EtcdCtl) -> Self {
        let table = format!("kind = \"etcd\"\nendpoints = {endpoints:?}\n");
        Self { table, operator: Operator::Etcd(operator) }
    }

    pub fn zookeeper(endpoints: &[String], operator: Kazoo) -> Self {
        let table = format!("kind = \"zookeeper\"\nendpoints = {endpoints:?}\n");
        Self { table, operator: Operator::ZooKeeper(operator) }
    }
}

impl Operator {
    /// Writes a key of the tree.
    pub fn put(&self, key: &str, content: &str) -> Result<()> {
        let key = format!("{PREFIX}/{key}");
        match self {
            Self::Etcd(etcd) => etcd.put(&key, content),
            Self::ZooKeeper(kazoo) => kazoo.put(&key, content),
        }
    }

    /// The text of a key of the tree; `None` where there is none.
    pub fn get(&self, key: &str) -> Result<Option<String>> {
        let key = format!("{PREFIX}/{key}");
        match self {
            Self::Etcd(etcd) => etcd.get(&key),
            Self::ZooKeeper(kazoo) => kazoo.get(&key),
        }
    }

    /// Removes a key of the tree.
    pub fn delete(&self, key: &str) -> Result<()> {
        self.delete_all([key.to_owned()])
    }

    /// Removes keys of the tree at once.
    pub fn delete_all(&self, keys: impl IntoIterator<Item = String>) -> Result<()> {
        let keys: Vec<_> = keys.into_iter().map(|key| format!("{PREFIX}/{key}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        match self {
            Self::Etcd(etcd) => etcd.delete_all(&keys),
            Self::ZooKeeper(kazoo) => kazoo.delete_all(&keys),
        }
    }

    /// Writes keys of the tree at once, or nearly so.
    pub fn put_all(&self, pairs: &[(String, String)]) -> Result<()> {
        let pairs: Vec<_> =
            pairs.iter().map(|(key, value)| (format!("{PREFIX}/{key}"), value)).collect();
        let pairs = pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        match self {
            Self::Etcd(etcd) => etcd.put_all(pairs),
            Self::ZooKeeper(kazoo) => kazoo.put_all(pairs),
        }
    }
}

impl Fleet {
    /// A directory with these settings; `overlay` is the usual range of each family if they do not say.
    pub fn new(families: impl AsRef<[Family]>, settings: Value) -> Result<Self> {
        Self::on(families.as_ref(), None, settings)
    }

    /// The same on servers.
    pub fn served(families: impl AsRef<[Family]>, served: Served, settings: Value) -> Result<Self> {
        Self::on(families.as_ref(), Some(served), settings)
    }

    /// A fleet on servers whose settings are still to be written.
    pub fn unset(served: Served) -> Result<Self> {
        Self::without_settings(&[], Some(served))
    }

    fn on(families: &[Family], served: Option<Served>, settings: Value) -> Result<Self> {
        let fleet = Self::without_settings(families, served)?;
        fleet.set(settings)?;
        Ok(fleet)
    }

    fn without_settings(families: &[Family], served: Option<Served>) -> Result<Self> {
        let prefix = format!("{FLEETS}{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir()?;
        let fleet = Self { dir, families: families.to_vec(), served };
        fs::create_dir(fleet.registry())?;
        Ok(fleet)
    }

    /// Writes a served registry in another way from now on.
    pub fn operate(&mut self, operator: Operator) {
        if let Some(served) = &mut self.served {
            served.operator = operator;
        }
    }

    /// The registry's directory.
    pub fn registry(&self) -> PathBuf {
        self.dir.path().join("registry")
    }

    /// A directory for the tests' own files.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Replaces the fleet settings.
    pub fn set(&self, mut settings: Value) -> Result<()> {
        if let Some(keys) = settings.as_object_mut() {
            let ranges = || self.families.iter().map(|family| family.range()).collect::<Vec<_>>();
            keys.entry("overlay").or_insert_with(|| json!(ranges()));
        }
        self.put("fleet", &settings.to_string())
    }

    /// Writes a registry file as an operator's tool would: beside it, then renamed.
    pub fn put(&self, key: &str, content: &str) -> Result<()> {
        if let Some(served) = &self.served {
            return served.operator.put(key, content);
        }
        let path = self.registry().join(key);
        let directory = path.parent().context("a registry key has a directory")?;
        fs::create_dir_all(directory)?;
        let name = path.file_name().context("a registry key has a name")?.to_string_lossy();
        let draft = directory.join(format!(".{name}.draft"));
        fs::write(&draft, content)?;
        fs::rename(&draft, &path).with_context(|| format!("write {}", path.display()))
    }

    /// Claims all addresses of a range for hosts that do not exist, but for the first few, which it returns. The first
    /// and the last address of a range are no host's.
    pub fn fill(&self, range: IpNet, free: usize) -> Result<Vec<IpAddr>> {
        let directory = self.registry().join("overlays");
        fs::create_dir_all(&directory)?;
        let ends = [range.network(), range.broadcast()];
        let mut hosts = range.hosts().filter(|address| !ends.contains(address));
        let free = hosts.by_ref().take(free).collect();
        for (number, address) in hosts.enumerate() {
            fs::write(directory.join(address.to_string()), format!("other-{number}"))?;
        }
        Ok(free)
    }

    /// A host of this fleet at `site`; neti is not started.
    pub fn host(&self, name: &str, site: &Site) -> Result<Host> {
        self.host_with(name, site, &HostOptions::default())
    }

    /// Like [`Fleet::host`], with more configuration.
    pub fn host_with(&self, name: &str, site: &Site, options: &HostOptions) -> Result<Host> {
        sweep();
        let instance = options.instance.clone().unwrap_or_else(fresh_instance);
        let config = self.dir.path().join(format!("{name}.toml"));
        let mut text = format!(
            "instance = \"{instance}\"\nhost = \"{name}\"\nnetwork = \"{}\"\nuplink = \"{UPLINK}\"\n",
            site.network
        );
        match &site.public[..] {
            [] => {}
            [public] => writeln!(text, "public = \"{public}\"")?,
            [v4, v6, ..] => writeln!(text, "public = [\"{v4}\", \"{v6}\"]")?,
        }
        let table = match (&options.registry, &self.served) {
            (Some(table), _) => table.clone(),
            (None, Some(served)) => served.table.clone(),
            (None, None) => {
                format!("kind = \"directory\"\npath = \"{}\"\n", self.registry().display())
            }
        };
        write!(text, "{}\n[registry]\n{table}ttl = {:?}\n", options.extra, options.ttl)?;
        fs::write(&config, text)?;
        Ok(Host::new(name, site, instance, config))
    }
}

/// What differs from the usual configuration.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Seconds. Long by default, so that a machine busy with other tests loses no member.
    pub ttl: f64,
    /// Lines of TOML above `[registry]`.
    pub extra: String,
    /// A unique one if none.
    pub instance: Option<String>,
    /// The keys of `[registry]`, without `ttl`; the fleet's if none.
    pub registry: Option<String>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self { ttl: 60.0, extra: String::new(), instance: None, registry: None }
    }
}
