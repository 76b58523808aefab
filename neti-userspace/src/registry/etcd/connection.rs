//! A connection to one of the servers at a time. Whoever finds it dead leaves it, and the next
//! request goes to the next server; what others still have open there they leave by themselves.
//!
//! The crate's own balancing over several endpoints is not used: it goes on sending requests to a
//! server that hangs.

use std::{future::Future, path::Path, time::Duration};

use anyhow::{Context, anyhow};
use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::errors::{Failure, Kind};
use crate::{
    config::{Credentials, Servers, Tls},
    registry::{RegistryError, Result},
};

/// A request is given up after this time, over all servers that were asked.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// One server has at most half of it, so that another can be asked.
const SHARE: Duration = Duration::from_millis(2_400);
const PAUSE: Duration = Duration::from_millis(100);

pub struct Connection {
    servers: Servers,
    name: String,
    current: Mutex<Current>,
}

/// The server in use.
struct Current {
    endpoint: usize,
    /// Counts the connections.
    number: u64,
    client: Option<Client>,
}

/// A connection as somebody uses it.
#[derive(Clone)]
pub struct Session {
    pub client: Client,
    number: u64,
}

impl Connection {
    /// It reads the files that the configuration names, and asks no server.
    pub fn new(servers: Servers) -> Result<Self> {
        servers.tls.as_ref().map(tls).transpose()?;
        servers.credentials.as_ref().map(password).transpose()?;
        let name = format!("etcd {}", servers.endpoints.join(","));
        // A fleet's hosts spread over the servers.
        let endpoint = rand::random_range(0..servers.endpoints.len());
        let current = Mutex::new(Current { endpoint, number: 0, client: None });
        Ok(Self { servers, name, current })
    }

    /// What messages call the registry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The whole of a key of the tree.
    pub fn key(&self, key: &str) -> String {
        format!("{}/{key}", self.servers.prefix)
    }

    /// What an error begins with: the registry, who we are to it, what was asked.
    pub fn what(&self, asked: &str) -> String {
        let user = self.servers.credentials.as_ref();
        let user =
            user.map_or(String::new(), |credentials| format!("user {:?}: ", credentials.user));
        format!("{}: {user}{asked}", self.name)
    }

    /// Asks one server after the other until one answers. What is asked may come to pass although
    /// its answer is lost, and is then asked again.
    pub async fn ask<T, F>(&self, asked: &str, ask: impl Fn(Client) -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, etcd_client::Error>>,
    {
        self.try_ask(PATIENCE, ask).await.map_err(|failure| failure.error(&self.what(asked)))
    }

    /// The same within `patience`, for who looks into the failure.
    pub async fn try_ask<T, F>(
        &self,
        patience: Duration,
        ask: impl Fn(Client) -> F,
    ) -> std::result::Result<T, Failure>
    where
        F: Future<Output = std::result::Result<T, etcd_client::Error>>,
    {
        let deadline = Instant::now() + patience;
        let attempts = self.servers.endpoints.len().max(2) + 1;
        let mut renewed = false;
        let mut failure = Failure::silence(patience);
        for attempt in 0..attempts {
            // Those that were asked already need a moment.
            if attempt >= self.servers.endpoints.len() {
                sleep(PAUSE * attempt as u32).await;
            }
            let limit = SHARE.min(deadline.saturating_duration_since(Instant::now()));
            if limit.is_zero() {
                break;
            }
            let answer = async {
                let session = self.session().await?;
                let failure = match timeout(limit, ask(session.client.clone())).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error)) => error.into(),
                    Err(_elapsed) => Failure::silence(limit),
                };
                self.leave(&session, failure.kind).await;
                Err(failure)
            };
            failure = match timeout_at(deadline, answer).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) => failure,
                Err(_elapsed) => return Err(Failure::silence(patience)),
            };
            match failure.kind {
                Kind::Unreachable => {}
                Kind::Token if !renewed && self.servers.credentials.is_some() => renewed = true,
                _ => break,
            }
        }
        Err(failure)
    }

    /// The connection in use, made if there is none.
    pub async fn session(&self) -> std::result::Result<Session, Failure> {
        let mut current = self.current.lock().await;
        let client = match &current.client {
            Some(client) => client.clone(),
            None => {
                let endpoint = &self.servers.endpoints[current.endpoint];
                match timeout(SHARE, self.connect(endpoint)).await {
                    Ok(Ok(client)) => current.client.insert(client).clone(),
                    Ok(Err(failure)) => {
                        if failure.kind == Kind::Unreachable {
                            self.advance(&mut current);
                        }
                        return Err(failure);
                    }
                    Err(_elapsed) => {
                        self.advance(&mut current);
                        return Err(Failure::silence(SHARE));
                    }
                }
            }
        };
        Ok(Session { client, number: current.number })
    }

    /// Leaves a connection after a failure on it, if that was the connection's or the server's.
    pub async fn leave(&self, session: &Session, failure: Kind) {
        let mut current = self.current.lock().await;
        if current.number != session.number {
            return;
        }
        match failure {
            Kind::Unreachable => self.advance(&mut current),
            // The next connection authenticates, with the password that is then in its file.
            Kind::Token => {
                current.client = None;
                current.number += 1;
            }
            Kind::Refused
            | Kind::Compacted
            | Kind::NoLease
            | Kind::LeaseExists
            | Kind::Taken
            | Kind::Other => {}
        }
    }

    fn advance(&self, current: &mut Current) {
        current.endpoint = (current.endpoint + 1) % self.servers.endpoints.len();
        current.number += 1;
        current.client = None;
    }

    async fn connect(&self, endpoint: &str) -> std::result::Result<Client, Failure> {
        let local = |error: RegistryError| Failure::new(Kind::Other, error.to_string());
        let mut options = ConnectOptions::new()
            .with_connect_timeout(SHARE)
            // More often than every 5 s the servers take for an attack, by default, and end the
            // connection; who needs to know earlier asks something.
            .with_keep_alive(Duration::from_secs(10), Duration::from_secs(3))
            .with_keep_alive_while_idle(false)
            .with_require_leader(true);
        if let Some(files) = &self.servers.tls {
            // Read again for each connection: certificates are renewed.
            options = options.with_tls(tls(files).map_err(local)?);
        }
        let mut client = Client::connect([endpoint], Some(options)).await?;
        if let Some(credentials) = &self.servers.credentials {
            let user = (credentials.user.clone(), password(credentials).map_err(local)?);
            match client.update_user(Some(user)).await.map_err(Failure::from) {
                // Who needs no user lets everybody in.
                Err(failure) if failure.why.contains(NOT_ENABLED) => {}
                authenticated => authenticated?,
            }
        }
        Ok(client)
    }
}

const NOT_ENABLED: &str = "authentication is not enabled";

fn tls(files: &Tls) -> Result<TlsOptions> {
    let options = TlsOptions::new().ca_certificate(Certificate::from_pem(read(&files.ca)?));
    Ok(match &files.identity {
        Some((cert, key)) => options.identity(Identity::from_pem(read(cert)?, read(key)?)),
        None => options,
    })
}

/// The password as its file has it.
fn password(credentials: &Credentials) -> Result<String> {
    let file = &credentials.password_file;
    let text = String::from_utf8(read(file)?)
        .map_err(|_| anyhow!("{}: must be text whose first line is a password", file.display()))?;
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        _ => Err(RegistryError::Other(anyhow!(
            "{}: its first line is empty; must be the password of user {:?}",
            file.display(),
            credentials.user,
        ))),
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    Ok(std::fs::read(file).with_context(|| format!("{}: cannot be read", file.display()))?)
}
