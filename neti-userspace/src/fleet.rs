//! The fleet settings: what all hosts of a fleet share, kept in the registry and written by the
//! operator as JSON.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde_json::{Map, Value};

use crate::{
    addresses::IpFamily,
    keys::{Keys, SettingsError, parsed},
};

mod allow;
mod networks;
mod ranges;

pub use allow::AllowRule;
pub use networks::{Networks, Unlisted};

/// What is wrong with the fleet settings.
pub type FleetError = SettingsError;

/// The settings, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSettings {
    /// Overlay ranges, in each family the one that addresses are allocated from first: at least one,
    /// of each family at most [`maps::RANGES`](neti_common::maps::RANGES).
    pub overlay: Vec<IpNet>,
    /// A member of a network that is not among them is left out of the fleet.
    pub networks: Networks,
    pub mode: Mode,
    pub identity: Identity,
    /// What each source prefix may reach, the rules of the prefixes around it included: the
    /// longest match alone answers.
    pub allow: Vec<AllowRule>,
    pub open: Vec<OpenPort>,
    /// Where ssh is always let in from; of each family at most
    /// [`maps::FAILSAFES`](neti_common::maps::FAILSAFES).
    pub failsafe: Vec<IpNet>,
    /// Whether strangers may ping us.
    pub echo: bool,
    /// Source ports reserved for twins.
    pub twin_ports: PortRange,
    /// How many members may vanish at once before removals are held ([`crate::guard`]).
    pub max_removals: usize,
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

const DEFAULT_MAX_REMOVALS: usize = 20;

impl FleetSettings {
    /// Parses and validates the settings; `file` is what errors call them.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, FleetError> {
        let map: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| {
            let what = format!("not a JSON object: {error}");
            SettingsError::File { file: file.to_owned(), what }
        })?;
        let mut keys = Keys::new(file, map);
        let overlay = ranges::overlay(&mut keys)?;
        let networks = networks::read(&mut keys)?;
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
        let failsafe = ranges::failsafe(&mut keys)?;
        let echo = keys.optional("echo", "true or false", Value::as_bool)?;
        let twin_ports =
            keys.optional("twin_ports", "a range of ports like 61000-65535", parsed)?;
        let max_removals = keys.optional("max_removals", "a number of members", |value| {
            value.as_u64().and_then(|number| number.try_into().ok())
        })?;
        keys.finish()?;
        Ok(Self {
            overlay,
            networks,
            mode: mode.unwrap_or(Mode::Observe),
            identity: identity.unwrap_or(Identity::Real),
            allow,
            open: open.unwrap_or_default(),
            failsafe,
            echo: echo.unwrap_or(false),
            twin_ports: twin_ports.unwrap_or(DEFAULT_TWIN_PORTS),
            max_removals: max_removals.unwrap_or(DEFAULT_MAX_REMOVALS),
        })
    }

    /// Whether `address` lies in an overlay range.
    pub fn is_overlay(&self, address: IpAddr) -> bool {
        self.overlay.iter().any(|range| range.contains(&address))
    }

    /// The range that overlay addresses of `family` are allocated from; `None` if the fleet has none
    /// in that family.
    pub fn range(&self, family: IpFamily) -> Option<IpNet> {
        self.overlay.iter().copied().find(|range| IpFamily::of_range(range) == family)
    }
}

#[cfg(test)]
mod tests;
