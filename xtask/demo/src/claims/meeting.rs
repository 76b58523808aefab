//! The hosts meet; what `neti show` says of it.

use anyhow::{Result, ensure};

use crate::{
    lab::{FAMILY, Lab, until},
    screen::Screen,
};

/// Starts all daemons and waits until each has the others in its maps.
pub fn show(screen: &mut Screen, lab: &mut Lab) -> Result<()> {
    for member in &mut lab.members {
        member.host.launch()?;
    }
    for member in &mut lab.members {
        member.host.wait_ready()?;
    }
    for member in &lab.members {
        let host = &member.host;
        let others: Vec<&String> = lab
            .members
            .iter()
            .map(|other| &other.host.name)
            .filter(|name| **name != host.name)
            .collect();
        until(&format!("{} sees {others:?}", host.name), || {
            Ok(host.members()?.iter().eq(others.iter().copied()))
        })?;
        let [first, second] = others[..] else { unreachable!("the demo has three hosts") };
        screen.ok(&format!(
            "{} in {} is {}; it sees {first} and {second}",
            host.name,
            host.site.network,
            host.overlay(FAMILY)
        ))?;
    }
    Ok(())
}

/// `neti show` in all its forms, as a person sees it.
pub fn neti_show(screen: &mut Screen, lab: &Lab) -> Result<()> {
    let host = &lab.members[0].host;
    for what in ["members", "stats", "status"] {
        let output = host.run_neti(&["show", what, "--instance", &host.instance])?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success() && !text.trim().is_empty(), "neti show {what} fails");
        screen.output(&format!("neti show {what}"), &text)?;
    }
    Ok(())
}
