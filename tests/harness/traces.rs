//! What would stay on the machine if something were not cleaned up.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::host::{Fleet, Host, PINS, RUN};

/// The files of a fleet and its hosts; by default of none. Made while they exist, asked once they are dropped.
#[derive(Debug, Default)]
pub struct Traces {
    files: Vec<PathBuf>,
}

impl Traces {
    pub fn of<'a>(fleet: &Fleet, hosts: impl IntoIterator<Item = &'a Host>) -> Self {
        Self::default().and(fleet, hosts)
    }

    /// Those of another fleet too.
    pub fn and<'a>(mut self, fleet: &Fleet, hosts: impl IntoIterator<Item = &'a Host>) -> Self {
        self.files.push(fleet.dir().to_owned());
        for host in hosts {
            let instance = &host.instance;
            self.files.push(Path::new(PINS).join(instance));
            self.files.push(Path::new(RUN).join(instance));
            self.files.push(Path::new(RUN).join(format!("{instance}.lock")));
        }
        self
    }

    /// Those that still exist, and programs and namespaces that this process still holds.
    pub fn left(&self) -> Vec<String> {
        let mut left: Vec<String> = self
            .files
            .iter()
            .filter(|path| path.exists())
            .map(|path| path.display().to_string())
            .collect();
        for thread in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            left.extend(children.split_whitespace().map(|pid| format!("process {pid}")));
        }
        // A namespace lives as long as a descriptor or a process holds it.
        for descriptor in fs::read_dir("/proc/self/fd").into_iter().flatten().flatten() {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            if target.to_string_lossy().starts_with("net:") {
                left.push(format!("namespace {}", target.display()));
            }
        }
        left
    }
}
