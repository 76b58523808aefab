//! `neti fleet set`: from the settings that stand there and what is asked for to the new ones, which
//! are validated and looked at for what they would take away before they are written.

mod change;
mod loss;

use std::{
    io::{Read, Write},
    path::Path,
};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use crate::{
    cli::FleetSet,
    fleet::FleetSettings,
    registry::{Registry, Settings},
};

/// What errors call the settings of the registry.
pub const NAME: &str = "fleet settings";

pub async fn run(out: &mut impl Write, registry: &impl Registry, args: &FleetSet) -> Result<()> {
    let stands = registry.settings().await?;
    let before = stands.as_ref().map(|settings| change::object(&settings.text));
    let (name, text) = match &args.file {
        Some(file) => read(file)?,
        None => (NAME.to_owned(), changed(before.as_ref(), &args.changes)?),
    };
    let new = FleetSettings::parse(&name, text.as_bytes())?;
    let after = change::object(text.as_bytes()).with_context(|| name.clone())?;

    let known = before.as_ref().and_then(|before| before.as_ref().ok());
    let none = Map::new();
    let changes = change::differences(known.unwrap_or(&none), &after);
    let broken = before.as_ref().is_some_and(Result::is_err);
    if changes.is_empty() && !broken {
        // The registry makes what it lacks all the same.
        if let (Some(Settings { text, version }), false) = (&stands, args.dry_run) {
            registry.set_settings(&String::from_utf8_lossy(text), Some(*version)).await?;
        }
        return Ok(writeln!(out, "nothing changed")?);
    }
    if !args.force {
        refuse_loss(registry, &name, stands.as_ref(), &new).await?;
    }
    if !args.dry_run {
        registry.set_settings(&text, stands.map(|settings| settings.version)).await?;
    }
    if broken {
        writeln!(out, "the settings that stood there were no JSON object; all are replaced")?;
    }
    for change in changes {
        writeln!(out, "{change}")?;
    }
    if args.dry_run {
        writeln!(out, "not written (--dry-run)")?;
    }
    Ok(())
}

/// The new text: of the settings that stand there with some keys changed.
fn changed(before: Option<&Result<Map<String, Value>>>, changes: &[String]) -> Result<String> {
    let before = match before {
        None => Map::new(),
        Some(Ok(before)) => before.clone(),
        Some(Err(error)) => bail!(
            "{NAME}: {error:#}, so no key can be changed in them; replace them with `neti fleet set \
             --file`"
        ),
    };
    Ok(format!("{:#}\n", Value::Object(change::apply(before, changes)?)))
}

/// What errors call the file, and its content.
fn read(file: &Path) -> Result<(String, String)> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("reading standard input")?;
        return Ok(("standard input".to_owned(), text));
    }
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file);
    Ok((name.clone(), text.with_context(|| format!("{name}: cannot be read"))?))
}

/// Fails if the new settings take away what hosts have. Settings that cannot be read took nothing
/// into force, so that nothing is compared with them but the claims.
async fn refuse_loss(
    registry: &impl Registry,
    file: &str,
    stands: Option<&Settings>,
    new: &FleetSettings,
) -> Result<()> {
    let old = stands.and_then(|stands| FleetSettings::parse(NAME, &stands.text).ok());
    if old.as_ref().is_none_or(|old| old.overlay != new.overlay) {
        loss::of_addresses(file, old.as_ref(), new, &registry.claims().await?)?;
    }
    if let Some(old) = old.filter(|old| old.networks != new.networks) {
        let fleet = registry.watch().await?.borrow().clone();
        loss::of_networks(file, &old, new, &fleet.members)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
