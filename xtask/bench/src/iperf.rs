//! One TCP stream, by iperf3.

use std::{net::IpAddr, process::Stdio};

use anyhow::{Context, Result, bail, ensure};
use harness::{PATIENCE, netns::Netns, process::Process, within};
use serde_json::Value;

/// Gbit/s that arrive at `to`, an address of `server`.
pub fn stream(client: &Netns, server: &Netns, to: IpAddr, seconds: u32) -> Result<f64> {
    let _server = listen(server)?;
    report(client, to, seconds)
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

fn report(client: &Netns, to: IpAddr, seconds: u32) -> Result<f64> {
    let output = client
        .output(&format!("iperf3 --json --time {seconds} --connect-timeout 3000 --client {to}"))?;
    let report: Value = serde_json::from_slice(&output.stdout).context("read iperf3's report")?;
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3 to {to}: {error}");
    }
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(rate.context("iperf3 reports no rate")? / 1e9)
}
