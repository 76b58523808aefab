//! Each ordered pair of hosts talks by overlay address, with ping, curl and iperf3.

use anyhow::{Context, Result, ensure};
use harness::family::Family;

use crate::{
    lab::{Lab, Member},
    screen::Screen,
    server::{Stream, get, ping, stream},
};

pub fn show(screen: &mut Screen, lab: &Lab) -> Result<()> {
    screen.line("     from    to      address              ping ms   Gbit/s  nginx there saw")?;
    for (family, from, to) in lab.pairs() {
        let (name, peer) = (&from.host.name, &to.host.name);
        let line =
            talk(family, from, to).with_context(|| format!("{name} to {peer} by {family}"))?;
        screen.ok(&format!("{name:<7} {peer:<7} {line}"))?;
    }
    Ok(())
}

fn talk(family: Family, from: &Member, to: &Member) -> Result<String> {
    let (netns, address) = (&from.host.site.netns, to.host.overlay(family));
    let milliseconds = ping(netns, address)?;
    let client = get(netns, address, &to.host.name)?;
    ensure!(client == from.host.overlay(family), "nginx saw {client}");
    let _server = Stream::start(&to.host.site.netns)?;
    let gigabits = stream(netns, address)? / 1e9;
    ensure!(gigabits > 0.0, "no byte arrived");
    let address = address.to_string();
    Ok(format!("{address:<20} {milliseconds:>7.2}  {gigabits:>7.1}  {client}"))
}
