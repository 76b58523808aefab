//! Writes into a directory.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::synthetic::Member;

/// Where nobody reads yet.
pub fn put(root: &Path, members: &[Member]) -> Result<()> {
    members.iter().try_for_each(|member| {
        let path = root.join("members").join(member.id());
        fs::write(&path, member.record()).with_context(|| format!("write {}", path.display()))
    })
}

/// As a host would: beside it, then renamed.
pub fn replace(root: &Path, member: &Member) -> Result<()> {
    let members = root.join("members");
    let draft = members.join(format!(".{}.draft", member.id()));
    fs::write(&draft, member.record())?;
    fs::rename(&draft, members.join(member.id()))
        .with_context(|| format!("rename {}", draft.display()))
}
