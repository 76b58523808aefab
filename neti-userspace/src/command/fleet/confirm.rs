//! `neti fleet confirm`.

use std::io::Write;

use anyhow::Result;

use crate::{cli::FleetConfirm, membership::Confirmation, registry::Registry};

pub async fn run(
    out: &mut impl Write,
    registry: &impl Registry,
    args: &FleetConfirm,
) -> Result<()> {
    let removals = args.removals;
    let id = format!("{:016x}", rand::random::<u64>());
    registry.confirm(&Confirmation { id: id.clone(), removals }).await?;
    Ok(writeln!(
        out,
        "confirmed as {id}: each host carries out what it holds, if that is at most {removals} removals"
    )?)
}

#[cfg(test)]
mod tests {
    use super::run;
    use crate::{
        cli::FleetConfirm,
        command::fleet::sample::{config, printed, registry},
        membership::Confirmation,
        registry::Registry as _,
    };

    #[tokio::test]
    async fn each_confirmation_is_another() {
        let registry = registry(r#"{"overlay": ["100.64.0.0/16"]}"#);
        let backend = registry.open();
        let args = FleetConfirm { config: config(), removals: 40 };
        let mut ids = Vec::new();
        for _ in 0..2 {
            let said = printed(async |out| run(out, &backend, &args).await).await.unwrap();
            assert!(said.contains("at most 40 removals"), "{said}");
            let seen = backend.watch().await.unwrap().borrow().confirmed.clone();
            let Confirmation { id, removals } = seen.unwrap();
            assert_eq!(removals, 40);
            assert!(said.contains(&id), "{said}");
            ids.push(id);
        }
        assert_ne!(ids[0], ids[1]);
    }
}
