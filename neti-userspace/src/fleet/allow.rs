//! Allow rules. The kernel looks up the longest prefix that holds a source, and that one answers
//! alone, so the rules of all the prefixes around it are merged into it here.

use ipnet::IpNet;
use serde_json::Value;

use super::{FleetError, PortRange, ranges};
use crate::{
    addresses::{self, IpFamily},
    keys::{Keys, parsed},
};

const TCP: u8 = 6;
const UDP: u8 = 17;
const PROTOCOL: &str = "tcp, udp, icmp, icmpv6 or a number up to 254";

/// One rule: sources in `from` may reach `ports` by `protocol`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowRule {
    /// Ranges of one family.
    pub from: Vec<IpNet>,
    /// IP protocol number; `None` is every protocol.
    pub protocol: Option<u8>,
    /// Empty: all ports, or a protocol without ports.
    pub ports: Vec<PortRange>,
}

/// Reads and merges the rules of the key `allow`.
pub fn read(keys: &mut Keys) -> Result<Vec<AllowRule>, FleetError> {
    keys.tables("allow")?.into_iter().map(rule).collect()
}

fn rule(mut keys: Keys) -> Result<AllowRule, FleetError> {
    let from = keys.one_or_more("from", ranges::RANGE, ranges::range)?;
    let Some(family) = from.first().map(IpFamily::of_range) else {
        return Err(keys.missing("from", ranges::RANGE));
    };
    if let Some(other) = from.iter().find(|range| IpFamily::of_range(range) != family) {
        let what = format!("{} is {family}, {other} is not; must be of one family", from[0]);
        return Err(keys.wrong("from", &addresses::list(&from), &what));
    }
    let protocol = keys.optional("protocol", PROTOCOL, |value| protocol(value, family))?;
    let ports = keys.list("ports", "a port or a range like \"8000-8010\"", parsed)?;
    let ports = ports.unwrap_or_default();
    if !ports.is_empty() && ![Some(TCP), Some(UDP)].contains(&protocol) {
        let text: Vec<_> = ports.iter().map(ToString::to_string).collect();
        return Err(keys.wrong(
            "ports",
            &text.join(" "),
            "must be given with protocol tcp or udp only",
        ));
    }
    keys.finish()?;
    Ok(AllowRule { from, protocol, ports })
}

fn protocol(value: &Value, family: IpFamily) -> Result<u8, String> {
    match value.as_str() {
        Some("tcp") => Ok(TCP),
        Some("udp") => Ok(UDP),
        Some("icmp") => Ok(family.icmp()),
        Some("icmpv6") if family == IpFamily::V6 => Ok(family.icmp()),
        Some("icmpv6") => Err("is for IPv6 ranges; must be icmp for IPv4".to_owned()),
        _ => {
            let number = value.as_u64().and_then(|number| number.try_into().ok());
            number.filter(|number| *number != 255).ok_or_else(|| format!("must be {PROTOCOL}"))
        }
    }
}
