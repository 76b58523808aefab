//! Fleets: a directory registry and the configuration of the hosts in it.

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
    topology::{Site, UPLINK},
};

/// A directory registry with fleet settings, and room for its hosts' files.
#[derive(Debug)]
pub struct Fleet {
    dir: TempDir,
    families: Vec<Family>,
}

impl Fleet {
    /// A registry with these settings; `overlay` is the usual range of each family if they do not say.
    pub fn new(families: impl AsRef<[Family]>, settings: Value) -> Result<Self> {
        let prefix = format!("{FLEETS}{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir()?;
        let fleet = Self { dir, families: families.as_ref().to_vec() };
        fs::create_dir(fleet.registry())?;
        fleet.set(settings)?;
        Ok(fleet)
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
        let path = self.registry().join(key);
        let directory = path.parent().context("a registry key has a directory")?;
        fs::create_dir_all(directory)?;
        let name = path.file_name().context("a registry key has a name")?.to_string_lossy();
        let draft = directory.join(format!(".{name}.draft"));
        fs::write(&draft, content)?;
        fs::rename(&draft, &path).with_context(|| format!("write {}", path.display()))
    }

    /// Adds a member that runs no neti: its record is written, and stays until its ttl is over.
    pub fn add_member(&self, id: &str, overlay: IpAddr, network: &str, real: IpAddr) -> Result<()> {
        let record = json!({
            "id": id, "overlays": [overlay], "private": real, "public": null, "network": network,
            "role": "", "labels": {}, "version": "0.1.0", "generation": 1, "state": "up",
        });
        self.put(&format!("overlays/{overlay}"), id)?;
        let hosts = if overlay.is_ipv4() { "hosts" } else { "hosts6" };
        self.put(&format!("{hosts}/{id}"), &overlay.to_string())?;
        self.put(&format!("members/{id}"), &record.to_string())
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

    /// Removes a member's record.
    pub fn remove_member(&self, id: &str) -> Result<()> {
        let path = self.registry().join("members").join(id);
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
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
        let place = match &options.registry {
            Some(place) => place.clone(),
            None => format!("kind = \"directory\"\npath = \"{}\"", self.registry().display()),
        };
        write!(text, "{}\n[registry]\n{place}\nttl = {:?}\n", options.extra, options.ttl)?;
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
    /// Lines of `[registry]` that say where it is, if it is not the fleet's directory.
    pub registry: Option<String>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self { ttl: 60.0, extra: String::new(), instance: None, registry: None }
    }
}
