//! A stream of what changes under the keys that are followed. A server that falls silent is noticed:
//! it is asked for a word from time to time.

use std::time::Duration;

use etcd_client::{Client, WatchOptions, WatchRequestSender, WatchResponse, WatchResponseStream};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    errors::{Failure, Kind},
    pages::LARGEST_MESSAGE,
};

/// The server's word is there within this time, and a stream open.
const PATIENCE: Duration = Duration::from_secs(2);

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
    requests: WatchRequestSender,
    responses: WatchResponseStream,
    /// After so long without a word the server is asked for one.
    silence: Duration,
    heard: Instant,
    asked: Option<Instant>,
    /// How many watches the server has yet to say that it has made.
    awaited: usize,
}

impl Stream {
    /// Opens a stream with a watch on each of these; there is at least one.
    pub async fn open(
        client: &Client,
        watched: &[Watched],
        silence: Duration,
    ) -> Result<Self, Failure> {
        let mut client = client.watch_client().max_decoding_message_size(LARGEST_MESSAGE);
        let [first, others @ ..] = watched else {
            return Err(Failure::new(Kind::Other, "nothing to watch"));
        };
        let open = async {
            let stream = client.watch(first.key.as_str(), Some(first.options())).await?;
            let (mut requests, responses) = stream.split();
            for other in others {
                requests.watch(other.key.as_str(), Some(other.options())).await?;
            }
            Ok::<_, etcd_client::Error>((requests, responses))
        };
        let opened = timeout(PATIENCE, open).await;
        let (requests, responses) = opened.map_err(|_| Failure::silence(PATIENCE))??;
        let (heard, awaited) = (Instant::now(), watched.len());
        Ok(Self { requests, responses, silence, heard, asked: None, awaited })
    }

    /// Whether all watches are made.
    pub fn is_open(&self) -> bool {
        self.awaited == 0
    }

    /// What comes next. It may be dropped and called again.
    pub async fn next(&mut self) -> Result<WatchResponse, Failure> {
        loop {
            let until = self.asked.map_or(self.heard + self.silence, |asked| asked + PATIENCE);
            match timeout_at(until, self.responses.message()).await {
                Ok(Ok(Some(response))) => {
                    self.heard = Instant::now();
                    self.asked = None;
                    return self.noted(response);
                }
                Ok(Ok(None)) => {
                    return Err(Failure::new(Kind::Unreachable, "the server ended the stream"));
                }
                Ok(Err(error)) => return Err(error.into()),
                Err(_elapsed) if self.asked.is_some() => return Err(Failure::silence(PATIENCE)),
                Err(_elapsed) => {
                    self.requests.request_progress().await?;
                    self.asked = Some(Instant::now());
                }
            }
        }
    }

    fn noted(&mut self, response: WatchResponse) -> Result<WatchResponse, Failure> {
        // A refused watch is said to be made and ended at once. After an end the stream stays open,
        // and silent.
        if response.canceled() {
            return Err(ended(response.compact_revision(), response.cancel_reason()));
        }
        if response.created() {
            self.awaited = self.awaited.saturating_sub(1);
        }
        Ok(response)
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
