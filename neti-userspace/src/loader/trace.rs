//! Forwards what the kernel programs log (aya-log) to the daemon's own log.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

/// Starts a task that forwards for as long as the runtime lives.
pub fn forward(ebpf: &mut Ebpf) -> Result<()> {
    let logger = match EbpfLogger::init(ebpf) {
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
