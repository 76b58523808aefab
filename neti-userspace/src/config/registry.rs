//! The table `registry`: where the fleet is registered.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use serde_json::Value;

use super::ConfigError;
use crate::{keys::Keys, membership::is_name};

/// Where the fleet is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryConfig {
    /// A directory that all hosts share.
    Directory {
        path: PathBuf,
        /// After this time without a sign of life a host is gone.
        ttl: Duration,
    },
    Etcd(Servers),
    ZooKeeper {
        servers: Servers,
        layout: Layout,
    },
}

/// A registry that is kept by servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Servers {
    /// Those for this host's network, `HOST:PORT` each, in etcd behind `http://` or `https://`; at
    /// least one.
    pub endpoints: Vec<String>,
    /// What the keys begin with: with a slash before and none behind, or empty.
    pub prefix: String,
    /// After this time without a sign of life a host is gone.
    pub ttl: Duration,
    /// `None`: without TLS.
    pub tls: Option<Tls>,
    pub credentials: Option<Credentials>,
}

/// How servers are told from others, and we from other clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities that sign the servers', PEM.
    pub ca: PathBuf,
    /// Our certificate and its private key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Who we are to the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    /// Its first line is the password.
    pub password_file: PathBuf,
}

/// Which tree a ZooKeeper registry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// That of all registries.
    Neti,
    /// That of Instagram's Neti of 2013, whose daemons may be in the same fleet.
    Classic,
}

impl RegistryConfig {
    /// The kind and where its tree is, wherever the servers are.
    pub fn tree(&self) -> String {
        match self {
            Self::Directory { .. } => self.to_string(),
            Self::Etcd(servers) => format!("etcd {}", servers.prefix),
            Self::ZooKeeper { servers, .. } => format!("zookeeper {}", servers.prefix),
        }
    }

    /// `HOST:PORT` of the servers for this host's network.
    pub fn endpoints(&self) -> Vec<&str> {
        let servers = match self {
            Self::Directory { .. } => return Vec::new(),
            Self::Etcd(servers) | Self::ZooKeeper { servers, .. } => servers,
        };
        let after_scheme = |endpoint: &'_ String| {
            let start = endpoint.find("//").map_or(0, |slashes| slashes + 2);
            start..endpoint.len()
        };
        servers.endpoints.iter().map(|endpoint| &endpoint[after_scheme(endpoint)]).collect()
    }
}

impl fmt::Display for RegistryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, .. } => write!(f, "directory {}", path.display()),
            Self::Etcd(servers) => write!(f, "etcd {}", servers.endpoints.join(",")),
            Self::ZooKeeper { servers, .. } => {
                write!(f, "zookeeper {}", servers.endpoints.join(","))
            }
        }
    }
}

const DEFAULT_TTL: f64 = 30.0;
const DEFAULT_PREFIX: &str = "/neti";
const TABLE: &str = "a table with kind, and path or endpoints";
const KIND: &str = "directory, etcd or zookeeper";

pub fn read(keys: &mut Keys, network: &str) -> Result<RegistryConfig, ConfigError> {
    let mut keys = keys.table("registry", TABLE)?;
    let kind = keys.required("kind", KIND, |value| {
        let kind = value.as_str()?;
        ["directory", "etcd", "zookeeper"].contains(&kind).then(|| kind.to_owned())
    })?;
    let config = match kind.as_str() {
        "directory" => RegistryConfig::Directory { path: path(&mut keys)?, ttl: ttl(&mut keys)? },
        "etcd" => RegistryConfig::Etcd(etcd(&mut keys, network)?),
        _ => {
            let layout =
                keys.optional("layout", "neti or classic", |value| match value.as_str()? {
                    "neti" => Some(Layout::Neti),
                    "classic" => Some(Layout::Classic),
                    _ => None,
                })?;
            let endpoints = endpoints(&mut keys, network, "a server like 10.0.0.5:2181", |text| {
                is_endpoint(text)
            })?;
            RegistryConfig::ZooKeeper {
                servers: servers(&mut keys, endpoints, None)?,
                layout: layout.unwrap_or(Layout::Neti),
            }
        }
    };
    keys.finish()?;
    Ok(config)
}

fn path(keys: &mut Keys) -> Result<PathBuf, ConfigError> {
    keys.required("path", "an absolute path, like /var/lib/neti/registry", absolute)
}

fn ttl(keys: &mut Keys) -> Result<Duration, ConfigError> {
    let ttl = keys.optional("ttl", "0.5 to 86400 seconds", |value| {
        value.as_f64().filter(|seconds| (0.5..=86_400.0).contains(seconds))
    })?;
    Ok(Duration::from_secs_f64(ttl.unwrap_or(DEFAULT_TTL)))
}

