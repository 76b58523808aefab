//! `neti fleet confirm`.

use std::io::Write;

use anyhow::{Result, bail};

use crate::{
    cli::FleetConfirm,
    membership::{Confirmation, Held},
    registry::Registry,
    status::{self, Status},
};

/// `instance` is the one whose status says how many are held, where the command line does not.
pub async fn run(
    out: &mut impl Write,
    registry: &impl Registry,
    instance: &str,
    args: &FleetConfirm,
) -> Result<()> {
    let removals = match args.removals {
        Some(removals) => removals,
        None => match held(instance, status::read(instance)?)? {
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

/// What the daemon holds. One that does not run says nothing of what is held now.
fn held(instance: &str, status: Option<Status>) -> Result<Option<Held>> {
    match status {
        Some(status) if status.is_alive() => Ok(status.held),
        _ => bail!(
            "the daemon of instance {instance} does not run on this host, so what is held is not \
             known; say how many are meant: --removals NUMBER"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{held, run};
    use crate::{
        cli::FleetConfirm,
        command::fleet::sample::{config, printed, registry},
        membership::Confirmation,
        registry::Registry as _,
        status::Status,
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
    async fn nothing_is_confirmed_where_no_daemon_runs() {
        let registry = registry(r#"{"overlay": ["100.64.0.0/16"]}"#);
        let backend = registry.open();
        let args = FleetConfirm { config: config(), removals: None };
        let said = printed(async |out| run(out, &backend, "nowhere", &args).await).await;
        let error = said.unwrap_err().to_string();
        assert!(error.contains("instance nowhere does not run"), "{error}");
        assert!(error.contains("--removals NUMBER"), "{error}");
        assert!(backend.watch().await.unwrap().borrow().confirmed.is_none());
    }

    #[test]
    fn only_a_living_daemon_tells_what_is_held() {
        let status = |pid: u32| -> Status {
            serde_json::from_value(serde_json::json!({
                "pid": pid, "started": 2, "version": "0.1.0", "host": "hudson", "network": "ec2",
                "overlays": ["100.64.3.7"], "reals": ["10.0.0.10"], "uplink": "eth0",
                "uplink_index": 2, "routed": [], "attach": "tcx", "registry": "directory /r",
                "revision": 3, "members": 1, "stale": null, "problems": [],
                "held": { "count": 31, "vanished": 31, "limit": 20, "since": 1, "names": [] },
            }))
            .unwrap()
        };
        let alive = held("default", Some(status(std::process::id()))).unwrap();
        assert_eq!(alive.unwrap().count, 31);
        // No process has the greatest number of all.
        assert!(held("default", Some(status(i32::MAX as u32))).is_err());
    }
}
