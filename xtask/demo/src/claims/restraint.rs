//! The overlay leaves the kernel's connection tracking alone, also where somebody else's rules turn it on.

use anyhow::{Context, Result, ensure};
use harness::netns::Netns;

use crate::{
    lab::{FAMILY, Lab},
    screen::Screen,
    server::{answers, get},
};

/// A rule that many hosts have, for containers that this one does not have.
const NAT: &str = "\
table ip nat {
    chain post {
        type nat hook postrouting priority 100
        ip saddr 172.17.0.0/16 masquerade
    }
}
";

pub fn show(screen: &mut Screen, lab: &Lab) -> Result<()> {
    for member in &lab.members {
        let tracked = tracked(&member.host.site.netns)?;
        ensure!(tracked == 0, "{} tracks {tracked} connections", member.host.name);
    }
    screen.ok("after all of the above: 0 conntrack entries on each host")?;

    for member in &lab.members {
        member.host.site.netns.nft(NAT)?;
    }
    for (from, to) in lab.pairs() {
        get(&from.host.site.netns, to.host.overlay(FAMILY))?;
    }
    for member in &lab.members {
        let tracked = tracked(&member.host.site.netns)?;
        ensure!(tracked == 0, "with a nat table {} tracks {tracked}", member.host.name);
    }
    screen.ok("a nat table on each host, `notrack = true`, every pair again: still 0")?;

    // The same count sees traffic outside the overlay, so it can see something.
    let host = &lab.members[0].host;
    ensure!(
        answers(&host.site.netns, lab.demo.stranger.real(FAMILY))?,
        "the stranger does not answer"
    );
    let tracked = tracked(&host.site.netns)?;
    ensure!(tracked > 0, "the nat table does not make the kernel track");
    screen.ok(&format!("the table does track: one ping to the stranger left {tracked} entry"))
}

fn tracked(netns: &Netns) -> Result<u64> {
    let count = netns.exec("conntrack --count")?;
    count.trim().parse().with_context(|| format!("conntrack --count says {count:?}"))
}
