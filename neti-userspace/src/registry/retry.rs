//! Asking a registry again and again while nobody answers.

use std::{future::Future, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder, Retryable};

use super::Result;

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

/// Asks until it is done, whatever the errors. The log hears of the first: `what` begins the line.
pub async fn until_done<T, F>(what: &str, ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T>>,
{
    let mut ask = ask;
    let mut told = false;
    let mut waits = backoff();
    loop {
        match ask().await {
            Ok(done) => return done,
            Err(error) if !told => {
                told = true;
                tracing::warn!("{what}: {error:#}; trying again");
            }
            Err(_) => {}
        }
        tokio::time::sleep(waits.next().unwrap_or_default()).await;
    }
}

/// Asks until the answer is something else than that nobody answers. The log hears of it once:
/// `what` begins the line.
pub async fn until_reached<T, F>(what: &str, ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut told = false;
    let tell = |error: &super::RegistryError, _| {
        if !std::mem::replace(&mut told, true) {
            tracing::warn!("{what}: {error}; trying again until it can be reached");
        }
    };
    let unreachable =
        |error: &super::RegistryError| matches!(error, super::RegistryError::Unreachable(_));
    ask.retry(backoff()).sleep(tokio::time::sleep).when(unreachable).notify(tell).await
}
