//! Links that fail silently: packets are dropped, and nobody is told.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Result;

use crate::netns::Netns;

/// Drops packets of a server, both ways, until it is healed or dropped. Neighbours still resolve: a connection meets
/// silence, neither a reset nor an unreachable host.
#[derive(Debug)]
pub struct Cut {
    netns: Netns,
    /// The nftables table with the rules; `None` once healed.
    table: Option<String>,
}

impl Cut {
    /// Between what is in (or behind, if it is a router) `netns` and these addresses, as they are seen there.
    pub fn between(netns: &Netns, peers: &[IpAddr]) -> Result<Self> {
        let each = |end: &str| {
            let rule = |peer: &IpAddr| match peer {
                IpAddr::V4(_) => format!("ip {end} {peer} drop\n"),
                IpAddr::V6(_) => format!("ip6 {end} {peer} drop\n"),
            };
            peers.iter().map(rule).collect::<String>()
        };
        Self::with(netns, &each("saddr"), &each("daddr"))
    }

    /// Between `netns` and everybody else.
    pub fn off(netns: &Netns) -> Result<Self> {
        Self::with(netns, "iifname != lo drop\n", "oifname != lo drop\n")
    }

    fn with(netns: &Netns, incoming: &str, outgoing: &str) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let table = format!("cut_{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        // Before a router translates a destination and after it translates a source: where addresses are the hosts' own.
        netns.nft(&format!(
            "table inet {table} {{\n\
             chain in {{ type filter hook prerouting priority -300\n{NEIGHBOURS}{incoming} }}\n\
             chain out {{ type filter hook postrouting priority 300\n{NEIGHBOURS}{outgoing} }}\n\
             }}\n"
        ))?;
        Ok(Self { netns: netns.clone(), table: Some(table) })
    }

    /// Lets packets through again.
    pub fn heal(mut self) -> Result<()> {
        self.lift()
    }

    fn lift(&mut self) -> Result<()> {
        match self.table.take() {
            Some(table) => self.netns.nft(&format!("delete table inet {table}\n")),
            None => Ok(()),
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        let _ = self.lift();
    }
}

/// IPv6 finds its neighbours by packets that these chains see.
const NEIGHBOURS: &str = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n";
