//! Each ordered pair of hosts talks by overlay address, with ping, curl and iperf3.

use anyhow::{Context, Result, ensure};

use crate::{
    lab::{FAMILY, Lab, Member},
    screen::Screen,
    server::{Stream, get, ping, stream},
};

pub fn show(screen: &mut Screen, lab: &Lab) -> Result<()> {
    screen.line("     from    to      address          ping      stream        nginx there saw")?;
    for (from, to) in lab.pairs() {
        let (name, peer) = (&from.host.name, &to.host.name);
        let line = talk(from, to).with_context(|| format!("{name} to {peer}"))?;
        screen.ok(&format!("{name:<7} {peer:<7} {line}"))?;
    }
    Ok(())
}

fn talk(from: &Member, to: &Member) -> Result<String> {
    let (netns, address) = (&from.host.site.netns, to.host.overlay(FAMILY));
    let milliseconds = ping(netns, address)?;
    let body = get(netns, address)?;
    ensure!(body == to.host.name, "{address} served {body:?}");
    let client = to.web.last_peer()?;
    ensure!(client == from.host.overlay(FAMILY), "nginx saw {client}");
    let _server = Stream::start(&to.host.site.netns)?;
    let gigabits = stream(netns, address)? / 1e9;
    ensure!(gigabits > 0.0, "no byte arrived");
    Ok(format!("{address:<15} {milliseconds:>5.2} ms  {gigabits:>5.1} Gbit/s  {client}"))
}
