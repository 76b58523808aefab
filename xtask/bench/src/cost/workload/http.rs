//! Requests over connections that stay open: wrk asks nginx.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use harness::web::Web;

use crate::cost::lab::Way;

/// wrk's connections, all of one thread.
const CONNECTIONS: u32 = 32;

/// Answers per second.
pub fn measure(way: &Way, seconds: u32) -> Result<f64> {
    let files = tempfile::tempdir()?;
    let answer = format!("keepalive_requests {}; return 200 'a small answer\n';", i32::MAX);
    let _web = Web::start(&way.server, files.path(), "bench", &answer)?;
    let said = way.client.exec(&format!(
        "wrk --threads 1 --connections {CONNECTIONS} --duration {seconds}s http://{}/",
        SocketAddr::new(way.address, 80)
    ))?;
    let failed = said.contains("Socket errors") || said.contains("Non-2xx");
    ensure!(!failed, "wrk was not answered:\n{said}");
    let rate = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    let rate = rate.and_then(|rate| rate.trim().parse().ok());
    rate.with_context(|| format!("wrk reports no rate:\n{said}"))
}
