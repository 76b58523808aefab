//! Somebody outside the fleet: refused, counted, and yet able to answer.

use anyhow::{Context, Result, ensure};

use crate::{
    lab::{FAMILY, Lab},
    screen::Screen,
    server::{get, times_out},
};

pub fn show(screen: &mut Screen, lab: &Lab) -> Result<()> {
    let stranger = &lab.demo.stranger;
    for member in &lab.members {
        let host = &member.host;
        let public =
            host.site.public(FAMILY).context("every host of the demo has a public address")?;
        let before = host.count("ingress", "stranger")?;
        ensure!(times_out(&stranger.netns, public)?, "the stranger gets an answer from {public}");
        let dropped = host.count("ingress", "stranger")? - before;
        ensure!(dropped > 0, "{} counts no stranger", host.name);
        screen.ok(&format!(
            "to {} at {public:<13}  curl times out; {dropped} packets counted `stranger`",
            host.name
        ))?;
    }
    let host = &lab.members[0].host;
    let body = get(&host.site.netns, stranger.real(FAMILY))?;
    ensure!(body == "stranger", "the stranger served {body:?}");
    let replies = host.count("ingress", "reply")?;
    ensure!(replies > 0, "{} counts no reply", host.name);
    let client = lab.stranger_web.last_peer()?;
    ensure!(Some(client) == host.site.public(FAMILY), "the stranger saw {client}");
    screen.ok(&format!(
        "{} to the stranger: served as {client}; {replies} packets in as `reply`",
        host.name
    ))
}
