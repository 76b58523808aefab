//! Sessions with the servers, and questions with a deadline.
//!
//! A daemon has two sessions: one owns its record, the other follows the fleet. A list of a hundred
//! thousand members on its way must not hold up the signs of life that keep the record. A server
//! keeps a session that owns nothing to itself (`localSessionsEnabled`).

use std::{future::Future, path::Path, time::Duration};

use anyhow::{Context, anyhow};
use backon::ExponentialBackoff;
use futures_util::future::join_all;
use tokio::{net::TcpStream, time::timeout};
use zookeeper_client::{Client, Connector, Error, SessionInfo, TlsOptions};

use super::errors::explain;
use crate::{
    addresses,
    config::{Servers, Tls},
    registry::{RegistryError, Result, retry},
};

/// How long a question may take.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A connection on which nothing has come for so long is lost. The client asks for a sign of life
/// after three eighths of it.
const SILENCE: Duration = Duration::from_secs(4);

/// The servers, and who we are to them.
#[derive(Debug, Clone)]
pub struct Link {
    servers: Servers,
    name: String,
}

impl Link {
    pub fn new(servers: Servers) -> Self {
        let name = format!("zookeeper {}", servers.endpoints.join(","));
        Self { servers, name }
    }

    /// What messages call the registry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What messages call a node.
    pub fn place(&self, path: &str) -> String {
        format!("{}: {path}", self.name)
    }

    /// The session timeout that is asked for.
    pub fn ttl(&self) -> Duration {
        self.servers.ttl
    }

    /// Whether the servers can tell us from others, so that nodes can be ours alone.
    pub fn has_identity(&self) -> bool {
        let certificate = self.servers.tls.as_ref().is_some_and(|tls| tls.identity.is_some());
        self.servers.credentials.is_some() || certificate
    }

    /// A session that ends when the client is dropped.
    pub async fn connect(&self) -> Result<Client> {
        let opened = self.open(self.connector()?, self.identity()?).await;
        self.opened(opened).await
    }

    /// A session that outlives the client and keeps what it owns until it expires: this one, if it
    /// still lives, else a new one.
    pub async fn hold(&self, session: Option<SessionInfo>) -> Result<Client> {
        let (connector, identity) = (self.connector()?.with_detached(), self.identity()?);
        if let Some(session) = session {
            let again = connector.clone().with_session(session);
            let again = self.open(again, identity.clone()).await;
            if !matches!(again, Err(Error::SessionExpired)) {
                return self.opened(again).await;
            }
        }
        let opened = self.open(connector, identity).await;
        self.opened(opened).await
    }

    /// Ends a session, and with it what it owns.
    pub async fn close(&self, session: SessionInfo) -> Result<()> {
        let connector = self.connector()?.with_session(session);
        let client = match self.open(connector, self.identity()?).await {
            Err(Error::SessionExpired) => return Ok(()),
            opened => self.opened(opened).await?,
        };
        let mut state = client.state_watcher();
        drop(client);
        let closed = async { while !state.changed().await.is_terminated() {} };
        timeout(PATIENCE, closed)
            .await
            .map_err(|_| RegistryError::Unreachable(format!("{}: no answer", self.name)))
    }

    /// Asks about the node at `path`.
    pub async fn ask<T, E: Into<Error>>(
        &self,
        path: &str,
        question: impl Future<Output = std::result::Result<T, E>>,
    ) -> Result<T> {
        match timeout(PATIENCE, question).await {
            Ok(answer) => answer.map_err(|error| self.error(path, error.into())),
            Err(_elapsed) => Err(self.error(path, Error::Timeout)),
        }
    }

    /// What an error about the node at `path` means.
    pub fn error(&self, path: &str, error: Error) -> RegistryError {
        explain(&self.place(path), &self.user(), error)
    }

    fn user(&self) -> String {
        match (&self.servers.credentials, &self.servers.tls) {
            (Some(credentials), _) => format!("user {:?}", credentials.user),
            (None, Some(Tls { identity: Some((cert, _)), .. })) => {
                format!("the owner of {}", cert.display())
            }
            _ => "a client without credentials".to_owned(),
        }
    }

