//! Where an instance's maps and links are pinned.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use neti_common::{maps::LAYOUT, verdict::Hook};
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::bpf;

/// Where bpffs is mounted by convention.
pub const BPFFS: &str = "/sys/fs/bpf";
/// Holds a directory per instance.
const ROOT: &str = "/sys/fs/bpf/neti";
/// What the names of the guard's links begin with, before the index of their interface.
const GUARD: &str = "guard-";

/// The paths of one instance. The layout version is part of them: no program ever meets maps of
/// another layout.
#[derive(Debug, Clone)]
pub struct Pins {
    instance: String,
    version: PathBuf,
}

impl Pins {
    pub fn new(instance: &str) -> Self {
        let version = Path::new(ROOT).join(instance).join(format!("v{LAYOUT}"));
        Self { instance: instance.to_owned(), version }
    }

    pub fn instance(&self) -> &str {
        &self.instance
    }

    pub fn maps(&self) -> PathBuf {
        self.version.join("maps")
    }

    pub fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    pub fn links(&self) -> PathBuf {
        self.version.join("links")
    }

    /// The link of the uplink's program at `hook`: `links/filter`, `links/ingress`, `links/egress`.
    pub fn link(&self, hook: Hook) -> PathBuf {
        self.links().join(hook.as_str())
    }

    /// The link of the guard on the interface `index`: `links/guard-7`.
    pub fn guard(&self, index: u32) -> PathBuf {
        self.links().join(format!("{GUARD}{index}"))
    }

    /// The interfaces that have such a link.
    pub fn guards(&self) -> Result<BTreeSet<u32>> {
        let links = list(&self.links())?;
        let names = links.iter().filter_map(|link| link.file_name()?.to_str());
        Ok(names.filter_map(|name| name.strip_prefix(GUARD)?.parse().ok()).collect())
    }

    /// The links of the program at `hook` in whatever layout version.
    pub fn links_of_all_versions(&self, hook: Hook) -> Vec<PathBuf> {
        let versions = list(&self.instance_directory()).unwrap_or_default();
        versions.into_iter().map(|version| version.join("links").join(hook.as_str())).collect()
    }

    /// Whether anything of this instance is pinned, in whatever layout version.
    pub fn exist(&self) -> bool {
        self.instance_directory().exists()
    }

    /// Detaches the programs of this instance and removes their links. Idempotent.
    pub fn remove_links(&self) -> Result<()> {
        for version in list(&self.instance_directory())? {
            for link in list(&version.join("links"))? {
                remove_link(&link)?;
            }
        }
        Ok(())
    }

    /// Removes everything of this instance. Idempotent.
    pub fn remove(&self) -> Result<()> {
        self.remove_links()?;
        remove_tree(&self.instance_directory())?;
        // Fails while another instance has its directory there, as it should.
        let _ = fs::remove_dir(ROOT);
        Ok(())
    }

    fn instance_directory(&self) -> PathBuf {
        Path::new(ROOT).join(&self.instance)
    }
}

/// Detaches the link pinned at `path` and removes its pin.
pub fn remove_link(path: &Path) -> Result<()> {
    if let Err(error) = bpf::detach_link(path) {
        // A link that cannot be detached (its interface is gone) goes with its pin all the same.
        tracing::debug!("detaching {}: {error}", path.display());
    }
    fs::remove_file(path).with_context(|| format!("removing {}", path.display()))
}

/// The instances that have something pinned.
pub fn instances() -> Vec<String> {
    let Ok(entries) = fs::read_dir(ROOT) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Mounts the bpf file system if it is not mounted.
pub fn mount_bpffs() -> Result<()> {
    if is_mounted()? {
        return Ok(());
    }
    let none: Option<&str> = None;
    mount(Some("bpf"), BPFFS, Some("bpf"), MsFlags::empty(), none).map_err(|error| {
        anyhow!(
            "{BPFFS}: no bpf file system is mounted, and mounting it, which needs CAP_SYS_ADMIN, \
             failed: {error}; run `mount -t bpf bpf {BPFFS}`"
        )
    })?;
    // `ip netns exec` is how one comes to this: it hides the host's /sys.
    if !shares_mounts_with_init() {
        tracing::warn!(
            "{BPFFS}: mounted in this mount namespace alone; the dataplane ends with it. Run \
             `mount -t bpf bpf {BPFFS}` on the host, and neti by `nsenter --net`"
        );
    }
    Ok(())
}

fn shares_mounts_with_init() -> bool {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    namespace("self") == namespace("1")
}

/// Whether the bpf file system is mounted.
pub fn is_mounted() -> Result<bool> {
    let mounted = statfs(BPFFS).with_context(|| format!("{BPFFS}: does this kernel have bpf?"))?;
    Ok(mounted.filesystem_type() == BPF_FS_MAGIC)
}

/// What is in a directory; nothing if there is none.
fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries
            .map(|entry| Ok(entry?.path()))
            .collect::<io::Result<_>>()
            .with_context(|| format!("listing {}", directory.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("listing {}", directory.display())),
    }
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}
