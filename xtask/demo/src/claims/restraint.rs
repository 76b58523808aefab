//! The overlay leaves the kernel's connection tracking alone, also where somebody else's rules turn it on.

use anyhow::{Context, Result, ensure};
use harness::{
    family::{Family, Network},
    netns::Netns,
};

use crate::{
    lab::Lab,
    screen::Screen,
    server::{answers, get},
};

/// Containers that the hosts do not have.
const CONTAINERS: Network = Network { v4: [172, 17, 0], v6: [0xfd17, 0, 0, 0] };

/// A rule that many hosts have for their containers.
fn nat(family: Family) -> String {
    let (ip, range) = (family.nft(), CONTAINERS.prefix(family));
    format!(
        "table {ip} nat {{\n\
         chain post {{ type nat hook postrouting priority 100; {ip} saddr {range} masquerade; }}\n\
         }}\n"
    )
}

pub fn show(screen: &mut Screen, lab: &Lab) -> Result<()> {
    for member in &lab.members {
        let tracked = tracked(&member.host.site.netns)?;
        ensure!(tracked == 0, "{} tracks {tracked} connections", member.host.name);
    }
    screen.ok("after all of the above: 0 conntrack entries on each host")?;

    for (family, member) in lab.each() {
        member.host.site.netns.nft(&nat(family))?;
    }
    for (family, from, to) in lab.pairs() {
        get(&from.host.site.netns, to.host.overlay(family), &to.host.name)?;
    }
    for member in &lab.members {
        let tracked = tracked(&member.host.site.netns)?;
        ensure!(tracked == 0, "with a nat table {} tracks {tracked}", member.host.name);
    }
    screen.ok("a nat table on each host, `notrack = true`, every pair again: still 0")?;

    // The same count sees traffic outside the overlay, so it can see something.
    let netns = &lab.hudson().host.site.netns;
    for (before, family) in (0..).zip(lab.families) {
        let stranger = lab.demo.stranger.real(*family);
        ensure!(answers(netns, stranger)?, "the stranger does not answer");
        let tracked = tracked(netns)? - before;
        ensure!(tracked > 0, "the nat table does not make the kernel track {family}");
        screen.ok(&format!("the table does track: a ping to {stranger} left {tracked} entry"))?;
    }
    Ok(())
}

fn tracked(netns: &Netns) -> Result<u64> {
    let count = netns.exec("conntrack --count")?;
    count.trim().parse().with_context(|| format!("conntrack --count says {count:?}"))
}
