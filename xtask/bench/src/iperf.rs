//! TCP streams, by iperf3.

use std::{net::IpAddr, process::Stdio};

use anyhow::{Context, Result, bail, ensure};
use harness::{PATIENCE, netns::Netns, process::Process, within};
use serde_json::Value;

/// Streams of one client to one server, all at the same time.
pub struct Streams<'a> {
    pub client: &'a Netns,
    pub server: &'a Netns,
    /// An address of the server.
    pub to: IpAddr,
    pub number: u32,
    pub seconds: u32,
}

impl Streams<'_> {
    /// Gbit/s that arrive, by all of them.
    pub fn rate(&self) -> Result<f64> {
        let _server = listen(self.server)?;
        let Self { client, to, number, seconds, .. } = self;
        let output = client.output(&format!(
            "iperf3 --json --time {seconds} --parallel {number} --connect-timeout 3000 --client {to}"
        ))?;
        let report: Value =
            serde_json::from_slice(&output.stdout).context("read iperf3's report")?;
        if let Some(error) = report["error"].as_str() {
            bail!("iperf3 to {to}: {error}");
        }
        let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
        Ok(rate.context("iperf3 reports no rate")? / 1e9)
    }
}

/// An iperf3 server, for one client.
fn listen(netns: &Netns) -> Result<Process> {
    let mut command = netns.command("iperf3");
    command.args(["--server", "--one-off"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let server = netns.spawn(command)?;
    let listens = || netns.exec("ss -Hltn sport = 5201").is_ok_and(|said| said.contains(":5201"));
    ensure!(within(PATIENCE, listens), "iperf3 in {} does not listen", netns.name());
    Ok(server)
}
