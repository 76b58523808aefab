//! A host's daemon is killed, and started again.

use std::{net::IpAddr, time::Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::{
    lab::{Lab, TTL, until},
    screen::Screen,
    server::{answers, get},
};

pub fn show(screen: &mut Screen, lab: &mut Lab) -> Result<()> {
    let overlays = lab.sierra().host.overlays().to_vec();
    let killed = Instant::now();
    lab.sierra().host.stop(Signal::SIGKILL)?;
    for overlay in &overlays {
        get(&lab.hudson().host.site.netns, *overlay, "sierra")?;
        screen.ok(&format!("kill -9 of sierra's daemon: {overlay} still serves hudson"))?;
    }
    forgotten(screen, lab, &overlays, killed)?;
    lab.sierra().host.start()?;
    back(screen, lab, &overlays)
}

/// Nobody has the dead host's `overlays` in its maps any more, and what is sent there is dropped.
fn forgotten(screen: &mut Screen, lab: &Lab, overlays: &[IpAddr], killed: Instant) -> Result<()> {
    for observer in lab.members.iter().filter(|member| member.host.name != "sierra") {
        let mut left = lab.peers(observer);
        left.retain(|peer| !overlays.contains(peer));
        let what = format!("{} forgets sierra", observer.host.name);
        until(&what, || Ok(observer.host.peers()? == left))?;
    }
    let seconds = killed.elapsed().as_secs_f64();
    ensure!(seconds + 0.1 >= TTL * 2.0 / 3.0, "forgotten after {seconds:.1} s, ttl {TTL} s");
    screen.ok(&format!(
        "{seconds:.1} s later (ttl {TTL} s) sierra is in nobody's maps; the others stay"
    ))?;

    let hudson = &lab.hudson().host;
    for overlay in overlays {
        let before = hudson.count("egress", "unknown-overlay")?;
        ensure!(!answers(&hudson.site.netns, *overlay)?, "sierra still answers");
        let dropped = hudson.count("egress", "unknown-overlay")? - before;
        ensure!(dropped > 0, "hudson counts no unknown overlay address");
        screen.ok(&format!(
            "hudson's ping to {overlay} leaks nowhere: {dropped} `unknown-overlay`"
        ))?;
    }
    Ok(())
}

/// The host has its `overlays` again, and everybody talks to it.
fn back(screen: &mut Screen, lab: &Lab, overlays: &[IpAddr]) -> Result<()> {
    for (family, observer, sierra) in lab.pairs().filter(|(.., to)| to.host.name == "sierra") {
        let (host, overlay) = (&observer.host, sierra.host.overlay(family));
        ensure!(overlays.contains(&overlay), "sierra is {overlay} now");
        let peers = lab.peers(observer);
        until(&format!("{} sees sierra again", host.name), || Ok(host.peers()? == peers))?;
        get(&host.site.netns, overlay, "sierra")?;
    }
    overlays.iter().try_for_each(|overlay| {
        screen.ok(&format!("started again, sierra is {overlay} as before; all talk to it"))
    })
}
