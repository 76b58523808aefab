//! `neti fleet claim`.

use std::io::Write;

use anyhow::{Result, bail};

use crate::{
    addresses::{IpFamily, list},
    cli::FleetClaim,
    registry::Registry,
};

pub async fn run(out: &mut impl Write, registry: &impl Registry, args: &FleetClaim) -> Result<()> {
    let fleet = registry.fleet().await?;
    let has_range = |family: &IpFamily| fleet.range(*family).is_some();
    let mut families = args.family.clone();
    if families.is_empty() {
        families = IpFamily::ALL.into_iter().filter(has_range).collect();
    }
    // Before anything is claimed: one of two addresses would be half of what was asked for.
    if let Some(family) = families.iter().find(|family| !has_range(family)) {
        bail!(
            "--family: the fleet has no {family} overlay range (it has {}); nothing is claimed",
            list(&fleet.overlay)
        );
    }
    families.sort();
    families.dedup();
    for address in registry.claim(&args.id, &fleet, &families).await?.iter() {
        writeln!(out, "{address}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::run;
    use crate::{
        addresses::IpFamily::{self, V4, V6},
        cli::FleetClaim,
        command::fleet::sample::{config, printed, registry},
        membership::sample::{id, ip},
    };

    fn args(family: &[IpFamily]) -> FleetClaim {
        FleetClaim { config: config(), id: id("hudson"), family: family.to_vec() }
    }

    #[tokio::test]
    async fn locks_one_address_of_each_family_once() {
        let registry = registry(r#"{"overlay": ["100.64.0.0/16", "fd00:6e74::/64"]}"#);
        let backend = registry.open();
        let four = printed(async |out| run(out, &backend, &args(&[V4])).await).await.unwrap();
        assert_eq!(registry.read(&format!("overlays/{}", four.trim())), "hudson");
        let both = printed(async |out| run(out, &backend, &args(&[])).await).await.unwrap();
        let lines: Vec<_> = both.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, four.trim()));
        assert_eq!(IpFamily::of(ip(lines[1])), V6);
        assert_eq!(
            printed(async |out| run(out, &backend, &args(&[V6, V4, V6])).await).await.unwrap(),
            both
        );
    }

    #[tokio::test]
    async fn claims_nothing_where_it_cannot_claim_all() {
        let registry = registry(r#"{"overlay": ["100.64.0.0/16"]}"#);
        let error = printed(async |out| run(out, &registry.open(), &args(&[V4, V6])).await)
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "--family: the fleet has no IPv6 overlay range (it has 100.64.0.0/16); nothing is claimed"
        );
        assert!(!registry.path("hosts/hudson").exists());
    }
}
