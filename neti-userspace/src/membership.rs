//! The members of the fleet as the registry has them.

mod labels;

use std::{
    borrow::Borrow,
    fmt,
    net::IpAddr,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use imbl::OrdMap;
use neti_common::maps::OVERLAYS;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::labels::Labels;
use crate::{
    addresses::{self, Addresses, IpFamily, NoHost},
    fleet::FleetSettings,
    guard::WINDOW,
};

/// The id of a host: 1 to 64 characters out of `A-Z a-z 0-9 . _ -`, not beginning with a dot, so
/// that it can be a file's name and a registry key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostId(Arc<str>);

impl HostId {
    /// What an id must be, for error messages.
    pub const RIGHT: &str = "1 to 64 of A-Z a-z 0-9 . _ - and not begin with a dot";

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no host id, which must be {right}", right = HostId::RIGHT)]
pub struct HostIdError(String);

impl FromStr for HostId {
    type Err = HostIdError;

    fn from_str(text: &str) -> Result<Self, HostIdError> {
        if is_name(text) { Ok(Self(text.into())) } else { Err(HostIdError(text.to_owned())) }
    }
}

impl TryFrom<String> for HostId {
    type Error = HostIdError;

    fn try_from(text: String) -> Result<Self, HostIdError> {
        text.parse()
    }
}

impl From<HostId> for String {
    fn from(id: HostId) -> Self {
        id.as_str().to_owned()
    }
}

/// It is compared as the text that it is.
impl Borrow<str> for HostId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` may name a host, a network or a role.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.starts_with('.')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// What a member says of its condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    #[default]
    Up,
    /// Its daemon is about to end, and the record to be removed: nobody need wait for it.
    Leaving,
}

impl MemberState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Leaving => "leaving",
        }
    }
}

/// The latest format of a record that we read. A key that is added needs no other; what an older
/// neti would take for something else does.
pub const FORMAT: u32 = 1;

/// A host as it registered itself. A record with keys that we do not know is a record all the same:
/// the fleet may run more than one version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// At most [`FORMAT`].
    #[serde(default = "first_format")]
    pub format: u32,
    pub id: HostId,
    /// Its overlay addresses, in each family the primary one first: at least one, of each family at
    /// most [`OVERLAYS`], all different.
    pub overlays: Vec<IpAddr>,
    /// Reach it from inside its network.
    #[serde(default)]
    pub private: Addresses,
    /// Reach it from anywhere.
    #[serde(default)]
    pub public: Addresses,
    pub network: String,
    #[serde(default)]
    pub role: String,
    #[serde(default)]
    pub labels: Labels,
    /// Of its daemon.
    #[serde(default)]
    pub version: String,
    /// Of two members with one overlay address the one with the higher generation has it.
    #[serde(default = "first_generation")]
    pub generation: u32,
    /// Unix time in milliseconds from which the member has held its real addresses without a
    /// break: of two members with one real address the older claim holds. The registry sets it.
    #[serde(default = "newest_claim")]
    pub since: u64,
    #[serde(default)]
    pub state: MemberState,
}

/// The format of a record that names none.
fn first_format() -> u32 {
    1
}

/// The generation of a record that names none.
pub fn first_generation() -> u32 {
    1
}

/// The claim of a record that names no time: it takes nothing from anybody.
fn newest_claim() -> u64 {
    u64::MAX
}

/// Why a record cannot be used.
#[derive(Debug, Error)]
pub enum RecordError {
    #[error("not a member record: {0}")]
    Json(#[from] serde_json::Error),
    #[error("format = {0}: of a later neti; this one reads up to {FORMAT}")]
    Format(u32),
    #[error("id = {0:?}: must be {1:?}, the name of its key")]
    Id(String, String),
    #[error("overlays: no address; must be at least one")]
    NoOverlay,
    #[error("overlays: {1} {0} addresses; must be at most {OVERLAYS} of each family")]
    Overlays(IpFamily, usize),
    #[error("overlays: {0} is there twice; each must be there once")]
    OverlayTwice(IpAddr),
    #[error("network = {0:?}: must be a name of {right}", right = HostId::RIGHT)]
    Network(String),
    #[error("role = {0:?}: must be empty or a name of {right}", right = HostId::RIGHT)]
    Role(String),
    #[error("{0}: {1} {2}")]
    Address(&'static str, IpAddr, NoHost),
    #[error("private, public: both missing; one must be there")]
    NoAddress,
}

impl MemberRecord {
    /// Parses and validates the record stored under `key`.
    pub fn parse(key: &str, bytes: &[u8]) -> Result<Self, RecordError> {
        let mut record = match serde_json::from_slice::<Self>(bytes) {
            // What we cannot read may be so because it is of another format.
            Err(error) => return Err(later_format(bytes).unwrap_or(error.into())),
            Ok(record) if record.format > FORMAT => return Err(RecordError::Format(record.format)),
            Ok(record) => record,
        };
        if record.id.as_str() != key {
            return Err(RecordError::Id(record.id.to_string(), key.to_owned()));
        }
        record.validate()?;
        // All of them are kept, and few change.
        record.overlays.shrink_to_fit();
        Ok(record)
    }

    /// Where it is reached, and from where.
    pub fn real_addresses(&self) -> (&str, Addresses, Addresses) {
        (&self.network, self.private, self.public)
    }

    fn validate(&self) -> Result<(), RecordError> {
        if self.overlays.is_empty() {
            return Err(RecordError::NoOverlay);
        }
        for family in IpFamily::ALL {
            let of_family = |overlay: &&IpAddr| IpFamily::of(**overlay) == family;
            let count = self.overlays.iter().filter(of_family).count();
            if count > OVERLAYS {
                return Err(RecordError::Overlays(family, count));
            }
        }
        for (index, overlay) in self.overlays.iter().enumerate() {
            if self.overlays[..index].contains(overlay) {
                return Err(RecordError::OverlayTwice(*overlay));
            }
        }
        if !is_name(&self.network) {
            return Err(RecordError::Network(self.network.clone()));
        }
        if !self.role.is_empty() && !is_name(&self.role) {
            return Err(RecordError::Role(self.role.clone()));
        }
        let overlays = self.overlays.iter().map(|address| ("overlays", *address));
        let private = self.private.iter().map(|address| ("private", address));
        let public = self.public.iter().map(|address| ("public", address));
        for (field, address) in overlays.chain(private).chain(public) {
            addresses::real(address)
                .map_err(|error| RecordError::Address(field, address, error))?;
        }
        if self.private.is_empty() && self.public.is_empty() {
            return Err(RecordError::NoAddress);
        }
        Ok(())
    }
}

/// The error of a record that says itself that it is of a later format.
fn later_format(bytes: &[u8]) -> Option<RecordError> {
    #[derive(Deserialize)]
    struct Only {
        format: u32,
    }
    let Only { format } = serde_json::from_slice(bytes).ok()?;
    (format > FORMAT).then_some(RecordError::Format(format))
}

/// Something in the registry, or in how its parts fit together, that is left out of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Problem {
    /// The registry key at fault: `members/hudson`, `fleet`.
    pub key: String,
    /// What is wrong, what becomes of it, and what would be right.
    pub what: String,
}

/// The registry cannot be reached and the snapshot is the last one known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stale {
    #[serde(with = "unix_seconds")]
    pub since: SystemTime,
    pub why: String,
}

/// An operator's word that so many members may vanish at once ([`crate::guard`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Random: each confirmation is for what is held when it comes.
    pub id: String,
    /// At most so many.
    pub removals: usize,
}

/// Members that have vanished from the registry and stay in the fleet all the same, because they are
/// too many ([`crate::guard`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub count: usize,
    /// How many have vanished of late, those included.
    pub vanished: usize,
    /// So many could have gone.
    pub limit: usize,
    #[serde(with = "unix_seconds")]
    pub since: SystemTime,
    /// The first of them.
    pub names: Vec<HostId>,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, vanished, limit, names, .. } = self;
        let more = if names.len() < *count { ", ..." } else { "" };
        write!(
            f,
            "{vanished} members have vanished from the registry within {} s, more than {limit}; \
             {count} of them are held: {}{more}; if they are meant to go, run `neti fleet confirm`",
            WINDOW.as_secs(),
            addresses::list(names)
        )
    }
}

/// Members by id. Clones share what they have in common, and
/// [`diff`](imbl::OrdMap::diff) passes over it, so that a snapshot costs what has changed.
pub type Members = OrdMap<HostId, Arc<MemberRecord>>;

/// One snapshot of the whole fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Grows with every snapshot that a registry publishes.
    pub revision: u64,
    pub fleet: Arc<FleetSettings>,
    /// What `fleet` was parsed from.
    pub fleet_text: Arc<str>,
    /// When this host first heard of something that is otherwise than in the snapshot before, which may have been overtaken
    /// by this one; `None` if it did not hear of it but looked.
    pub heard: Option<Instant>,
    /// The members that are alive, our own host among them.
    pub members: Members,
    pub problems: Vec<Problem>,
    pub stale: Option<Stale>,
    /// How many outages there were so far.
    pub outages: u64,
    /// The last one that was made.
    pub confirmed: Option<Confirmation>,
    /// Set by the guard, not by the registry.
    pub held: Option<Held>,
}

pub mod unix_seconds {
    use serde::{Deserializer, Serializer};

    use super::*;

    pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        serializer.serialize_u64(since.as_secs())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::deserialize(from)?))
    }
}

#[cfg(test)]
pub mod sample;
#[cfg(test)]
mod tests;
