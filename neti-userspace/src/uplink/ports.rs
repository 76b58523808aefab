//! The ports that are reserved for twins (`neti_common::twins`) must not be among those that the kernel gives to sockets
//! of its own accord.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::fleet::PortRange;

const LOCAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Checks this network namespace's settings.
///
/// # Errors
/// If the kernel may give one of the ports to a socket; the message says what to set.
pub fn check(twins: PortRange) -> Result<()> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
    if is_given_away(twins, &read(LOCAL)?, &read(RESERVED)?) {
        bail!(
            "twin_ports = {twins}: the kernel gives these ports to sockets; must be outside \
             net.ipv4.ip_local_port_range or in net.ipv4.ip_local_reserved_ports"
        );
    }
    Ok(())
}

/// `local` as "32768 60999", `reserved` as "8080,61000-65535".
fn is_given_away(twins: PortRange, local: &str, reserved: &str) -> bool {
    let mut bounds = local.split_whitespace().map(str::parse);
    let (Some(Ok(first)), Some(Ok(last))) = (bounds.next(), bounds.next()) else { return false };
    let reserved: Vec<PortRange> =
        reserved.trim().split(',').filter_map(|range| range.parse().ok()).collect();
    (twins.first.max(first)..=twins.last.min(last))
        .any(|port| !reserved.iter().any(|range| (range.first..=range.last).contains(&port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ports_that_the_kernel_may_give_are_a_problem() {
        let twins = PortRange { first: 61_000, last: 65_535 };
        for (local, reserved, expected) in [
            ("32768\t60999\n", "\n", false),
            ("1024\t65535\n", "\n", true),
            ("1024\t61000\n", "\n", true),
            ("1024\t65535\n", "8080,61000-65535\n", false),
            ("1024\t65535\n", "61000-65534\n", true),
        ] {
            assert_eq!(is_given_away(twins, local, reserved), expected, "{local:?} {reserved:?}");
        }
    }
}
