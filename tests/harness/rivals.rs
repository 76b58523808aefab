//! What others have the kernel do for an overlay and an allow-list, to compare with: each translates the overlay addresses
//! that a host dials, lets in members alone, and has the kernel track connections.

use std::{fmt::Write as _, net::IpAddr};

use anyhow::Result;
use ipnet::IpNet;

use crate::{family::Family, netns::Netns};

/// A member: its overlay and its real address.
pub type Member = (IpAddr, IpAddr);

/// Whom a rule lets in to which TCP port.
pub type Rule = (IpNet, u16);

/// A way to do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rival {
    /// The first Neti: iptables, with a rule that translates each member and one that lets it in.
    Rules,
    /// The original Neti: iptables, with a rule that translates each member, and an ipset of those that are let in.
    Sets,
    /// nftables, with a map and a set.
    Tables,
}

impl Rival {
    pub const ALL: [Self; 3] = [Self::Rules, Self::Sets, Self::Tables];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Rules => "iptables",
            Self::Sets => "ipset + DNAT",
            Self::Tables => "nftables",
        }
    }

    /// Sets up a host that knows these members, all of one family. From then on the kernel tracks its connections.
    pub fn install(self, netns: &Netns, family: Family, members: &[Member]) -> Result<()> {
        match self {
            Self::Rules => iptables(netns, family, members, |rules| {
                for (_, real) in members {
                    writeln!(rules, "-A INPUT -s {real} -j ACCEPT")?;
                }
                Ok(())
            }),
            Self::Sets => {
                let mut set = format!(
                    "create members hash:ip family {} maxelem {}\n",
                    if family == Family::V4 { "inet" } else { "inet6" },
                    members.len().next_power_of_two().max(65_536)
                );
                for (_, real) in members {
                    writeln!(set, "add members {real}")?;
                }
                netns.feed("ipset restore", &set)?;
                iptables(netns, family, members, |rules| {
                    writeln!(rules, "-A INPUT -m set --match-set members src -j ACCEPT")?;
                    Ok(())
                })
            }
            Self::Tables => netns.nft(&nftables(family, members)?),
        }
    }

    /// Lets in these too, after members and replies, and nobody whom rules before let in.
    pub fn allow(self, netns: &Netns, family: Family, rules: &[Rule]) -> Result<()> {
        let mut text = String::new();
        match self {
            Self::Rules | Self::Sets => {
                // A chain that is named is emptied.
                writeln!(text, "*filter\n:rules - [0:0]")?;
                for (from, port) in rules {
                    writeln!(text, "-A rules -s {from} -p tcp --dport {port} -j ACCEPT")?;
                }
                writeln!(text, "COMMIT")?;
                netns.feed(&format!("{} --noflush", restore(family)), &text)
            }
            Self::Tables => {
                let ip = family.nft();
                writeln!(text, "flush chain {ip} neti rules")?;
                for (from, port) in rules {
                    writeln!(
                        text,
                        "add rule {ip} neti rules {ip} saddr {from} tcp dport {port} accept"
                    )?;
                }
                netns.nft(&text)
            }
        }
    }
}

fn restore(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables-legacy-restore",
        Family::V6 => "ip6tables-legacy-restore",
    }
}

fn iptables(
    netns: &Netns,
    family: Family,
    members: &[Member],
    let_in: impl FnOnce(&mut String) -> Result<()>,
) -> Result<()> {
    let icmp = match family {
        Family::V4 => "icmp",
        Family::V6 => "ipv6-icmp",
    };
    let mut rules = "*nat\n:OUTPUT ACCEPT\n".to_owned();
    for (overlay, real) in members {
        writeln!(rules, "-A OUTPUT -d {overlay} -j DNAT --to-destination {real}")?;
    }
    writeln!(rules, "COMMIT\n*filter\n:INPUT DROP\n:rules -")?;
    writeln!(rules, "-A INPUT -i lo -j ACCEPT\n-A INPUT -p {icmp} -j ACCEPT")?;
    // Before the members, who are then looked for once in each connection.
    writeln!(rules, "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")?;
    let_in(&mut rules)?;
    writeln!(rules, "-A INPUT -j rules\nCOMMIT")?;
    netns.feed(restore(family), &rules)
}

fn nftables(family: Family, members: &[Member]) -> Result<String> {
    let ip = family.nft();
    let (kind, icmp) = match family {
        Family::V4 => ("ipv4_addr", "icmp"),
        Family::V6 => ("ipv6_addr", "ipv6-icmp"),
    };
    // With a size they are hash tables that do not grow, the fastest that there are.
    let size = members.len().max(1024) * 2;
    let mut text = format!(
        "table {ip} neti {{\n\
         set members {{ type {kind}\n size {size}\n }}\n\
         map overlays {{ type {kind} : {kind}\n size {size}\n }}\n\
         chain out {{ type nat hook output priority -100\n dnat to {ip} daddr map @overlays\n }}\n\
         chain rules {{\n }}\n\
         chain in {{ type filter hook input priority 0; policy drop\n\
         iif lo accept\n meta l4proto {icmp} accept\n ct state established,related accept\n\
         {ip} saddr @members accept\n jump rules\n }}\n\
         }}\n"
    );
    // One statement for all of them takes a message that is larger than the kernel reads.
    for members in members.chunks(10_000) {
        let reals: Vec<String> = members.iter().map(|(_, real)| real.to_string()).collect();
        let pairs: Vec<String> =
            members.iter().map(|(overlay, real)| format!("{overlay} : {real}")).collect();
        writeln!(text, "add element {ip} neti members {{ {} }}", reals.join(", "))?;
        writeln!(text, "add element {ip} neti overlays {{ {} }}", pairs.join(", "))?;
    }
    Ok(text)
}
