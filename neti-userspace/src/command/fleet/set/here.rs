//! Where the operator stands: what of it new settings might cut off.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    process,
};

use crate::{command::run::host, config::Config, membership::HostId};

pub struct Here {
    /// This host, which may be no member.
    pub host: HostId,
    /// That it is in.
    pub network: String,
    /// The registry's servers, as far as their names are known.
    pub endpoints: Vec<SocketAddr>,
    pub ssh: Option<Session>,
}

/// An ssh session into this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    pub client: IpAddr,
    /// Where the server listens.
    pub port: u16,
}

impl Here {
    pub async fn of(config: &Config) -> Self {
        let ssh = connection().and_then(|text| session(&text));
        let (host, network) = (config.host.clone(), config.network.clone());
        Self { host, network, endpoints: host::endpoints(config).await, ssh }
    }
}

/// What sshd has told this process or one that it comes from: sudo passes it on to nobody.
fn connection() -> Option<String> {
    let mut process = process::id();
    // No terminal is deeper than that.
    for _ in 0..32 {
        let environment = fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let told = environment.split(|byte| *byte == 0).find_map(|word| {
            word.strip_prefix(b"SSH_CONNECTION=").map(|text| String::from_utf8_lossy(text).into())
        });
        if told.is_some() {
            return told;
        }
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The name may have any byte in it, and ends with the last bracket; the state and the parent follow.
        let (_, fields) = stat.rsplit_once(") ")?;
        process = fields.split(' ').nth(1)?.parse().ok().filter(|parent| *parent != 0)?;
    }
    None
}

/// From what sshd sets: the client's address and port, and the server's. A session over loopback never
/// comes to the filter.
fn session(text: &str) -> Option<Session> {
    let mut words = text.split(' ');
    let (client, port) = (words.next()?, words.nth(2)?);
    // A link-local address names its interface.
    let client = client.split('%').next()?.parse::<IpAddr>().ok()?.to_canonical();
    (!client.is_loopback()).then_some(Session { client, port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::sample::ip;

    #[test]
    fn a_session_is_read_as_sshd_writes_it() {
        let of = |client: &str, port| Some(Session { client: ip(client), port });
        for (text, read) in [
            ("198.51.100.7 50022 10.0.0.10 22", of("198.51.100.7", 22)),
            ("::ffff:198.51.100.7 50022 ::ffff:10.0.0.10 2222", of("198.51.100.7", 2222)),
            ("2001:db8::7 50022 2001:db8::10 22", of("2001:db8::7", 22)),
            ("fe80::1%eth0 50022 fe80::2%eth0 22", of("fe80::1", 22)),
            ("127.0.0.1 50022 127.0.0.1 22", None),
            ("::1 50022 ::1 22", None),
            ("198.51.100.7 50022", None),
            ("", None),
        ] {
            assert_eq!(session(text), read, "{text}");
        }
    }
}
