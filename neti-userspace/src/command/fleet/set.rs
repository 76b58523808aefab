//! `neti fleet set`: from the settings that stand there and what is asked for to the new ones, which
//! are validated and looked at for what they would take away before they are written.

mod change;
mod cut;
mod difference;
pub mod here;
mod loss;
mod refusal;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    path::Path,
};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use self::{here::Here, refusal::Refusal};
use crate::{
    cli::FleetSet,
    fleet::{FleetSettings, warnings},
    membership::Members,
    registry::{Registry, Settings},
};

/// What errors call the settings of the registry.
pub const NAME: &str = "fleet settings";

pub async fn run(
    out: &mut impl Write,
    registry: &impl Registry,
    here: &Here,
    args: &FleetSet,
) -> Result<()> {
    let stands = registry.settings().await?;
    let before = stands.as_ref().map(|settings| change::object(&settings.text));
    let (name, text, new) = match &args.file {
        Some(file) => {
            let (name, text) = read(file)?;
            let new = FleetSettings::parse_file(&name, text.as_bytes())?;
            (name, text, new)
        }
        None => {
            let settings = changed(before.as_ref(), &args.changes)?;
            // Nobody has seen the lines of this text, so that errors tell none of a single one.
            let new = FleetSettings::parse(NAME, settings.to_string().as_bytes())?;
            (NAME.to_owned(), format!("{settings:#}\n"), new)
        }
    };
    let after = change::object(text.as_bytes()).with_context(|| name.clone())?;

    let known = before.as_ref().and_then(|before| before.as_ref().ok());
    let none = Map::new();
    let changes = difference::lines(known.unwrap_or(&none), &after);
    let broken = before.as_ref().is_some_and(Result::is_err);
    if changes.is_empty() && !broken {
        // The registry makes what it lacks all the same.
        if let (Some(Settings { text, version }), false) = (&stands, args.dry_run) {
            registry.set_settings(&String::from_utf8_lossy(text), Some(*version)).await?;
        }
        return Ok(writeln!(out, "nothing changed")?);
    }
    let old = stands.as_ref().and_then(|stands| FleetSettings::parse(NAME, &stands.text).ok());
    let members = match &old {
        Some(_) => members(registry, args.force).await?,
        // Nobody follows a registry whose settings are none.
        None => Members::new(),
    };
    let enforcing = cut::enforcing(&new);
    if let (Some(key), true, None, false) = (enforcing.first(), stands.is_some(), &old, args.force)
    {
        bail!(
            "{name}: {key}: the settings that stand there cannot be read, so that nobody knows whom these would \
             cut off, while hosts go on with the last good ones; mend them with mode observe first, or --force"
        );
    }
    for warning in warnings(&new, &members) {
        eprintln!("neti: warning: {name}: {warning}");
    }
    let mut refused = match losses(registry, old.as_ref(), &new, &members).await {
        Err(error) if args.force => {
            eprintln!("neti: what hosts would lose is not looked at: {error:#}");
            Vec::new()
        }
        losses => losses?,
    };
    refused.extend(cuts(old.as_ref(), &new, &members, here));
    if !refused.is_empty() && !args.force {
        let lines: Vec<_> = refused.iter().map(|refusal| format!("{name}: {refusal}")).collect();
        bail!("{}", lines.join("\n"));
    }
    if !args.dry_run {
        registry.set_settings(&text, stands.map(|settings| settings.version)).await?;
    }
    for Refusal { what, .. } in refused {
        eprintln!("neti: forced: {name}: {what}");
    }
    if broken {
        writeln!(out, "the settings that stood there could not be read; all are replaced")?;
    }
    for change in changes {
        writeln!(out, "{change}")?;
    }
    if args.dry_run {
        writeln!(out, "not written (--dry-run)")?;
    }
    Ok(())
}

/// The settings that stand there with some keys changed.
fn changed(before: Option<&Result<Map<String, Value>>>, changes: &[String]) -> Result<Value> {
    let before = match before {
        None => Map::new(),
        Some(Ok(before)) => before.clone(),
        Some(Err(error)) => bail!(
            "{NAME}: {error:#}, so no key can be changed in them; replace them with `neti fleet set \
             --file`"
        ),
    };
    Ok(Value::Object(change::apply(before, changes)?))
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

/// The members, as far as they can be had: who forces a change does not wait for them.
async fn members(registry: &impl Registry, force: bool) -> Result<Members> {
    match registry.watch().await {
        Ok(fleet) => Ok(fleet.borrow().members.clone()),
        Err(error) if force => {
            eprintln!("neti: the members are not looked at: {error:#}");
            Ok(Members::new())
        }
        Err(error) => Err(error.into()),
    }
}

/// What hosts have and the new settings take away. Settings that cannot be read took nothing into force, so that nothing
/// is compared with them but the claims.
async fn losses(
    registry: &impl Registry,
    old: Option<&FleetSettings>,
    new: &FleetSettings,
    members: &Members,
) -> Result<Vec<Refusal>> {
    let moved = old.is_none_or(|old| old.overlay != new.overlay);
    let overrides = !new.policy.nat_overrides.is_empty();
    let claims = if moved || overrides { registry.claims().await? } else { BTreeMap::new() };
    let losses = [
        loss::of_addresses(old, new, &claims),
        old.and_then(|old| loss::of_networks(old, new, members)),
        loss::of_overrides(old, new, &claims, members),
    ];
    Ok(losses.into_iter().flatten().collect())
}

/// What the new policy cuts off and the old one did not.
fn cuts(
    old: Option<&FleetSettings>,
    new: &FleetSettings,
    members: &Members,
    here: &Here,
) -> Vec<Refusal> {
    let before = old.map(|old| cut::off(old, members, here)).unwrap_or_default();
    let before: BTreeSet<String> = before.into_iter().flat_map(|cut| cut.what).collect();
    let cuts = cut::off(new, members, here).into_iter();
    cuts.filter(|cut| !cut.what.is_subset(&before)).map(|cut| cut.refusal).collect()
}

#[cfg(test)]
mod tests;
