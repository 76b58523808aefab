//! The fleet settings, small and large.

use anyhow::{Context, Result, bail, ensure};

use super::{Bench, LONG, SETTINGS, Tree};
use crate::registry::{Registry, RegistryError};

pub async fn are_written_by_who_has_seen_them(bench: &impl Bench) -> Result<()> {
    let tree = bench.fresh().await?;
    let registry = tree.open(LONG)?;
    ensure!(registry.settings().await?.is_none(), "there are settings in an empty tree");
    for (what, error) in
        [("fleet", registry.fleet().await.err()), ("watch", registry.watch().await.err())]
    {
        let error = error.with_context(|| format!("{what}: settings come from nowhere"))?;
        ensure!(matches!(error, RegistryError::Settings(_)), "{what}: {error:?}");
        ensure!(format!("{error:#}").contains("fleet"), "{what}: {error:#}");
    }
    registry.set_settings(SETTINGS, None).await?;
    let read = registry.settings().await?.context("settings were written")?;
    ensure!(read.text == SETTINGS.as_bytes(), "settings read as {:?}", read.text);
    ensure!(registry.fleet().await?.overlay.len() == 2, "settings are not parsed");
    let other = r#"{"overlay": ["100.64.0.0/16"], "mode": "enforce"}"#;
    registry.set_settings(other, Some(read.version)).await?;
    for version in [Some(read.version), None] {
        match registry.set_settings(SETTINGS, version).await {
            Err(RegistryError::Changed(_)) => {}
            done => bail!("settings written over others of another version: {done:?}"),
        }
    }
    let read = registry.settings().await?.context("settings were written")?;
    ensure!(read.text == other.as_bytes(), "settings read as {:?}", read.text);

    let large = with_ranges(100_000);
    registry.set_settings(&large, Some(read.version)).await?;
    let read = registry.settings().await?.context("settings were written")?;
    ensure!(read.text == large.as_bytes(), "{} of {} bytes", read.text.len(), large.len());
    Ok(())
}

/// Settings with a rule for so many ranges of addresses, in no order: more than a registry takes as they are.
fn with_ranges(number: u32) -> String {
    let range = |number: u32| {
        // An odd factor: each number gives another.
        let [.., a, b, c] = number.wrapping_mul(0x9e37_79b1).to_be_bytes();
        format!("\"{}.{a}.{b}.{c}/32\"", 11 + number % 40)
    };
    let ranges = (0..number).map(range).collect::<Vec<_>>().join(", ");
    format!(r#"{{"overlay": ["100.64.0.0/29"], "allow": [{{"from": [{ranges}]}}]}}"#)
}
