//! `neti fleet summary`.

use std::{collections::BTreeMap, io::Write, net::IpAddr};

use anyhow::Result;
use ipnet::IpNet;
use serde::Serialize;

use super::list::tell_problems;
use crate::{
    addresses::list,
    cli::Printing,
    fleet::warnings,
    membership::{HostId, Membership},
    output::{self, Facts},
    registry::Registry,
};

/// The fleet in numbers.
#[derive(Debug, Serialize)]
struct Summary {
    members: usize,
    /// Members by network, and so on; a member without a role or a version is under "".
    networks: BTreeMap<String, usize>,
    roles: BTreeMap<String, usize>,
    versions: BTreeMap<String, usize>,
    overlay: Vec<IpNet>,
    /// Of hosts that the policy does not give another.
    mode: &'static str,
    /// Members by what their filter does.
    modes: BTreeMap<String, usize>,
    identity: &'static str,
    max_removals: usize,
    /// Overlay addresses that are locked.
    claims: usize,
    /// Those of them whose hosts are no members.
    idle_claims: BTreeMap<IpAddr, HostId>,
    /// Keys of the registry that are skipped.
    problems: usize,
    /// What the settings hardly mean.
    warnings: Vec<String>,
}

pub async fn run(
    out: &mut impl Write,
    registry: &impl Registry,
    printing: &Printing,
) -> Result<()> {
    let fleet = registry.watch().await?.borrow().clone();
    tell_problems(&fleet);
    let summary = summary(&fleet, registry.claims().await?);
    Ok(output::facts(out, &summary, printing.format())?)
}

fn summary(fleet: &Membership, claims: BTreeMap<IpAddr, HostId>) -> Summary {
    let mut summary = Summary {
        members: fleet.members.len(),
        networks: BTreeMap::new(),
        roles: BTreeMap::new(),
        versions: BTreeMap::new(),
        overlay: fleet.fleet.overlay.clone(),
        mode: fleet.fleet.mode.as_str(),
        modes: BTreeMap::new(),
        identity: fleet.fleet.identity.as_str(),
        max_removals: fleet.fleet.max_removals,
        claims: claims.len(),
        idle_claims: claims,
        problems: fleet.problems.len(),
        warnings: warnings(&fleet.fleet, &fleet.members),
    };
    summary.idle_claims.retain(|_, host| !fleet.members.contains_key(host));
    for record in fleet.members.values() {
        *summary.networks.entry(record.network.clone()).or_default() += 1;
        *summary.roles.entry(record.role.clone()).or_default() += 1;
        let mode = fleet.fleet.mode_of(&record.id, &record.role);
        *summary.modes.entry(mode.as_str().to_owned()).or_default() += 1;
        *summary.versions.entry(record.version.clone()).or_default() += 1;
    }
    summary
}

/// So many idle claims are named in the table.
const NAMED: usize = 5;

impl Facts for Summary {
    fn facts(&self) -> Vec<(&'static str, String)> {
        let hosts = self.idle_claims.iter().map(|(address, host)| format!("{host} {address}"));
        let mut idle = vec![self.idle_claims.len().to_string()];
        idle.extend(hosts.take(NAMED));
        if self.idle_claims.len() > NAMED {
            idle.push("...".to_owned());
        }
        let mut facts = vec![
            ("members", self.members.to_string()),
            ("by network", counts(&self.networks)),
            ("by role", counts(&self.roles)),
            ("by version", counts(&self.versions)),
            ("overlay ranges", list(&self.overlay)),
            ("mode", self.mode.to_owned()),
            ("by mode", counts(&self.modes)),
            ("identity", self.identity.to_owned()),
            ("max removals", self.max_removals.to_string()),
            ("claims", self.claims.to_string()),
            ("claims without a member", list(&idle)),
            ("problems", self.problems.to_string()),
        ];
        facts.extend(self.warnings.iter().map(|warning| ("warning", warning.clone())));
        facts
    }
}

fn counts(by: &BTreeMap<String, usize>) -> String {
    if by.is_empty() {
        return "-".to_owned();
    }
    list(by.iter().map(|(name, count)| match name.as_str() {
        "" => format!("none {count}"),
        name => format!("{name} {count}"),
    }))
}

#[cfg(test)]
mod tests {
    use super::run;
    use serde_json::{Value, json};

    use crate::{
        command::fleet::sample::{JSON, TABLE, printed, registry},
        membership::{MemberRecord, sample::record},
    };

    #[tokio::test]
    async fn counts_members_and_claims() {
        let registry = registry(
            r#"{"overlay": ["100.64.0.0/16"], "mode": "enforce", "roles": {"web": {"mode": "observe"},
                "db": {}}}"#,
        );
        let hudson = record("hudson", "100.64.0.1", "ec2").private("10.0.0.10");
        let walden = record("walden", "100.64.0.2", "vpc").public("203.0.113.11");
        let (role, version) = ("web".to_owned(), "0.1.0".to_owned());
        registry.member(&MemberRecord { role, version, ..hudson });
        registry.member(&walden);
        registry.claimed("hudson", "100.64.0.1");
        for host in 2..=8 {
            registry.claimed(&format!("gone-{host}"), &format!("100.64.1.{host}"));
        }
        let shown = printed(async |out| run(out, &registry.open(), &TABLE).await).await.unwrap();
        for line in [
            "members                  2",
            "by network               ec2 1, vpc 1",
            "by role                  none 1, web 1",
            "by version               none 1, 0.1.0 1",
            "mode                     enforce",
            "by mode                  enforce 1, observe 1",
            "warning                  roles.db: no member has role db",
            "max removals             20",
            "claims                   8",
            "claims without a member  7, gone-2 100.64.1.2, gone-3 100.64.1.3, gone-4 100.64.1.4, \
             gone-5 100.64.1.5, gone-6 100.64.1.6, ...",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        }
        let json: Value = serde_json::from_str(
            &printed(async |out| run(out, &registry.open(), &JSON).await).await.unwrap(),
        )
        .unwrap();
        assert_eq!(json["networks"], json!({"ec2": 1, "vpc": 1}));
        assert_eq!(json["idle_claims"]["100.64.1.8"], "gone-8");
        assert_eq!(json["overlay"], json!(["100.64.0.0/16"]));
    }
}
