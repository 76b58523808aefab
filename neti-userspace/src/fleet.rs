//! The fleet settings: what all hosts of a fleet share, kept in the registry and written by the
//! operator as JSON.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use crate::{
    addresses::IpFamily,
    keys::{Keys, SettingsError, json},
    membership::HostId,
    rules,
};

mod allow;
mod networks;
pub mod policy;
mod ports;
mod ranges;

pub use allow::AllowRule;
pub use networks::{Networks, Unlisted};
pub use policy::{MemberRule, Overrides, Policy, Who, warnings};
pub use ports::{NoPorts, OpenPort, PortRange, Transport};
pub use ranges::DEFAULT_FAILSAFE;

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
    /// Of hosts that the policy does not give another.
    pub mode: Mode,
    pub identity: Identity,
    pub policy: Policy,
    /// Where ssh is always let in from; of each family at most
    /// [`maps::FAILSAFES`](neti_common::maps::FAILSAFES).
    pub failsafe: Vec<IpNet>,
    /// Whether strangers may ping hosts that the policy does not give another word. Members always
    /// may.
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

const DEFAULT_TWIN_PORTS: PortRange = PortRange { first: 61_000, last: 65_535 };

const DEFAULT_MAX_REMOVALS: usize = 20;

impl FleetSettings {
    /// Parses and validates the settings; `file` is what errors call them. They tell the line too where
    /// there is more than one.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, FleetError> {
        let lines = bytes.trim_ascii_end().contains(&b'\n');
        Self::read(file, bytes).map_err(|error| if lines { error.at_line(bytes) } else { error })
    }

    /// The same for a file, of which errors always tell the line.
    pub fn parse_file(file: &str, bytes: &[u8]) -> Result<Self, FleetError> {
        Self::read(file, bytes).map_err(|error| error.at_line(bytes))
    }

    fn read(file: &str, bytes: &[u8]) -> Result<Self, FleetError> {
        let broken = |what: String| SettingsError::File { file: file.to_owned(), what };
        let map = match json::read(bytes) {
            Ok(Value::Object(map)) => map,
            Ok(_) => return Err(broken("not a JSON object; must be { ... }".to_owned())),
            // What is no syntax error is a key that is there twice.
            Err(error) if error.is_data() => return Err(broken(error.to_string())),
            Err(error) => return Err(broken(format!("not a JSON object: {error}"))),
        };
        let mut keys = Keys::new(file, map);
        let overlay = ranges::overlay(&mut keys)?;
        let networks = networks::read(&mut keys)?;
        let mode = Mode::read(&mut keys)?;
        let identity =
            keys.optional("identity", "real or overlay", |value| match value.as_str()? {
                "real" => Some(Identity::Real),
                "overlay" => Some(Identity::Overlay),
                _ => None,
            })?;
        let failsafe = ranges::failsafe(&mut keys)?;
        let echo = policy::echo(&mut keys)?;
        const PORTS: &str = "a range of ports like 61000-65535";
        let twin_ports = keys.optional("twin_ports", PORTS, ports::read(PORTS))?;
        let max_removals = keys.optional("max_removals", "a number of members", |value| {
            value.as_u64().and_then(|number| number.try_into().ok())
        })?;
        let policy = policy::read(&mut keys, &overlay)?;
        if let Err(rules::TooMany { key, value, right }) = rules::check(&policy) {
            return Err(keys.wrong(&key, &value, &right));
        }
        keys.finish()?;
        Ok(Self {
            overlay,
            networks,
            mode: mode.unwrap_or(Mode::Observe),
            identity: identity.unwrap_or(Identity::Real),
            policy,
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

    /// What the filter of a host does: the host's own word, else its role's, else the fleet's.
    pub fn mode_of(&self, id: &HostId, role: &str) -> Mode {
        let own = self.policy.overrides(Some(id), role).filter_map(|own| own.mode);
        own.last().unwrap_or(self.mode)
    }

    /// Overlay addresses that no host may have, for they stand for somebody who is no member.
    pub fn overridden(&self) -> impl Iterator<Item = IpAddr> {
        self.policy.nat_overrides.keys().copied()
    }

    /// The range that overlay addresses of `family` are allocated from; `None` if the fleet has none
    /// in that family.
    pub fn range(&self, family: IpFamily) -> Option<IpNet> {
        self.overlay.iter().copied().find(|range| IpFamily::of_range(range) == family)
    }
}

#[cfg(test)]
mod tests;
