//! The hosts meet; what `neti show` says of it.

use anyhow::{Result, ensure};

use crate::{
    lab::{Lab, until},
    screen::Screen,
};

/// Starts all daemons and waits until each has in its maps whom it shares a family with.
pub fn show(screen: &mut Screen, lab: &mut Lab) -> Result<()> {
    for member in &mut lab.members {
        member.host.launch()?;
    }
    for member in &mut lab.members {
        member.host.wait_ready()?;
    }
    for member in &lab.members {
        let peers = lab.peers(member);
        let what = format!("{} sees {peers:?}", member.host.name);
        until(&what, || Ok(member.host.peers()? == peers))?;
    }
    for (family, member) in lab.each() {
        let host = &member.host;
        let others: Vec<&str> =
            lab.others(family, member).map(|other| other.host.name.as_str()).collect();
        screen.ok(&format!(
            "{} in {} is {}; it sees {}",
            host.name,
            host.site.network,
            host.overlay(family),
            list(&others)
        ))?;
    }
    Ok(())
}

fn list(names: &[&str]) -> String {
    match names {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// `neti show` in all its forms, as a person sees it.
pub fn neti_show(screen: &mut Screen, lab: &Lab) -> Result<()> {
    let host = &lab.hudson().host;
    for what in ["members", "stats", "status"] {
        let output = host.run_neti(&["show", what, "--instance", &host.instance])?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success() && !text.trim().is_empty(), "neti show {what} fails");
        screen.output(&format!("neti show {what}"), &text)?;
    }
    Ok(())
}
