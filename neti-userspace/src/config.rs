//! The host's own configuration file, `/etc/neti/neti.toml`, parsed and validated once.

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use serde_json::{Map, Value};

use crate::{
    addresses::{self, Addresses},
    keys::{Keys, SettingsError, parsed},
    membership::{HostId, is_name},
};

mod registry;

pub use registry::{Credentials, Layout, RegistryConfig, Servers, Tls};

/// What is wrong with the configuration.
pub type ConfigError = SettingsError;

/// The configuration, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Names the pins and the runtime directory: several instances can share a kernel.
    pub instance: String,
    pub host: HostId,
    pub network: String,
    /// The interface that carries the overlay.
    pub uplink: String,
    /// In a family that it has none of: the uplink's first global address.
    pub private: Addresses,
    pub public: Addresses,
    /// Empty for none.
    pub role: String,
    pub labels: BTreeMap<String, String>,
    pub attach: Attach,
    /// Whether to keep the host's own overlay flows out of conntrack.
    pub notrack: bool,
    pub registry: RegistryConfig,
}

/// Where the programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attach {
    /// XDP and tcx where the driver takes XDP natively, else tcx alone.
    Auto,
    /// XDP, native mode only, and tcx.
    Xdp,
    /// tcx alone.
    Tcx,
}

/// The instance of a configuration that names none.
pub const DEFAULT_INSTANCE: &str = "default";

const ADDRESS: &str = "a host's address like 10.0.0.10, or a list of an IPv4 and an IPv6 address";
const NAME: &str = HostId::RIGHT;

impl Config {
    /// Reads the file. The default for `host` is this machine's hostname.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| SettingsError::File {
            file: file.display().to_string(),
            what: format!("cannot be read: {error}"),
        })?;
        let hostname = nix::unistd::gethostname().unwrap_or_default();
        Self::parse(&file.display().to_string(), &text, &hostname.to_string_lossy())
    }

    /// Parses and validates `text`; `file` is what errors call it.
    pub fn parse(file: &str, text: &str, hostname: &str) -> Result<Self, ConfigError> {
        let map = toml::from_str::<Map<String, Value>>(text).map_err(|error| {
            SettingsError::File { file: file.to_owned(), what: syntax(text, &error) }
        })?;
        let mut keys = Keys::new(file, map);
        let instance = keys.optional("instance", "1 to 32 of a-z 0-9 -", |value| {
            value.as_str().filter(|text| is_instance(text)).map(str::to_owned)
        })?;
        let host = match keys.optional("host", NAME, parsed)? {
            Some(host) => host,
            // What is wrong is the hostname, but the key is where the operator can mend it.
            None => hostname.parse().map_err(|_| {
                keys.wrong("host", &format!("{hostname:?}"), &format!("must be {NAME}"))
            })?,
        };
        let network = keys.required("network", "the name of the host's network, like ec2", name)?;
        let config = Self {
            instance: instance.unwrap_or_else(|| DEFAULT_INSTANCE.to_owned()),
            host,
            uplink: keys.required("uplink", "the name of an interface, like eth0", interface)?,
            private: addresses(&mut keys, "private")?,
            public: addresses(&mut keys, "public")?,
            role: keys.optional("role", NAME, name)?.unwrap_or_default(),
            labels: keys
                .optional("labels", "a table of texts, like { rack = \"b12\" }", labels)?
                .unwrap_or_default(),
            attach: keys
                .optional("attach", "auto, xdp or tcx", |value| match value.as_str()? {
                    "auto" => Some(Attach::Auto),
                    "xdp" => Some(Attach::Xdp),
                    "tcx" => Some(Attach::Tcx),
                    _ => None,
                })?
                .unwrap_or(Attach::Auto),
            notrack: keys.optional("notrack", "true or false", Value::as_bool)?.unwrap_or(false),
            registry: registry::read(&mut keys, &network)?,
            network,
        };
        if config.is_classic() && !config.role.is_empty() {
            let what = "must be left out with layout classic, whose records have no roles: no rule \
                        about this one would hold";
            return Err(keys.wrong("role", &format!("{:?}", config.role), what));
        }
        keys.finish()?;
        Ok(config)
    }

    /// Whether the registry is the original Neti's.
    fn is_classic(&self) -> bool {
        matches!(self.registry, RegistryConfig::ZooKeeper { layout: Layout::Classic, .. })
    }
}

/// Whether `text` can name an instance.
pub fn is_instance(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn name(value: &Value) -> Option<String> {
    value.as_str().filter(|text| is_name(text)).map(str::to_owned)
}

/// As the kernel's dev_valid_name() has it.
fn interface(value: &Value) -> Option<String> {
    let name = value.as_str()?;
    let valid = (1..16).contains(&name.len())
        && ![".", ".."].contains(&name)
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace());
    valid.then(|| name.to_owned())
}

fn addresses(keys: &mut Keys, key: &'static str) -> Result<Addresses, ConfigError> {
    let read = |value: &Value| {
        let address: IpAddr = parsed(value).ok_or_else(|| format!("must be {ADDRESS}"))?;
        addresses::real(address).map_err(|error| error.to_string())
    };
    let given = keys.one_or_more(key, ADDRESS, read)?.unwrap_or_default();
    Addresses::collect(given.iter().copied())
        .map_err(|error| keys.wrong(key, &addresses::list(&given), &error.to_string()))
}

fn labels(value: &Value) -> Option<BTreeMap<String, String>> {
    let label = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    value.as_object()?.iter().map(label).collect()
}

/// One line of a TOML error, which by itself draws the place over several.
fn syntax(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    format!("line {line}: {}", error.message().replace('\n', ", "))
}

#[cfg(test)]
mod tests;
