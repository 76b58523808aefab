//! `neti fleet confirm`.

use std::io::Write;

use anyhow::Result;

use crate::{cli::FleetConfirm, membership::Confirmation, registry::Registry, status};

/// `instance` is the one whose status says how many are held, where the command line does not.
pub async fn run(
    out: &mut impl Write,
    registry: &impl Registry,
    instance: &str,
    args: &FleetConfirm,
) -> Result<()> {
    let held = || anyhow::Ok(status::read(instance)?.and_then(|status| status.held));
    let removals = match args.removals {
        Some(removals) => removals,
        None => match held()? {
            Some(held) => held.count,
            None => {
                return Ok(writeln!(
                    out,
                    "this host holds no removals: nothing is confirmed; --removals does so for \
                     others"
                )?);
            }
        },
    };
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
        let args = FleetConfirm { config: config(), removals: Some(40) };
        let mut ids = Vec::new();
        for _ in 0..2 {
            let said =
                printed(async |out| run(out, &backend, "nowhere", &args).await).await.unwrap();
            assert!(said.contains("at most 40 removals"), "{said}");
            let seen = backend.watch().await.unwrap().borrow().confirmed.clone();
            let Confirmation { id, removals } = seen.unwrap();
            assert_eq!(removals, 40);
            assert!(said.contains(&id), "{said}");
            ids.push(id);
        }
        assert_ne!(ids[0], ids[1]);
    }

    #[tokio::test]
    async fn nothing_is_confirmed_where_nothing_is_held() {
        let registry = registry(r#"{"overlay": ["100.64.0.0/16"]}"#);
        let backend = registry.open();
        let args = FleetConfirm { config: config(), removals: None };
        let said = printed(async |out| run(out, &backend, "nowhere", &args).await).await.unwrap();
        assert!(said.contains("holds no removals"), "{said}");
        assert!(backend.watch().await.unwrap().borrow().confirmed.is_none());
    }
}
