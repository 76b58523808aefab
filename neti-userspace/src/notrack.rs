//! The opt-in nftables table that keeps the host's own overlay flows out of conntrack. neti needs no
//! conntrack; where somebody else's rules make the kernel track, this spares it the overlay.

use std::{
    io::{self, Write},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;

use crate::addresses::{IpFamily, list};

/// Makes the table of `instance`, in place of the one that is there.
pub fn install(instance: &str, ranges: &[IpNet]) -> Result<()> {
    nft(&ruleset(instance, ranges)).context("notrack = true")
}

/// Removes the table of `instance`. Idempotent; without nft(8) there can be no table.
pub fn remove(instance: &str) -> Result<()> {
    match nft(&without(instance)) {
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(is_missing) => Ok(()),
        other => other.context("removing the notrack table"),
    }
}

/// Whether nft(8) is there.
pub fn available() -> bool {
    Command::new("nft").arg("--version").stdout(Stdio::null()).status().is_ok()
}

/// One transaction: the table is created so that it can be deleted, deleted, and created anew.
///
/// Both ends must be overlay addresses. What a container sends through masquerading has the host's
/// real address at one end, and needs conntrack.
fn ruleset(instance: &str, ranges: &[IpNet]) -> String {
    let rule = |family| {
        let set = list(ranges.iter().filter(|range| IpFamily::of_range(range) == family));
        let header = match family {
            IpFamily::V4 => "ip",
            IpFamily::V6 => "ip6",
        };
        match set.is_empty() {
            true => String::new(),
            false => format!("{header} saddr {{ {set} }} {header} daddr {{ {set} }} notrack"),
        }
    };
    let [v4, v6] = IpFamily::ALL.map(rule);
    let chain = |hook: &str| {
        format!(
            "chain {hook} {{\n type filter hook {hook} priority raw; policy accept;\n {v4}\n \
             {v6}\n}}\n"
        )
    };
    format!(
        "{}table inet neti-{instance} {{\n{}{}}}\n",
        without(instance),
        chain("prerouting"),
        chain("output"),
    )
}

fn without(instance: &str) -> String {
    format!("table inet neti-{instance} {{}}\ndelete table inet neti-{instance}\n")
}

fn nft(ruleset: &str) -> Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("running nft, from the package nftables")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(ruleset.as_bytes()).context("talking to nft")?;
    }
    let output = child.wait_with_output().context("waiting for nft")?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("nft refused the rules: {}", stderr.lines().next().unwrap_or("no reason given"));
    }
    Ok(())
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ruleset_replaces_the_table_and_matches_both_ends() {
        let check = |ranges: &[&str], expected: &[(&str, &str)]| {
            let ranges: Vec<IpNet> = ranges.iter().map(|range| range.parse().unwrap()).collect();
            let rules = ruleset("blue", &ranges);
            assert!(rules.starts_with("table inet neti-blue {}\ndelete table inet neti-blue\n"));
            for (header, set) in expected {
                let rule = format!("{header} saddr {set} {header} daddr {set} notrack\n");
                assert_eq!(rules.matches(&rule).count(), 2, "{rules}");
            }
            assert_eq!(rules.matches("notrack").count(), 2 * expected.len(), "{rules}");
        };
        let (v4, v6) = (("ip", "{ 100.64.0.0/16, 100.70.0.0/16 }"), ("ip6", "{ fd64::/64 }"));
        check(&["100.64.0.0/16", "100.70.0.0/16"], &[v4]);
        check(&["fd64::/64"], &[v6]);
        check(&["100.64.0.0/16", "fd64::/64", "100.70.0.0/16"], &[v4, v6]);
    }
}
