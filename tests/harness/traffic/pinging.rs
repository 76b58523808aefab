//! ping(8).

use std::{io::Read, net::IpAddr, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::{PATIENCE, family::Family, netns::Netns};

/// One ping; whether it was answered within `patience`.
pub fn ping(netns: &Netns, to: IpAddr, options: &str, patience: Duration) -> Result<bool> {
    let patience = patience.as_secs_f32();
    let family = Family::of(to).flag();
    let output = netns.output(&format!("ping {family} -n -q -c 1 -W {patience} {options} {to}"))?;
    Ok(output.status.success())
}

/// Pings at 100 a second while `disturb` runs.
///
/// # Errors
/// If an answer is missing.
pub fn without_loss(netns: &Netns, to: IpAddr, disturb: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut command = netns.command("ping");
    command.args(["-n", "-q", "-i", "0.01", "-W", "10", &to.to_string()]);
    command.stdout(Stdio::piped());
    let mut pings = netns.spawn(command)?;
    disturb()?;
    // SIGINT makes ping wait for what is under way and print its summary.
    pings.signal(Signal::SIGINT);
    pings.wait(PATIENCE);
    let mut summary = String::new();
    if let Some(mut output) = pings.child().stdout.take() {
        output.read_to_string(&mut summary)?;
    }
    let received = summary.split(", ").nth(1).and_then(|text| text.split_once(' '));
    let received: u32 = received.context("ping prints a summary")?.0.parse()?;
    ensure!(received > 5, "ping ran: {summary}");
    // The last one may be under way when the signal comes.
    let sent: u32 = summary
        .lines()
        .find_map(|line| line.split_once(" packets transmitted")?.0.parse().ok())
        .context("ping prints a summary")?;
    ensure!(received + 1 >= sent, "lost {}: {summary}", sent - received);
    Ok(())
}
