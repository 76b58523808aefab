//! A stream of what changes under the keys that are followed. A server that falls silent is noticed:
//! it is asked for a word from time to time. Not all give one: a grpc-proxy stays silent, and is asked
//! by a read whether it is there.

use std::time::Duration;

use etcd_client::{
    Client, GetOptions, WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream,
};
use futures_util::{FutureExt, future::BoxFuture};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    errors::{Failure, Kind},
    pages::LARGEST_MESSAGE,
};

/// The server's word is there within this time, and a stream open.
const PATIENCE: Duration = Duration::from_secs(2);
/// Who gives no word is asked so many times as seldom, by a read that may cost the servers behind it.
const SELDOM: u32 = 4;

/// A key, or what keys begin with, and from which revision.
pub struct Watched {
    pub key: String,
    pub prefix: bool,
    pub from: i64,
}

impl Watched {
    fn options(&self) -> WatchOptions {
        // Large answers come in parts.
        let options = WatchOptions::new().with_start_revision(self.from).with_fragment();
        if self.prefix { options.with_prefix() } else { options }
    }
}

pub struct Stream {
    client: Client,
    /// One that is watched.
    key: String,
    requests: WatchRequestSender,
    responses: WatchResponseStream,
    /// After so long without a word the server is asked for one.
    silence: Duration,
    heard: Instant,
    doubt: Doubt,
    manners: Manners,
    /// How many watches the server has yet to say that it has made.
    awaited: usize,
}

/// Whether the server is thought to be there.
enum Doubt {
    None,
    /// It was asked for a word by then.
    Asked(Instant),
    /// It was asked to read something.
    Probed(BoxFuture<'static, Result<(), Failure>>),
}

/// What is known of how a server takes it to be asked for a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    Unknown,
    Answers,
    Silent,
}

impl Stream {
    /// Opens a stream with a watch on each of these; there is at least one.
    pub async fn open(
        client: &Client,
        watched: &[Watched],
        silence: Duration,
    ) -> Result<Self, Failure> {
        let mut watch = client.watch_client().max_decoding_message_size(LARGEST_MESSAGE);
        let [first, others @ ..] = watched else {
            return Err(Failure::new(Kind::Other, "nothing to watch"));
        };
        let open = async {
            let stream = watch.watch(first.key.as_str(), Some(first.options())).await?;
            let (mut requests, responses) = stream.split();
            for other in others {
                requests.watch(other.key.as_str(), Some(other.options())).await?;
            }
            Ok::<_, etcd_client::Error>((requests, responses))
        };
        let opened = timeout(PATIENCE, open).await;
        let (requests, responses) = opened.map_err(|_| Failure::silence(PATIENCE))??;
        Ok(Self {
            client: client.clone(),
            key: first.key.clone(),
            requests,
            responses,
            silence,
            heard: Instant::now(),
            doubt: Doubt::None,
            manners: Manners::Unknown,
            awaited: watched.len(),
        })
    }

    /// Whether all watches are made.
    pub fn is_open(&self) -> bool {
        self.awaited == 0
    }

    /// What comes next. It may be dropped and called again.
    pub async fn next(&mut self) -> Result<WatchResponse, Failure> {
        loop {
            let response = match &mut self.doubt {
                Doubt::None => {
                    let silence = match self.manners {
                        Manners::Silent => self.silence * SELDOM,
                        Manners::Unknown | Manners::Answers => self.silence,
                    };
                    timeout_at(self.heard + silence, self.responses.message()).await.ok()
                }
                Doubt::Asked(until) => timeout_at(*until, self.responses.message()).await.ok(),
                Doubt::Probed(probe) => tokio::select! {
                    response = self.responses.message() => Some(response),
                    answer = probe => {
                        answer?;
                        None
                    }
                },
            };
            match response {
                Some(Ok(Some(response))) => {
                    self.heard = Instant::now();
                    self.doubt = Doubt::None;
                    return self.noted(response);
                }
                Some(Ok(None)) => {
                    return Err(Failure::new(Kind::Unreachable, "the server ended the stream"));
                }
                Some(Err(error)) => return Err(error.into()),
                None => self.silent().await?,
            }
        }
    }

    /// What is to be done when the time for a word is over.
    async fn silent(&mut self) -> Result<(), Failure> {
        self.doubt = match (&self.doubt, self.manners) {
            (Doubt::Asked(_), Manners::Answers) => return Err(Failure::silence(PATIENCE)),
            (Doubt::None, Manners::Unknown | Manners::Answers) => {
                self.requests.request_progress().await?;
                Doubt::Asked(Instant::now() + PATIENCE)
            }
            (Doubt::Asked(_), _) | (Doubt::None, Manners::Silent) => {
                Doubt::Probed(probe(self.client.clone(), self.key.clone()).boxed())
            }
            (Doubt::Probed(_), _) => {
                self.manners = Manners::Silent;
                self.heard = Instant::now();
                Doubt::None
            }
        };
        Ok(())
    }

    fn noted(&mut self, response: WatchResponse) -> Result<WatchResponse, Failure> {
        // A refused watch is said to be made and ended at once. After an end the stream stays open,
        // and silent.
        if response.canceled() {
            return Err(ended(response.compact_revision(), response.cancel_reason()));
        }
        if response.created() {
            self.awaited = self.awaited.saturating_sub(1);
        } else if response.events().is_empty() {
            self.manners = Manners::Answers;
        }
        Ok(response)
    }
}

/// Whether the server answers at all: to be refused is an answer. It does not read from what it
/// remembers, for a proxy answers by that when it has lost its servers.
async fn probe(mut client: Client, key: String) -> Result<(), Failure> {
    let options = GetOptions::new().with_count_only();
    match timeout(PATIENCE, client.get(key, Some(options))).await {
        Ok(Err(error)) => match Failure::from(error) {
            failure if failure.kind == Kind::Unreachable => Err(failure),
            _ => Ok(()),
        },
        Ok(Ok(_)) => Ok(()),
        Err(_elapsed) => Err(Failure::silence(PATIENCE)),
    }
}

/// What it means that the server ends a watch.
fn ended(compacted: i64, reason: &str) -> Failure {
    let why = format!("the server ended the watch: {reason}");
    if compacted > 0 {
        let why = format!("what happened before revision {compacted} is compacted away");
        return Failure::new(Kind::Compacted, why);
    }
    // Also what a token that has run out comes to here.
    if reason.contains("permission denied") || reason.contains("auth token") {
        return Failure::new(Kind::Token, why);
    }
    Failure::new(Kind::Unreachable, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_watches_are_told_apart() {
        let denied = "rpc error: code = PermissionDenied desc = etcdserver: permission denied";
        assert_eq!(ended(7, "").kind, Kind::Compacted);
        assert_eq!(ended(0, denied).kind, Kind::Token);
        assert_eq!(ended(0, denied).why, format!("the server ended the watch: {denied}"));
        assert_eq!(ended(0, "").kind, Kind::Unreachable);
    }
}
