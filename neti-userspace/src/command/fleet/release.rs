//! `neti fleet release`.

use std::io::Write;

use anyhow::Result;

use crate::{cli::FleetRelease, registry::Registry};

pub async fn run(
    out: &mut impl Write,
    registry: &impl Registry,
    args: &FleetRelease,
) -> Result<()> {
    let id = &args.id;
    let released = registry.release(id).await?;
    if released.is_empty() {
        writeln!(out, "host {id} has no overlay address: nothing to release")?;
    } else {
        writeln!(out, "released {released} of host {id}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::run;
    use crate::{
        cli::FleetRelease,
        command::fleet::sample::{config, printed, registry},
        membership::sample::{id, record},
    };

    #[tokio::test]
    async fn frees_what_a_host_has_once_it_is_gone() {
        let registry = registry(r#"{"overlay": ["100.64.0.0/16"]}"#);
        let backend = registry.open();
        let args = FleetRelease { config: config(), id: id("hudson") };
        registry.member(&record("hudson", "100.64.0.7", "ec2").private("10.0.0.10"));
        registry.claimed("hudson", "100.64.0.7");
        registry.claimed("walden", "100.64.0.8");
        let error =
            printed(async |out| run(out, &backend, &args).await).await.unwrap_err().to_string();
        assert!(error.contains("host hudson is a member of the fleet"), "{error}");
        assert!(registry.path("overlays/100.64.0.7").exists());
        std::fs::remove_file(registry.path("members/hudson")).unwrap();
        assert_eq!(
            printed(async |out| run(out, &backend, &args).await).await.unwrap(),
            "released 100.64.0.7 of host hudson\n"
        );
        assert!(!registry.path("overlays/100.64.0.7").exists());
        assert_eq!(registry.read("overlays/100.64.0.8"), "walden");
        assert_eq!(
            printed(async |out| run(out, &backend, &args).await).await.unwrap(),
            "host hudson has no overlay address: nothing to release\n"
        );
    }
}
