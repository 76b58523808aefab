//! Members that run no neti: what a host knows of them is what is written here.

use std::{fs, net::IpAddr};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::Fleet;

impl Fleet {
    /// Adds a member that runs no neti: its record is written, and stays until its ttl is over.
    pub fn add_member(&self, id: &str, overlay: IpAddr, network: &str, real: IpAddr) -> Result<()> {
        self.add_members([(id, overlay, real)], network)
    }

    /// The same with many, each with an id, an overlay and a real address.
    pub fn add_members<'a>(
        &self,
        members: impl IntoIterator<Item = (&'a str, IpAddr, IpAddr)>,
        network: &str,
    ) -> Result<()> {
        let mut pairs = Vec::new();
        for (id, overlay, real) in members {
            let record = record(id, overlay, network, real);
            pairs.extend(claim(id, overlay));
            pairs.push((format!("members/{id}"), record.to_string()));
        }
        self.put_all(&pairs)
    }

    /// Claims an address for a host, which takes it when it starts.
    pub fn claim(&self, id: &str, overlay: IpAddr) -> Result<()> {
        self.put_all(&claim(id, overlay))
    }

    fn put_all(&self, pairs: &[(String, String)]) -> Result<()> {
        match &self.served {
            Some(served) => served.operator.put_all(pairs),
            None => pairs.iter().try_for_each(|(key, value)| self.put(key, value)),
        }
    }

    /// Adds very many members to a directory that no host looks at yet: none can see half of a record. Nobody claims their
    /// addresses: a host of this fleet should have one of its own ([`Fleet::claim`]), or it may take one of theirs.
    pub fn populate<'a>(
        &self,
        members: impl IntoIterator<Item = (&'a str, IpAddr, IpAddr)>,
        network: &str,
    ) -> Result<()> {
        let directory = self.registry().join("members");
        fs::create_dir_all(&directory)?;
        for (id, overlay, real) in members {
            fs::write(directory.join(id), record(id, overlay, network, real).to_string())?;
        }
        Ok(())
    }

    /// The same members as another directory has: hard links to its files.
    pub fn populate_like(&self, other: &Self) -> Result<()> {
        let (theirs, ours) = (other.registry().join("members"), self.registry().join("members"));
        fs::create_dir_all(&ours)?;
        for entry in fs::read_dir(&theirs).with_context(|| format!("list {}", theirs.display()))? {
            let entry = entry?;
            fs::hard_link(entry.path(), ours.join(entry.file_name()))?;
        }
        Ok(())
    }

    /// Removes a member's record.
    pub fn remove_member(&self, id: &str) -> Result<()> {
        if let Some(served) = &self.served {
            return served.operator.delete(&format!("members/{id}"));
        }
        let path = self.registry().join("members").join(id);
        fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))
    }
}

/// The keys that give a host its address.
fn claim(id: &str, overlay: IpAddr) -> [(String, String); 2] {
    let hosts = if overlay.is_ipv4() { "hosts" } else { "hosts6" };
    [(format!("overlays/{overlay}"), id.to_owned()), (format!("{hosts}/{id}"), overlay.to_string())]
}

/// What a member says of itself.
fn record(id: &str, overlay: IpAddr, network: &str, real: IpAddr) -> Value {
    json!({
        "id": id, "overlays": [overlay], "private": real, "public": null,
        "network": network, "role": "", "labels": {}, "version": "0.1.0",
        "generation": 1, "state": "up",
    })
}
