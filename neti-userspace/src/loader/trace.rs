//! Forwards what the kernel programs log (aya-log) to the daemon's own log.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use neti_common::verdict::{Hook, Kind, Reason};
use tokio::io::{Interest, unix::AsyncFd};

/// Starts a task that forwards for as long as the runtime lives.
pub fn forward(ebpf: &mut Ebpf) -> Result<()> {
    let logger = match EbpfLogger::init_with_logger(ebpf, Verdicts) {
        Ok(logger) => logger,
        Err(aya_log::Error::MapNotFound) => {
            tracing::warn!("--trace-drops: these kernel programs log nothing");
            return Ok(());
        }
        Err(error) => return Err(error).context("opening the kernel programs' log"),
    };
    // SAFETY: the descriptor is that of the ring buffer, which the logger owns and never replaces.
    let mut logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) }
        .context("polling the kernel programs' log")?;
    tokio::spawn(async move {
        while let Ok(mut ready) = logger.readable_mut().await {
            ready.get_inner_mut().flush();
            ready.clear_ready();
        }
    });
    Ok(())
}

/// Puts names to the numbers that the programs log.
struct Verdicts;

impl Log for Verdicts {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        let line = record.args().to_string();
        match verdict(&line) {
            // Redirected packets are logged as well.
            Some((_, reason, _)) if reason.kind() == Kind::Pass => {}
            Some((hook, reason, size)) => tracing::info!(
                "{}: refused: {}: {size}: {}",
                hook.as_str(),
                reason.as_str(),
                reason.explain().trim()
            ),
            None => tracing::info!("kernel program: {line}"),
        }
    }

    fn flush(&self) {}
}

/// Reads the programs' `HOOK REASON SIZE`, the first two as numbers.
fn verdict(line: &str) -> Option<(Hook, Reason, &str)> {
    let mut words = line.splitn(3, ' ');
    let hook: usize = words.next()?.parse().ok()?;
    let reason: usize = words.next()?.parse().ok()?;
    Some((*Hook::ALL.get(hook)?, *Reason::ALL.get(reason)?, words.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hook_and_reason() {
        let stranger = format!("1 {} 98 bytes", Reason::Stranger as u8);
        assert_eq!(verdict(&stranger), Some((Hook::Ingress, Reason::Stranger, "98 bytes")));
        for other in ["", "1", "1 19", "9 1 98 bytes", "1 255 98 bytes", "a packet was odd"] {
            assert_eq!(verdict(other), None, "{other}");
        }
    }
}
