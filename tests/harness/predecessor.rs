//! What the original Neti had the kernel do, to compare with: a rule per member that translates its overlay address
//! (iptables, DNAT), and a set of real addresses that are let in (ipset).

use std::net::IpAddr;

use anyhow::Result;

use crate::{family::Family, netns::Netns};

/// A member: its overlay and its real address.
pub type Member = (IpAddr, IpAddr);

/// Sets up a host that knows these members, all of one family. From then on the kernel tracks its connections.
pub fn install(netns: &Netns, family: Family, members: &[Member]) -> Result<()> {
    let (iptables, inet, icmp) = match family {
        Family::V4 => ("iptables-legacy", "inet", "icmp"),
        Family::V6 => ("ip6tables-legacy", "inet6", "ipv6-icmp"),
    };
    netns.exec(&format!("ipset create members hash:ip family {inet}"))?;
    for (overlay, real) in members {
        netns.exec(&format!("ipset add members {real}"))?;
        let dnat = format!("-t nat -A OUTPUT -d {overlay} -j DNAT --to-destination {real}");
        netns.exec(&format!("{iptables} -w {dnat}"))?;
    }
    for rule in [
        "-A INPUT -i lo -j ACCEPT",
        &format!("-A INPUT -p {icmp} -j ACCEPT"),
        "-A INPUT -m set --match-set members src -j ACCEPT",
        "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
        "-P INPUT DROP",
    ] {
        netns.exec(&format!("{iptables} -w {rule}"))?;
    }
    Ok(())
}
