//! The real programs: nginx and curl, iperf3, ping.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Stdio,
};

use anyhow::{Context, Result, bail};
use harness::{netns::Netns, process::Process, web::Web};
use serde_json::Value;

use crate::lab::until;

/// A web server that says its host's name and who asks.
pub fn web(netns: &Netns, name: &str, directory: &Path) -> Result<Web> {
    Web::start(netns, directory, name, &format!("return 200 '{name} $remote_addr';"))
}

/// Fetches the page at `address`, which must be `name`'s, within two seconds; whom the server saw.
pub fn get(netns: &Netns, address: IpAddr, name: &str) -> Result<IpAddr> {
    let server = SocketAddr::new(address, 80);
    let page = netns.exec(&format!("curl --silent --show-error --max-time 2 http://{server}/"))?;
    let client = page.strip_prefix(name).and_then(|client| client.trim().parse().ok());
    client.with_context(|| format!("{server} served {page:?}, not {name}'s page"))
}

/// Whether a web client gives up because nothing at all answers.
pub fn times_out(netns: &Netns, address: IpAddr) -> Result<bool> {
    let server = SocketAddr::new(address, 80);
    let output = netns.output(&format!("curl --silent --max-time 1 http://{server}/"))?;
    // CURLE_OPERATION_TIMEDOUT.
    Ok(output.status.code() == Some(28))
}

/// An iperf3 server, for one client.
pub struct Stream {
    _iperf: Process,
}

impl Stream {
    pub fn start(netns: &Netns) -> Result<Self> {
        let mut command = netns.command("iperf3");
        command.args(["--server", "--one-off"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let iperf = netns.spawn(command)?;
        until("iperf3 listens", || Ok(netns.exec("ss -Hltn sport = 5201")?.contains(":5201")))?;
        Ok(Self { _iperf: iperf })
    }
}

/// A fraction of a second of TCP to `address`, in bits per second.
pub fn stream(netns: &Netns, address: IpAddr) -> Result<f64> {
    let line = format!("iperf3 --json --bytes 256M --connect-timeout 2000 --client {address}");
    let output = netns.output(&line)?;
    let report: Value = serde_json::from_slice(&output.stdout).context("read iperf3's report")?;
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3 to {address}: {error}");
    }
    report["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 reports no rate")
}

/// Three echoes to `address`; the mean round trip in milliseconds.
pub fn ping(netns: &Netns, address: IpAddr) -> Result<f64> {
    let said = netns.exec(&format!("ping -n -c 3 -i 0.1 -W 1 {address}"))?;
    let mean = said.split_once("rtt ").and_then(|(_, times)| times.split('/').nth(4));
    mean.and_then(|mean| mean.parse().ok()).with_context(|| format!("ping {address} said {said:?}"))
}

/// Whether `address` answers an echo within a second.
pub fn answers(netns: &Netns, address: IpAddr) -> Result<bool> {
    Ok(netns.output(&format!("ping -n -c 1 -W 1 {address}"))?.status.success())
}
