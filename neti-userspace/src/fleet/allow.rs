//! Allow rules: who, besides members, may reach what.

use std::iter::once;

use ipnet::IpNet;
use serde_json::Value;

use super::{
    FleetError,
    ports::{self, PortRange},
    ranges,
};
use crate::{
    addresses::IpFamily,
    keys::Keys,
    rules::services::{self, Services, TCP, UDP},
};

const PROTOCOL: &str = "tcp, udp, icmp, icmpv6 or a number up to 254";

/// Reserved by IANA.
const NO_PROTOCOL: u8 = 255;

/// One rule: sources in `from` may reach `ports` by `protocol`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    /// Ranges of one family, none inside another.
    pub from: Vec<IpNet>,
    /// IP protocol number; `None` is every protocol.
    pub protocol: Option<u8>,
    /// Empty: all ports, or a protocol without ports. No two have a port in common.
    pub ports: Vec<PortRange>,
}

impl AllowRule {
    pub fn services(&self) -> Services {
        match (self.protocol, self.ports.is_empty()) {
            (None, _) => Services::all(),
            (Some(protocol), true) => Services::new(once(services::range(protocol, None))),
            (Some(protocol), false) => Services::new(
                self.ports.iter().map(|ports| services::range(protocol, Some(*ports))),
            ),
        }
    }
}

/// Reads the key `allow`.
pub fn read(keys: &mut Keys) -> Result<Vec<AllowRule>, FleetError> {
    keys.tables("allow")?.into_iter().map(rule).collect()
}

fn rule(mut keys: Keys) -> Result<AllowRule, FleetError> {
    let Some(from) = keys.one_or_more("from", ranges::RANGE, ranges::range)? else {
        return Err(keys.missing("from", ranges::RANGE));
    };
    let family = family(&keys, &from)?;
    ranges::apart(&keys, "from", &from)?;
    let protocol = keys.optional("protocol", PROTOCOL, |value| protocol(value, family))?;
    let ports = keys.list("ports", PORTS, ports::read(PORTS))?;
    if ports.as_ref().is_some_and(Vec::is_empty) {
        let what = "must be a list of at least one; without this key it is all ports";
        return Err(keys.wrong("ports", &"[]", what));
    }
    let ports = ports.unwrap_or_default();
    match protocol {
        Some(protocol @ (TCP | UDP)) => {
            let services = |ports: &PortRange| services::range(protocol, Some(*ports));
            ports::apart(&keys, "ports", &ports, services)?;
        }
        _ if ports.is_empty() => {}
        _ => {
            let text: Vec<_> = ports.iter().map(ToString::to_string).collect();
            let what = "must be given with protocol tcp or udp only";
            return Err(keys.wrong("ports", &text.join(" "), what));
        }
    }
    keys.finish()?;
    Ok(AllowRule { from, protocol, ports })
}

const PORTS: &str = "a port or a range like \"443\" or \"8000-8010\"";

/// The one family of all ranges.
fn family(keys: &Keys, from: &[IpNet]) -> Result<IpFamily, FleetError> {
    let Some(first) = from.first() else {
        return Err(keys.wrong("from", &"[]", "must be a list of at least one range"));
    };
    let family = IpFamily::of_range(first);
    match from.iter().position(|range| IpFamily::of_range(range) != family) {
        None => Ok(family),
        Some(index) => {
            let other = from[index];
            let what = format!("{first} is {family}, {other} is not; must be of one family");
            Err(keys.wrong(&format!("from[{index}]"), &format!("\"{other}\""), &what))
        }
    }
}

fn protocol(value: &Value, family: IpFamily) -> Result<u8, String> {
    match value.as_str() {
        Some("icmpv6") if family == IpFamily::V4 => {
            Err("is for IPv6 ranges; must be icmp for IPv4".to_owned())
        }
        Some("icmp" | "icmpv6") => Ok(family.icmp()),
        Some("tcp") => Ok(TCP),
        Some("udp") => Ok(UDP),
        _ => {
            let number = value.as_u64().and_then(|number| number.try_into().ok());
            let number = number.filter(|number| *number != NO_PROTOCOL);
            number.ok_or_else(|| format!("must be {PROTOCOL}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::FleetSettings;

    /// The rule, and its services.
    #[test]
    fn rules_say_what_may_be_reached() {
        for (rule, services) in [
            (r#"{"from": "10.0.0.0/8"}"#, vec![(0, services::COUNT - 1)]),
            (r#"{"from": "10.0.0.0/8", "protocol": "tcp"}"#, vec![(0, 65_535)]),
            (r#"{"from": "10.0.0.0/8", "protocol": "icmp"}"#, vec![(131_073, 131_073)]),
            (r#"{"from": "fd00::/8", "protocol": "icmp"}"#, vec![(131_130, 131_130)]),
            (r#"{"from": "fd00::/8", "protocol": 47}"#, vec![(131_119, 131_119)]),
            (
                r#"{"from": "fd00::/8", "protocol": "udp", "ports": ["53", "8000-8010", "54"]}"#,
                vec![(65_589, 65_590), (73_536, 73_546)],
            ),
            (r#"{"from": "fd00::/8", "protocol": 6, "ports": ["1"]}"#, vec![(1, 1)]),
        ] {
            let text = format!(r#"{{"overlay": ["100.64.0.0/16"], "allow": [{rule}]}}"#);
            let fleet = FleetSettings::parse("fleet", text.as_bytes()).unwrap();
            assert_eq!(fleet.policy.allow[0].services().ranges(), services, "{rule}");
        }
    }
}
