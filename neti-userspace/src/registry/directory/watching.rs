//! Which files of the tree change, by inotify. It does not see what other hosts do on a network
//! file system, and its queue can overflow: the observer lists the tree from time to time as well.

use std::{
    collections::BTreeSet,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::Tree;

pub struct Watching {
    tree: Tree,
    /// What the watched paths were when the watch began.
    nodes: [Node; 2],
    events: Receiver<Heard>,
    _watcher: RecommendedWatcher,
}

/// What has changed since it was asked last.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Names under `members`.
    pub members: BTreeSet<String>,
    /// The settings or the confirmation.
    pub fleet: bool,
    /// Anything may have changed.
    pub everything: bool,
    /// When the first of it was heard of.
    pub heard: Option<Instant>,
}

/// An event, and when it came.
type Heard = (Instant, notify::Result<Event>);

/// A file's device and inode.
type Node = (u64, u64);

impl Watching {
    pub fn start(tree: &Tree) -> Result<Self> {
        let nodes = nodes(tree)?;
        let (sender, events) = channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Opening and reading are reported as well, our own not excepted.
            if !matches!(event, Ok(Event { kind: EventKind::Access(_), .. })) {
                // Nobody listens any more: the watcher is about to be dropped.
                let _ = sender.send((Instant::now(), event));
            }
        })?;
        for path in [&tree.root, &tree.members] {
            watcher
                .watch(path, RecursiveMode::NonRecursive)
                .with_context(|| format!("{}: cannot be watched", path.display()))?;
        }
        Ok(Self { tree: tree.clone(), nodes, events, _watcher: watcher })
    }

    /// Whether the paths still lead to what is watched; a watch stays with a directory that was
    /// moved away or has another mounted over it.
    pub fn is_current(&self) -> Result<bool> {
        Ok(nodes(&self.tree)? == self.nodes)
    }

    /// Waits for a change for at most `patience`, and answers with all there are.
    pub fn wait(&self, patience: Duration) -> Touched {
        let mut touched = Touched::default();
        match self.events.recv_timeout(patience) {
            Ok(event) => self.note(event, &mut touched),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                // notify's thread has ended: go on with listing alone.
                std::thread::sleep(patience);
                touched.everything = true;
            }
        }
        while let Ok(event) = self.events.try_recv() {
            self.note(event, &mut touched);
        }
        touched
    }

    fn note(&self, (at, event): Heard, touched: &mut Touched) {
        touched.heard.get_or_insert(at);
        let Ok(event) = event else {
            touched.everything = true;
            return;
        };
        touched.everything |= event.need_rescan();
        for path in event.paths {
            if path == self.tree.fleet || path == self.tree.confirmed {
                touched.fleet = true;
            } else if path == self.tree.members || path == self.tree.root {
                touched.everything = true;
            } else if let Some(name) = member(&self.tree.members, &path) {
                touched.members.insert(name);
            }
        }
    }
}

fn member(members: &Path, path: &Path) -> Option<String> {
    let name = path.strip_prefix(members).ok()?.to_string_lossy().into_owned();
    (!name.starts_with('.')).then_some(name)
}

fn nodes(tree: &Tree) -> Result<[Node; 2]> {
    let node = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).with_context(|| path.display().to_string())?;
        Ok::<_, anyhow::Error>((metadata.dev(), metadata.ino()))
    };
    Ok([node(&tree.root)?, node(&tree.members)?])
}
