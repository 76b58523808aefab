//! Files that appear whole or not at all: written under a name with a dot, which no reader looks
//! at, then renamed.

use std::{
    fs::{File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::SystemTime,
};

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

/// Writes `directory/name`, whether or not it is there.
pub fn write(directory: &Path, name: &str, content: &[u8]) -> Result<()> {
    let path = directory.join(name);
    let written = temporary(directory, content)
        .and_then(|file| file.persist(&path).map_err(|error| error.error));
    written.map(drop).with_context(|| format!("{}: cannot be written", path.display()))
}

/// Writes `directory/name` unless it is there, and answers whether it did. It stays over a crash of
/// the machine, and of any number of callers one alone succeeds.
pub fn create(directory: &Path, name: &str, content: &[u8]) -> Result<bool> {
    let path = directory.join(name);
    let create = || {
        let file = temporary(directory, content)?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(&path) {
            Ok(_) => {}
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            Err(error) => return Err(error.error),
        }
        File::open(directory)?.sync_all()?;
        Ok(true)
    };
    create().with_context(|| format!("{}: cannot be created", path.display()))
}

/// The content of a small file, trimmed; `None` where there is none.
pub fn read(directory: &Path, name: &str) -> Result<Option<String>> {
    let bytes = read_bytes(directory, name)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned()))
}

/// The same as it stands there.
pub fn read_bytes(directory: &Path, name: &str) -> Result<Option<Vec<u8>>> {
    let path = directory.join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
    }
}

/// Removes `directory/name`; that it is not there is no error.
pub fn remove(directory: &Path, name: &str) -> Result<()> {
    let path = directory.join(name);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// The names in `directory`, without those that are being written.
pub fn names(directory: &Path) -> Result<Vec<String>> {
    let list = || {
        let names = std::fs::read_dir(directory)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .filter(|name| !matches!(name, Ok(name) if name.starts_with('.')));
        names.collect::<io::Result<Vec<_>>>()
    };
    list().with_context(|| format!("{}: cannot be listed", directory.display()))
}

/// The time by the clock that gives the files in `directory` theirs.
pub fn now(directory: &Path) -> Result<SystemTime> {
    let now = || temporary(directory, &[])?.as_file().metadata()?.modified();
    now().with_context(|| format!("{}: cannot be written to", directory.display()))
}

fn temporary(directory: &Path, content: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(".")
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(directory)?;
    file.write_all(content)?;
    Ok(file)
}
