//! Ports and ranges of ports, as the settings write them.

use std::{fmt, str::FromStr};

use serde_json::Value;

use super::FleetError;
use crate::{
    keys::Keys,
    rules::services::{self, TCP, UDP},
};

/// Ports `first` to `last`, both included; reads `443` and `8000-8010`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

/// What is no [`PortRange`], or holds none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoPorts {
    /// The last port comes first; with what would be right.
    Inverted(String),
    Other,
}

impl FromStr for PortRange {
    type Err = NoPorts;

    fn from_str(text: &str) -> Result<Self, NoPorts> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let port = |text: &str| {
            let port = text.parse().map_err(|_| NoPorts::Other)?;
            if port == 0 { Err(NoPorts::Other) } else { Ok(port) }
        };
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(NoPorts::Inverted(format!("{last}-{first}")));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Transport {
    /// Its IP protocol number.
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Tcp => TCP,
            Self::Udp => UDP,
        }
    }
}

/// Ports open to anyone; reads `tcp/80` and `udp/6000-6010`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenPort {
    pub transport: Transport,
    pub ports: PortRange,
}

impl OpenPort {
    /// The numbers of its services.
    pub fn services(&self) -> (u32, u32) {
        services::range(self.transport.protocol(), Some(self.ports))
    }
}

impl FromStr for OpenPort {
    type Err = NoPorts;

    fn from_str(text: &str) -> Result<Self, NoPorts> {
        let (name, ports) = text.split_once('/').ok_or(NoPorts::Other)?;
        let transport = match name {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => return Err(NoPorts::Other),
        };
        match ports.parse() {
            Ok(ports) => Ok(Self { transport, ports }),
            Err(NoPorts::Inverted(right)) => Err(NoPorts::Inverted(format!("{name}/{right}"))),
            Err(NoPorts::Other) => Err(NoPorts::Other),
        }
    }
}

impl fmt::Display for OpenPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        write!(f, "{transport}/{}", self.ports)
    }
}

/// For [`Keys`]: reads a text that holds ports, which must be `right`.
pub fn read<T: FromStr<Err = NoPorts>>(right: &str) -> impl Fn(&Value) -> Result<T, String> {
    move |value| {
        let read = value.as_str().ok_or(NoPorts::Other).and_then(str::parse);
        read.map_err(|error| match error {
            NoPorts::Inverted(right) => format!("inverted; write {right}"),
            NoPorts::Other => format!("must be {right}"),
        })
    }
}

/// Reads the key `open`.
pub fn open(keys: &mut Keys) -> Result<Vec<OpenPort>, FleetError> {
    const RIGHT: &str = "like tcp/80 or udp/6000-6010";
    let open = keys.list("open", RIGHT, read(RIGHT))?.unwrap_or_default();
    apart(keys, "open", &open, OpenPort::services)?;
    Ok(open)
}

/// Fails if two elements of the list `key` have ports in common.
pub fn apart<T: fmt::Display>(
    keys: &Keys,
    key: &str,
    list: &[T],
    services: impl Fn(&T) -> (u32, u32),
) -> Result<(), FleetError> {
    match services::overlap(list.iter().map(services)) {
        None => Ok(()),
        Some((first, second)) => {
            let what = format!("overlaps {}; must be apart from it, or left out", list[first]);
            Err(keys.wrong(&format!("{key}[{second}]"), &quoted(&list[second]), &what))
        }
    }
}

/// A value as it stands in JSON.
fn quoted(value: &impl ToString) -> Value {
    Value::String(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_and_written_alike() {
        for (text, read) in [
            ("443", Ok((443, 443))),
            ("1-65535", Ok((1, 65_535))),
            ("80-80", Ok((80, 80))),
            ("8010-8000", Err(NoPorts::Inverted("8000-8010".to_owned()))),
            ("0", Err(NoPorts::Other)),
            ("0-5", Err(NoPorts::Other)),
            ("5-0", Err(NoPorts::Other)),
            ("65536", Err(NoPorts::Other)),
            ("80-", Err(NoPorts::Other)),
            ("", Err(NoPorts::Other)),
        ] {
            let ports = text.parse::<PortRange>();
            assert_eq!(ports.clone().map(|ports| (ports.first, ports.last)), read, "{text}");
            if let Ok(ports) = ports {
                assert_eq!(ports.to_string().parse(), Ok(ports));
            }
        }
        for (text, read) in [
            ("tcp/80", Ok("tcp/80")),
            ("udp/6000-6010", Ok("udp/6000-6010")),
            ("udp/2-1", Err(NoPorts::Inverted("udp/1-2".to_owned()))),
            ("icmp/1", Err(NoPorts::Other)),
            ("80", Err(NoPorts::Other)),
        ] {
            assert_eq!(text.parse().map(|open: OpenPort| open.to_string()), read.map(String::from));
        }
    }
}
