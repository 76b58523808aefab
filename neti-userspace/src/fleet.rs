//! The fleet settings: what all hosts of a fleet share, kept in the registry and written by the
//! operator as JSON.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr, str::FromStr};

use ipnet::Ipv4Net;
use neti_common::maps::{self, Allow};
use serde_json::{Map, Value};

use crate::keys::{Keys, SettingsError, parsed};

mod allow;

pub use allow::AllowRule;

/// What is wrong with the fleet settings.
pub type FleetError = SettingsError;

/// The settings, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSettings {
    /// Overlay ranges, the one that addresses are allocated from first; 1 to [`maps::RANGES`].
    pub overlay: Vec<Ipv4Net>,
    pub mode: Mode,
    pub identity: Identity,
    /// What each source prefix may reach, the rules of the prefixes around it included: the
    /// longest match alone answers.
    pub allow: BTreeMap<Ipv4Net, Allow>,
    pub open: Vec<OpenPort>,
    /// Where ssh is always let in from; at most [`maps::FAILSAFES`].
    pub failsafe: Vec<Ipv4Net>,
    /// Whether strangers may ping us.
    pub echo: bool,
    /// Source ports reserved for twins.
    pub twin_ports: PortRange,
}

/// What the filter does with what nothing admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Let it pass and count it.
    Observe,
    /// Drop it.
    Enforce,
}

impl Mode {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

/// What an inbound flow is taken for where no socket and no hint decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// Servers see real addresses.
    Real,
    /// Servers see overlay addresses.
    Overlay,
}

impl Identity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Overlay => "overlay",
        }
    }
}

/// Ports `first` to `last`, both included; reads `443` and `8000-8010`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

/// Not a [`PortRange`].
#[derive(Debug)]
pub struct NoPorts;

impl FromStr for PortRange {
    type Err = NoPorts;

    fn from_str(text: &str) -> Result<Self, NoPorts> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| text.parse().map_err(|_| NoPorts);
        let (first, last) = (port(first)?, port(last)?);
        if first == 0 || first > last { Err(NoPorts) } else { Ok(Self { first, last }) }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
}

/// Ports open to anyone; reads `tcp/80` and `udp/6000-6010`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenPort {
    pub transport: Transport,
    pub ports: PortRange,
}

impl FromStr for OpenPort {
    type Err = NoPorts;

    fn from_str(text: &str) -> Result<Self, NoPorts> {
        let (transport, ports) = text.split_once('/').ok_or(NoPorts)?;
        let transport = match transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return Err(NoPorts),
        };
        Ok(Self { transport, ports: ports.parse()? })
    }
}

const DEFAULT_TWIN_PORTS: PortRange = PortRange { first: 61_000, last: 65_535 };

/// The private ranges of RFC 1918.
const DEFAULT_FAILSAFE: [Ipv4Net; 3] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
];

impl FleetSettings {
    /// Parses and validates the settings; `file` is what errors call them.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, FleetError> {
        let map: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| {
            let what = format!("not a JSON object: {error}");
            SettingsError::File { file: file.to_owned(), what }
        })?;
        let mut keys = Keys::new(file, map);
        let overlay = overlay(&mut keys)?;
        let mode =
            keys.optional("mode", "observe or enforce", |value| match value.as_str()? {
                "observe" => Some(Mode::Observe),
                "enforce" => Some(Mode::Enforce),
                _ => None,
            })?;
        let identity =
            keys.optional("identity", "real or overlay", |value| match value.as_str()? {
                "real" => Some(Identity::Real),
                "overlay" => Some(Identity::Overlay),
                _ => None,
            })?;
        let allow = allow::read(&mut keys)?;
        let open = keys.list("open", "like tcp/80 or udp/6000-6010", parsed)?;
        let failsafe = failsafe(&mut keys)?;
        let echo = keys.optional("echo", "true or false", Value::as_bool)?;
        let twin_ports =
            keys.optional("twin_ports", "a range of ports like 61000-65535", parsed)?;
        keys.finish()?;
        Ok(Self {
            overlay,
            mode: mode.unwrap_or(Mode::Observe),
            identity: identity.unwrap_or(Identity::Real),
            allow,
            open: open.unwrap_or_default(),
            failsafe,
            echo: echo.unwrap_or(false),
            twin_ports: twin_ports.unwrap_or(DEFAULT_TWIN_PORTS),
        })
    }

    /// Whether `address` lies in an overlay range.
    pub fn is_overlay(&self, address: Ipv4Addr) -> bool {
        self.overlay.iter().any(|range| range.contains(&address))
    }
}

fn overlay(keys: &mut Keys) -> Result<Vec<Ipv4Net>, FleetError> {
    const RIGHT: &str = "an IPv4 range of /8 to /30 like 100.64.0.0/16";
    let Some(values) = keys.list("overlay", RIGHT, |value| Some(value.clone()))? else {
        return keys.required("overlay", "a list of ranges like [\"100.64.0.0/16\"]", |_| None);
    };
    if !(1..=maps::RANGES).contains(&values.len()) {
        let right = format!("a list of 1 to {} ranges", maps::RANGES);
        return Err(keys.wrong("overlay", &Value::Array(values), &right));
    }
    let mut ranges: Vec<Ipv4Net> = Vec::new();
    for (index, value) in values.iter().enumerate() {
        let wrong = |right: &str| keys.wrong(&format!("overlay[{index}]"), value, right);
        let range = range(value).map_err(|right| wrong(right.unwrap_or(RIGHT)))?;
        if !(8..=30).contains(&range.prefix_len()) {
            return Err(wrong(RIGHT));
        }
        // The loopback, link-local, multicast and reserved ranges never reach another host.
        let last = range.broadcast();
        let unfit = |address: Ipv4Addr| !crate::membership::is_real(address);
        let link_local = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16);
        if unfit(range.network()) || unfit(last) || overlap(&range, &link_local) {
            return Err(wrong("outside the loopback, link-local, multicast and reserved ranges"));
        }
        if let Some(other) = ranges.iter().find(|other| overlap(&range, other)) {
            return Err(wrong(&format!("apart from the other range {other}")));
        }
        ranges.push(range);
    }
    Ok(ranges)
}

fn failsafe(keys: &mut Keys) -> Result<Vec<Ipv4Net>, FleetError> {
    const RIGHT: &str = "an IPv4 range like 10.0.0.0/8";
    let Some(ranges) = keys.list("failsafe", RIGHT, |value| range(value).ok())? else {
        return Ok(DEFAULT_FAILSAFE.to_vec());
    };
    if ranges.len() > maps::FAILSAFES {
        let right = format!("a list of at most {} ranges", maps::FAILSAFES);
        let count = format!("{} ranges", ranges.len());
        return Err(keys.wrong("failsafe", &count, &right));
    }
    Ok(ranges)
}

/// Reads a range. An error may know better than the caller what would be right.
fn range(value: &Value) -> Result<Ipv4Net, Option<&'static str>> {
    let text = value.as_str().ok_or(None)?;
    match text.parse::<ipnet::IpNet>() {
        Ok(ipnet::IpNet::V4(range)) if range == range.trunc() => Ok(range),
        Ok(ipnet::IpNet::V4(_)) => Err(Some("a range without host bits, like 100.64.0.0/16")),
        Ok(ipnet::IpNet::V6(_)) => Err(Some("an IPv4 range; IPv6 is not supported yet")),
        Err(_) => Err(None),
    }
}

fn overlap(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(b) || b.contains(a)
}

#[cfg(test)]
mod tests;
