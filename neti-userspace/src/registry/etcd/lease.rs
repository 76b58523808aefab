//! Our own record under a lease: kept alive, and written again whatever ends it, until the end.
//!
//! The lease has the same id, which we choose, for as long as we run: so a record that we wrote is
//! known to be ours even where the answer was lost.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::Context;
use etcd_client::{LeaseKeepAliveStream, LeaseKeeper};
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    alone::alone,
    connection::{Connection, Session},
    errors::{Failure, Kind},
    own::{Announced, Own},
    record,
    stream::{Stream, Watched},
};
use crate::{
    membership::MemberRecord,
    registry::{Registration, Result, retry, say},
};

/// The longest wait between two attempts, but for as much again at random.
const RETRY: Duration = Duration::from_secs(1);
/// Without a word about our record for so long, a server is asked for one. That it answers at all is
/// known from the renewals.
const SILENCE: Duration = Duration::from_secs(10);

const TROUBLE: &str = "cannot be kept alive";

/// Announces `record` and starts to keep it alive.
pub async fn register(
    connection: Arc<Connection>,
    record: &MemberRecord,
    ttl: Duration,
) -> Result<Registration> {
    let key = connection.key(&format!("members/{}", record.id));
    let mut record = record.clone();
    let before = alone(&connection, &key, &record).await?;
    record.since = record::since(&record, before.as_ref());
    let own = Own {
        value: serde_json::to_vec(&record).context("writing the record")?,
        lease: rand::random_range(1..=i64::MAX),
        ttl: ttl.as_secs_f64().ceil() as i64,
        connection,
        key,
        record,
    };
    let asked = format!("writing {}", own.key);
    let announced = own.announce(true).await;
    let announced = announced.map_err(|failure| failure.error(&own.connection.what(&asked)))?;
    Ok(Registration::start(|withdrawn, tell| own.keep(announced, withdrawn, tell)))
}

impl Own {
    /// Keeps the record alive, as [`Registration::start`] has it.
    async fn keep(
        self,
        announced: Announced,
        mut withdrawn: oneshot::Receiver<()>,
        tell: watch::Sender<Option<String>>,
    ) -> anyhow::Result<()> {
        let asked = tokio::select! {
            asked = &mut withdrawn => asked,
            () = self.stay(announced, &tell) => return Ok(()),
        };
        match asked {
            Ok(()) => self.withdraw().await,
            Err(_dropped) => Ok(()),
        }
    }

    /// Sees to it that the record stands, for ever.
    async fn stay(&self, announced: Announced, tell: &watch::Sender<Option<String>>) {
        let mut announced = Ok(announced);
        let mut waits = retry::backoff_up_to(RETRY);
        let mut told = None;
        loop {
            let failure = match announced {
                Ok(announced) => {
                    let begun = Instant::now();
                    let failure = self.hold(announced, tell).await;
                    if begun.elapsed() > RETRY * 5 {
                        waits = retry::backoff_up_to(RETRY);
                    }
                    failure
                }
                Err(failure) => failure,
            };
            // One outage is told once, although each attempt may fail in a way of its own.
            let stands = tell.borrow().as_ref().is_some_and(|told| told.starts_with(TROUBLE));
            if told.replace(failure.kind) != Some(failure.kind) || !stands {
                say(tell, Some(format!("{TROUBLE}: {}: {}", self.key, failure.why)));
            }
            sleep(waits.next().unwrap_or(RETRY)).await;
            announced = self.announce(false).await;
        }
    }

    /// Keeps alive a record that stands until something ends it.
    async fn hold(&self, announced: Announced, tell: &watch::Sender<Option<String>>) -> Failure {
        let session = match self.connection.session().await {
            Ok(session) => session,
            Err(failure) => return failure,
        };
        let failure = tokio::select! {
            failure = self.renew(&session, announced.ttl, tell) => failure,
            failure = self.guard(&session, announced.revision) => failure,
        };
        self.connection.leave(&session, failure.kind).await;
        failure
    }

    /// Renews the lease, a little more than three times per its time.
    async fn renew(
        &self,
        session: &Session,
        ttl: i64,
        tell: &watch::Sender<Option<String>>,
    ) -> Failure {
        let period = Duration::from_secs(ttl.max(1) as u64) / 3;
        let early = (period / 10).min(Duration::from_millis(500));
        let patience = period.clamp(Duration::from_secs(1), Duration::from_secs(3));
        let mut client = session.client.clone();
        let opened = answered(patience, client.lease_keep_alive(self.lease)).await;
        let (mut keeper, mut answers) = match opened {
            Ok(opened) => opened,
            Err(failure) => return failure,
        };
        say(tell, self.other_ttl(ttl));
        loop {
            // A grpc-proxy renews by itself, a third of the time after its last answer and up to half
            // a second later, and tells only who has asked by then.
            sleep(period - early).await;
            if let Err(failure) = once(&mut keeper, &mut answers, patience).await {
                return failure;
            }
        }
    }

    /// Waits until the record is no longer as it stood at `revision`.
    async fn guard(&self, session: &Session, revision: i64) -> Failure {
        let watched = Watched { key: self.key.clone(), prefix: false, from: revision + 1 };
        let mut stream = match Stream::open(&session.client, &[watched], SILENCE).await {
            Ok(stream) => stream,
            Err(failure) => return failure,
        };
        loop {
            match stream.next().await {
                Ok(response) if response.events().is_empty() => {}
                Ok(_) => return Failure::new(Kind::Other, "it was removed or overwritten"),
                Err(failure) => return failure,
            }
        }
    }

    /// What is to be said where the server has granted another time than was asked for.
    fn other_ttl(&self, granted: i64) -> Option<String> {
        (granted != self.ttl).then(|| {
            format!(
                "the server grants {granted} s where ttl asks for {} s: a host that dies is gone \
                 after {granted} s",
                self.ttl
            )
        })
    }
}

/// Renews a lease once.
async fn once(
    keeper: &mut LeaseKeeper,
    answers: &mut LeaseKeepAliveStream,
    patience: Duration,
) -> std::result::Result<(), Failure> {
    keeper.keep_alive().await?;
    match answered(patience, answers.message()).await? {
        Some(answer) if answer.ttl() > 0 => Ok(()),
        Some(_) => Err(Failure::new(Kind::NoLease, "its lease has ended")),
        None => Err(Failure::new(Kind::Unreachable, "the server ended the stream")),
    }
}

async fn answered<T>(
    patience: Duration,
    answer: impl Future<Output = std::result::Result<T, etcd_client::Error>>,
) -> std::result::Result<T, Failure> {
    Ok(timeout(patience, answer).await.map_err(|_| Failure::silence(patience))??)
}
