//! A host's daemon is killed, and started again.

use std::time::Instant;

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;

use crate::{
    lab::{FAMILY, Lab, TTL, until},
    screen::Screen,
    server::{answers, get},
};

pub fn show(screen: &mut Screen, lab: &mut Lab) -> Result<()> {
    let [hudson, sierra, walden] = &mut lab.members[..] else {
        unreachable!("the demo has three hosts")
    };
    let overlay = sierra.host.overlay(FAMILY);
    let killed = Instant::now();
    sierra.host.stop(Signal::SIGKILL)?;
    let body = get(&hudson.host.site.netns, overlay)?;
    ensure!(body == "sierra", "{overlay} served {body:?}");
    screen.ok("kill -9 of sierra's daemon: the kernel alone still serves hudson")?;

    for (observer, left) in [(&*hudson, "walden"), (&*walden, "hudson")] {
        let name = &observer.host.name;
        until(&format!("{name} forgets sierra"), || Ok(observer.host.members()? == [left]))?;
    }
    let seconds = killed.elapsed().as_secs_f64();
    ensure!(seconds + 0.1 >= TTL * 2.0 / 3.0, "forgotten after {seconds:.1} s, ttl {TTL} s");
    screen.ok(&format!(
        "{seconds:.1} s later (ttl {TTL} s) sierra is in nobody's maps; the others stay"
    ))?;

    let before = hudson.host.count("egress", "unknown-overlay")?;
    ensure!(!answers(&hudson.host.site.netns, overlay)?, "sierra still answers");
    let dropped = hudson.host.count("egress", "unknown-overlay")? - before;
    ensure!(dropped > 0, "hudson counts no unknown overlay address");
    screen.ok(&format!("hudson's ping to {overlay} leaks nowhere: {dropped} `unknown-overlay`"))?;

    sierra.host.start()?;
    ensure!(
        sierra.host.overlay(FAMILY) == overlay,
        "sierra is {} now",
        sierra.host.overlay(FAMILY)
    );
    for (observer, all) in [(hudson, ["sierra", "walden"]), (walden, ["hudson", "sierra"])] {
        let name = &observer.host.name;
        until(&format!("{name} sees sierra again"), || Ok(observer.host.members()? == all))?;
        let body = get(&observer.host.site.netns, overlay)?;
        ensure!(body == "sierra", "{overlay} served {body:?}");
    }
    screen.ok(&format!("started again, sierra is {overlay} as before, and both talk to it"))
}
