//! Somebody outside the fleet: refused, counted, and yet able to answer.

use anyhow::{Context, Result, ensure};
use harness::family::Family;

use crate::{
    lab::{Lab, Member},
    screen::Screen,
    server::{get, times_out},
};

pub fn show(screen: &mut Screen, lab: &Lab) -> Result<()> {
    for (family, member) in lab.each() {
        screen.ok(&refused(family, member, lab)?)?;
    }
    for family in lab.families {
        screen.ok(&answers(*family, lab)?)?;
    }
    Ok(())
}

fn refused(family: Family, member: &Member, lab: &Lab) -> Result<String> {
    let host = &member.host;
    let public = host.site.public(family).context("every host of the demo has a public address")?;
    let before = host.count("ingress", "stranger")?;
    let refused = times_out(&lab.demo.stranger.netns, public)?;
    ensure!(refused, "the stranger gets an answer from {public}");
    let dropped = host.count("ingress", "stranger")? - before;
    ensure!(dropped > 0, "{} counts no stranger", host.name);
    let public = public.to_string();
    Ok(format!("to {} at {public:<17}  curl times out; {dropped} counted `stranger`", host.name))
}

fn answers(family: Family, lab: &Lab) -> Result<String> {
    let host = &lab.hudson().host;
    let before = host.count("ingress", "reply")?;
    let client = get(&host.site.netns, lab.demo.stranger.real(family), "stranger")?;
    ensure!(Some(client) == host.site.public(family), "the stranger saw {client}");
    let replies = host.count("ingress", "reply")? - before;
    ensure!(replies > 0, "{} counts no reply", host.name);
    Ok(format!("{} to the stranger: served as {client}; {replies} in as `reply`", host.name))
}