/// etcd's endpoints are URLs, whose scheme says whether TLS is used.
fn etcd(keys: &mut Keys, network: &str) -> Result<Servers, ConfigError> {
    let rest = |text: &str| {
        text.strip_prefix("https://").or(text.strip_prefix("http://")).map(str::to_owned)
    };
    let right = "a server like http://10.0.0.5:2379 or https://etcd.example:2379";
    let endpoints =
        endpoints(keys, network, right, |text| rest(text).is_some_and(|rest| is_endpoint(&rest)))?;
    let secure = endpoints.iter().filter(|endpoint| endpoint.starts_with("https:")).count();
    if secure != 0 && secure != endpoints.len() {
        let what = "must be all http or all https";
        return Err(keys.wrong("endpoints", &endpoints.join(", "), what));
    }
    servers(keys, endpoints, Some(secure != 0))
}

/// The endpoints for hosts of `network`: the list, or its list in a table by network.
fn endpoints(
    keys: &mut Keys,
    network: &str,
    right: &str,
    is_right: impl Fn(&str) -> bool,
) -> Result<Vec<String>, ConfigError> {
    let list = |value: &Value| -> Result<Vec<String>, String> {
        let texts = value.as_array().filter(|texts| !texts.is_empty());
        let texts = texts.ok_or_else(|| format!("must be a list, each element {right}"))?;
        let text = |text: &Value| {
            let fit = text.as_str().filter(|text| is_right(text)).map(str::to_owned);
            fit.ok_or_else(|| format!("{text} must be {right}"))
        };
        texts.iter().map(text).collect()
    };
    let tables = "a list of servers, or a table with such a list for each network";
    keys.required("endpoints", tables, |value| {
        let Some(networks) = value.as_object() else { return list(value) };
        let mut lists = BTreeMap::new();
        for (name, value) in networks {
            if !is_name(name) {
                return Err(format!("{name:?} is no network's name"));
            }
            lists.insert(name, list(value).map_err(|what| format!("{name}: {what}"))?);
        }
        let names: Vec<_> = lists.keys().map(|name| name.as_str()).collect();
        let missing = format!(
            "must have a list for this host's network {network:?}; it has those of {}",
            names.join(", ")
        );
        lists.remove(&network.to_owned()).ok_or(missing)
    })
}

/// What all servers have in common; `secure` says whether they speak TLS where the endpoints tell.
fn servers(
    keys: &mut Keys,
    endpoints: Vec<String>,
    secure: Option<bool>,
) -> Result<Servers, ConfigError> {
    let prefix = keys.optional("prefix", "a path like /neti", |value| {
        let text = value.as_str()?.trim_end_matches('/');
        let names = text.is_empty() || text.strip_prefix('/')?.split('/').all(is_name);
        names.then(|| text.to_owned())
    })?;
    let ttl = ttl(keys)?;
    let mut file = |key: &'static str| keys.optional(key, "an absolute path", absolute);
    let (ca, cert, key) = (file("ca")?, file("cert")?, file("key")?);
    let (user, password_file) = (
        keys.optional("user", "a user's name", |value| {
            value.as_str().filter(|text| !text.is_empty() && !text.contains(':')).map(str::to_owned)
        })?,
        keys.optional("password_file", "an absolute path", absolute)?,
    );
    let identity = match (cert, key) {
        (Some(cert), Some(key)) => Some((cert, key)),
        (None, None) => None,
        (Some(_), None) => return Err(keys.missing("key", "the private key of cert, a PEM file")),
        (None, Some(_)) => return Err(keys.missing("cert", "the certificate of key, a PEM file")),
    };
    let tls = match (ca, identity) {
        (Some(ca), identity) if secure != Some(false) => Some(Tls { ca, identity }),
        (Some(ca), _) => {
            let what = "is for TLS; the endpoints must be https then";
            return Err(keys.wrong("ca", &ca.display(), what));
        }
        (None, None) if secure != Some(true) => None,
        (None, _) => {
            return Err(keys.missing("ca", "the certificates that sign the servers', a PEM file"));
        }
    };
    let credentials = match (user, password_file) {
        (Some(user), Some(password_file)) => Some(Credentials { user, password_file }),
        (None, None) => None,
        (Some(_), None) => {
            return Err(keys.missing("password_file", "a file that holds the user's password"));
        }
        (None, Some(_)) => return Err(keys.missing("user", "whose password password_file holds")),
    };
    let prefix = prefix.unwrap_or_else(|| DEFAULT_PREFIX.to_owned());
    Ok(Servers { endpoints, prefix, ttl, tls, credentials })
}

fn absolute(value: &Value) -> Option<PathBuf> {
    value.as_str().map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Whether `text` is HOST:PORT, with an IPv6 address in brackets.
fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bracketed {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let fit = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            !host.is_empty() && host.bytes().all(fit)
        }
    };
    is_host && port.parse::<u16>().is_ok_and(|port| port != 0)
}
