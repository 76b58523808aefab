//! The fleet settings, read and written by `neti fleet set`.

use std::{
    fs::OpenOptions,
    hash::{DefaultHasher, Hash, Hasher},
    io,
};

use anyhow::{Context, Error, Result};
use nix::fcntl::{Flock, FlockArg};

use super::{Tree, files};
use crate::registry::{RegistryError, Settings};

/// The settings' text; its version is a hash of it.
pub fn read(tree: &Tree) -> Result<Option<Settings>> {
    match std::fs::read(&tree.fleet) {
        Ok(text) => Ok(Some(Settings { version: version(&text), text })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(error).with_context(|| format!("{}: cannot be read", tree.fleet.display()))
        }
    }
}

/// Writes the settings if they are of this version. A lock keeps others who do so away; an editor
/// does not ask for it.
pub fn write(tree: &Tree, text: &str, expected: Option<u64>) -> Result<()> {
    let path = tree.root.join(LOCK);
    let file = OpenOptions::new().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("{}: cannot be opened", path.display()))?;
    let _lock = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .with_context(|| format!("{}: cannot be locked", path.display()))?;
    if read(tree)?.map(|settings| settings.version) != expected {
        let file = tree.fleet.display();
        return Err(Error::new(RegistryError::Changed(format!(
            "{file}: somebody else has changed it in the meantime; look at it and try again"
        ))));
    }
    files::write(&tree.root, "fleet", text.as_bytes())
}

/// Names with a dot are no part of the registry.
const LOCK: &str = ".fleet.lock";

fn version(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
