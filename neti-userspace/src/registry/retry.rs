//! Asking a registry again and again while nobody answers.

use std::{future::Future, mem::discriminant, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder, Retryable};
use tokio::time::sleep;

use super::{RegistryError, Result};

/// Waits of 0.1 s, then ever longer up to 5 s, each with as much again at random, so that the hosts
/// of a fleet do not all come back at the same moment.
pub fn backoff() -> ExponentialBackoff {
    backoff_up_to(Duration::from_secs(5))
}

/// The same up to `longest`: for what is to be well again soon after the registry is.
pub fn backoff_up_to(longest: Duration) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(longest)
        .with_jitter()
        .without_max_times()
        .build()
}

/// Between two tries of a host that waits, at most, but for as much again at random.
const LONGEST: Duration = Duration::from_secs(1);

/// Asks until it is done, whatever the errors. The log hears of an error when it is of another kind
/// than the one before.
pub async fn until_done<T, F>(mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T>>,
{
    let mut told = None;
    let mut waits = backoff_up_to(LONGEST);
    loop {
        match ask().await {
            Ok(done) => return done,
            Err(error) => {
                let kind = Some(discriminant(&error));
                if told != kind {
                    told = kind;
                    tracing::warn!("{error:#}; trying again");
                }
            }
        }
        sleep(waits.next().unwrap_or(LONGEST)).await;
    }
}

/// Asks until the answer is something else than that nobody answers. The log hears of it once.
pub async fn until_reached<T, F>(ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut told = false;
    let tell = |error: &RegistryError, _| {
        if !std::mem::replace(&mut told, true) {
            tracing::warn!("{error}; trying again until it can be reached");
        }
    };
    let unreachable = |error: &RegistryError| matches!(error, RegistryError::Unreachable(_));
    ask.retry(backoff()).sleep(sleep).when(unreachable).notify(tell).await
}
