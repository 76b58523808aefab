//! Rules about members: `from role web to role db tcp/5432`.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde_json::Value;

use super::Overrides;
use crate::{
    addresses::{self, IpFamily},
    fleet::{FleetError, NoPorts, PortRange},
    keys::Keys,
    membership::{HostId, is_name},
    rules::services::{self, Services, TCP, UDP},
};

/// Members that are `from` may reach `services` of the hosts that are `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRule {
    pub from: Who,
    pub to: Who,
    /// All, if the rule names none.
    pub services: Services,
    text: String,
}

/// Some of the members.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    Any,
    Role(String),
    Host(HostId),
}

impl Who {
    /// Whether member `id`, whose role this is, is one of them. Without an id: one that no rule names.
    pub fn is(&self, id: Option<&HostId>, role: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Role(name) => name == role,
            Self::Host(host) => Some(host) == id,
        }
    }

    pub fn role(&self) -> Option<&str> {
        match self {
            Self::Role(role) => Some(role),
            Self::Any | Self::Host(_) => None,
        }
    }

    pub fn host(&self) -> Option<&HostId> {
        match self {
            Self::Host(host) => Some(host),
            Self::Any | Self::Role(_) => None,
        }
    }
}

/// As it is written.
impl fmt::Display for MemberRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

const RIGHT: &str = "like \"from role web to role db tcp/5432,icmp\"";
const WHO: &str = "any, role NAME or host ID";
const SERVICE: &str = "tcp, udp, icmp, icmpv6 or a protocol's number, or ports like tcp/5432 or \
                       udp/6000-6010";

/// Reads the key `member_rules`; `roles` are those that a rule may name.
pub fn read(
    keys: &mut Keys,
    roles: Option<&BTreeMap<String, Overrides>>,
) -> Result<Vec<MemberRule>, FleetError> {
    let rule = |value: &Value| {
        let text = value.as_str().ok_or_else(|| format!("must be a text {RIGHT}"))?;
        let rule: MemberRule = text.parse()?;
        if let Some(roles) = roles
            && let Some(role) = [&rule.from, &rule.to]
                .into_iter()
                .filter_map(Who::role)
                .find(|role| !roles.contains_key(*role))
        {
            let listed = addresses::list(roles.keys());
            return Err(format!("role {role} must be one that `roles` lists: {listed}"));
        }
        Ok(rule)
    };
    let rules: Option<Vec<MemberRule>> = keys.list("member_rules", RIGHT, rule)?;
    Ok(rules.unwrap_or_default())
}

/// Its error says what is wrong and what would be right.
impl FromStr for MemberRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, rest) = who("from", text)?;
        let (to, rest) = who("to", rest)?;
        let services = match rest.trim() {
            "" => Services::all(),
            list => services(list)?,
        };
        Ok(Self { from, to, services, text: text.to_owned() })
    }
}

/// Reads `from WHO` or `to WHO` and gives what follows.
fn who<'a>(keyword: &str, text: &'a str) -> Result<(Who, &'a str), String> {
    let (word, rest) = word(text);
    if word != keyword {
        let instead = if word.is_empty() { "it ends" } else { word };
        return Err(format!("{instead} where {keyword} must be; must be {RIGHT}"));
    }
    let (kind, rest) = self::word(rest);
    if kind == "any" {
        return Ok((Who::Any, rest));
    }
    if !["role", "host"].contains(&kind) {
        let instead = if kind.is_empty() { "nothing" } else { kind };
        return Err(format!("{instead} after {keyword}, which must be {WHO}"));
    }
    let (name, rest) = self::word(rest);
    if !is_name(name) {
        return Err(format!("{name:?} after {keyword} {kind} must be {}", HostId::RIGHT));
    }
    match (kind, name.parse()) {
        ("host", Ok(id)) => Ok((Who::Host(id), rest)),
        _ => Ok((Who::Role(name.to_owned()), rest)),
    }
}

/// The first word and the rest.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

/// Reads a list of services between commas.
fn services(list: &str) -> Result<Services, String> {
    let mut ranges = Vec::new();
    let mut named = Vec::new();
    for service in list.split(',').map(str::trim) {
        for range in ranges_of(service)? {
            ranges.push(range);
            named.push(service);
        }
    }
    match services::overlap(ranges.iter().copied()) {
        None => Ok(Services::new(ranges)),
        Some((first, second)) => {
            let (one, other) = (named[first], named[second]);
            Err(format!("{other} overlaps {one}; must be apart from it, or left out"))
        }
    }
}

/// ICMP is that of both families, unless it is said to be IPv6's.
fn ranges_of(service: &str) -> Result<Vec<(u32, u32)>, String> {
    let wrong = || format!("{service:?} must be {SERVICE}, with commas between them");
    let (name, ports) = match service.split_once('/') {
        Some((name, ports)) => (name, Some(ports)),
        None => (service, None),
    };
    let protocols = match name {
        "tcp" => vec![TCP],
        "udp" => vec![UDP],
        "icmp" => IpFamily::ALL.map(IpFamily::icmp).to_vec(),
        "icmpv6" => vec![IpFamily::V6.icmp()],
        number => {
            let number = number.parse().ok().filter(|number| *number < u8::MAX);
            vec![number.ok_or_else(wrong)?]
        }
    };
    let ports = ports.map(|ports| match ports.parse::<PortRange>() {
        _ if ![TCP, UDP].contains(&protocols[0]) => {
            Err(format!("{service:?} has ports, which tcp and udp have only; write {name}"))
        }
        Ok(ports) => Ok(ports),
        Err(NoPorts::Inverted(right)) => {
            Err(format!("{service} is inverted; write {name}/{right}"))
        }
        Err(NoPorts::Other) => Err(wrong()),
    });
    let ports = ports.transpose()?;
    Ok(protocols.into_iter().map(|protocol| services::range(protocol, ports)).collect())
}
