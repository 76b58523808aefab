//! A registry in a directory, and what a command prints of it.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::Result;
use tempfile::TempDir;

use crate::{
    cli::{ConfigFile, Printing},
    membership::MemberRecord,
    registry::directory::Directory,
};

pub const TABLE: Printing = Printing { json: false, pretty: false };
pub const JSON: Printing = Printing { json: true, pretty: false };

/// What a command prints.
pub async fn printed(run: impl AsyncFnOnce(&mut Vec<u8>) -> Result<()>) -> Result<String> {
    let mut out = Vec::new();
    run(&mut out).await?;
    Ok(String::from_utf8(out)?)
}

pub struct Sample(TempDir);

/// A registry with this text as its settings.
pub fn registry(settings: &str) -> Sample {
    let sample = Sample(tempfile::tempdir().unwrap());
    for directory in ["members", "overlays", "hosts", "hosts6"] {
        fs::create_dir(sample.path(directory)).unwrap();
    }
    sample.write("fleet", settings);
    sample
}

/// A command is given the registry; the file that names it is of no matter.
pub fn config() -> ConfigFile {
    ConfigFile { config: "/nowhere".into() }
}

impl Sample {
    pub fn open(&self) -> Directory {
        Directory::open(self.0.path(), Duration::from_secs(60)).unwrap()
    }

    pub fn path(&self, key: &str) -> PathBuf {
        self.0.path().join(key)
    }

    pub fn write(&self, key: &str, text: &str) {
        fs::write(self.path(key), text).unwrap();
    }

    pub fn read(&self, key: &str) -> String {
        fs::read_to_string(self.path(key)).unwrap()
    }

    pub fn member(&self, record: &MemberRecord) {
        let text = serde_json::to_string(record).unwrap();
        self.write(&format!("members/{}", record.id), &text);
    }

    /// Locks an IPv4 overlay address to a host.
    pub fn claimed(&self, host: &str, address: &str) {
        self.write(&format!("overlays/{address}"), host);
        self.write(&format!("hosts/{host}"), address);
    }
}
