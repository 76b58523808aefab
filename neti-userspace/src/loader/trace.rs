//! Forwards what the kernel programs log (aya-log) to the daemon's own log. They log numbers; the names are given here.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};
use neti_common::verdict::{Hook, Reason};
use tokio::io::{Interest, unix::AsyncFd};

/// Starts a task that forwards for as long as the runtime lives.
pub fn forward(ebpf: &mut Ebpf) -> Result<()> {
    let logger =
        EbpfLogger::init_with_logger(ebpf, Names).context("opening the kernel programs' log")?;
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

/// Writes each line of the kernel programs with the names of its hook and reason.
struct Names;

impl Log for Names {
    fn enabled(&self, _metadata: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        let line = record.args().to_string();
        match named(&line) {
            Some(text) => tracing::info!("{text}"),
            None => tracing::info!("{line}"),
        }
    }

    fn flush(&self) {}
}

/// "hook reason would bytes source destination", as `neti-ebpf/src/main.rs` writes it.
fn named(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split(' ').collect();
    let [hook, reason, would, bytes, source, destination] = fields[..] else { return None };
    let hook = Hook::ALL.get(hook.parse::<usize>().ok()?)?.as_str();
    let reason = Reason::ALL.get(reason.parse::<usize>().ok()?)?.as_str();
    let action = if would == "1" { "would drop" } else { "drops" };
    Some(format!("{hook} {action} {source} > {destination}, {bytes} bytes: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_get_the_names_of_hook_and_reason() {
        let line = format!("1 {} 0 60 198.51.100.66 10.0.0.10", Reason::Stranger as u8);
        let expected = "ingress drops 198.51.100.66 > 10.0.0.10, 60 bytes: stranger";
        assert_eq!(named(&line).as_deref(), Some(expected));
        let line = format!("0 {} 1 60 198.51.100.66 10.0.0.10", Reason::Unparsed as u8);
        let expected = "filter would drop 198.51.100.66 > 10.0.0.10, 60 bytes: unparsed";
        assert_eq!(named(&line).as_deref(), Some(expected));
        assert_eq!(named("something else"), None);
        assert_eq!(named("9 0 0 60 a b"), None);
    }
}