    /// What a session is opened with. Files are read each time: what they hold may be rotated.
    fn connector(&self) -> Result<Connector> {
        let connector = Client::connector()
            .with_session_timeout(self.servers.ttl)
            .with_connection_timeout(SILENCE);
        Ok(match &self.servers.tls {
            Some(tls) => connector.with_tls(tls_options(tls)?),
            None => connector,
        })
    }

    /// User and password, as the servers want them.
    fn identity(&self) -> Result<Option<String>> {
        let Some(credentials) = &self.servers.credentials else { return Ok(None) };
        let file = &credentials.password_file;
        let text = read(file)?;
        let password = text.lines().next().filter(|line| !line.is_empty());
        let password = password
            .with_context(|| format!("{}: its first line must be the password", file.display()))?;
        Ok(Some(format!("{}:{password}", credentials.user)))
    }

    /// Opens a session, and says who we are. Said together with the request for the session, a
    /// server with TLS (ZooKeeper 3.8 at least) often answers that first, which the client cannot
    /// read. One that wants to know before anything else (`enforce.auth.enabled`) is told so, until
    /// its answers come in order.
    async fn open(
        &self,
        connector: Connector,
        identity: Option<String>,
    ) -> std::result::Result<Client, Error> {
        let opening = async {
            let opened = self.try_each(connector.clone().with_fail_eagerly()).await;
            let Some(identity) = identity else { return opened };
            match opened {
                Ok(client) => client.auth("digest", identity.as_bytes()).await.map(|()| client),
                Err(Error::AuthFailed) => {
                    self.try_each(connector.with_auth("digest", identity.as_bytes())).await
                }
                Err(error) => Err(error),
            }
        };
        timeout(PATIENCE, opening).await.unwrap_or(Err(Error::Timeout))
    }

    async fn try_each(&self, connector: Connector) -> std::result::Result<Client, Error> {
        let servers = self.servers.endpoints.join(",");
        match self.servers.tls {
            Some(_) => connector.secure_connect(&servers).await,
            None => connector.connect(&servers).await,
        }
    }

    /// The client, or why there is none: the client itself does not tell.
    async fn opened(&self, opened: std::result::Result<Client, Error>) -> Result<Client> {
        match opened {
            Ok(client) => Ok(client),
            Err(Error::NoHosts | Error::Timeout) => {
                let servers = &self.servers.endpoints;
                let states = join_all(servers.iter().map(|server| self.state(server))).await;
                let what = format!("{}: no session: {}", self.name, addresses::list(states));
                Err(RegistryError::Unreachable(what))
            }
            Err(error) => Err(explain(&self.name, &self.user(), error)),
        }
    }

    /// What can be seen of a server that gives us no session.
    async fn state(&self, server: &str) -> String {
        match timeout(Duration::from_millis(500), TcpStream::connect(server)).await {
            Err(_elapsed) => format!("{server} does not answer"),
            Ok(Err(error)) => format!("{server}: {error}"),
            Ok(Ok(_)) => {
                let tls = match &self.servers.tls {
                    Some(tls) => format!(
                        ", is not vouched for by {}, or does not take {}",
                        tls.ca.display(),
                        self.user()
                    ),
                    None => ", or wants TLS".to_owned(),
                };
                format!("{server} listens, but hangs, has no quorum{tls}")
            }
        }
    }
}

/// Waits of 0.1 s, then ever longer up to 1 s, each with as much again at random.
pub fn backoff() -> ExponentialBackoff {
    retry::backoff_up_to(Duration::from_secs(1))
}

fn tls_options(tls: &Tls) -> Result<TlsOptions> {
    let wrong = |file: &Path, error: Error| anyhow!("{}: {error}", file.display());
    let options = TlsOptions::new();
    let options = options.with_pem_ca(&read(&tls.ca)?).map_err(|error| wrong(&tls.ca, error))?;
    let Some((cert, key)) = &tls.identity else { return Ok(options) };
    let identified = options.with_pem_identity(&read(cert)?, &read(key)?);
    Ok(identified.map_err(|error| wrong(cert, error))?)
}

fn read(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file);
    Ok(text.with_context(|| format!("{}: cannot be read", file.display()))?)
}
