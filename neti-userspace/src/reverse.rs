//! The reverse path: where this host's own routes lead to an address. What comes by the uplink from an
//! address that is routed out of another interface, a container's say, does not come from there.
//!
//! A host may have a million routes and is asked about a hundred thousand members: of the routes only
//! what matters is kept, which is where their answers change along the address space.

mod following;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;

pub use self::following::Routes;

/// One next hop of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    pub to: IpNet,
    pub metric: u32,
    /// 0 for routes that lead nowhere (`blackhole`, `unreachable`).
    pub interface: u32,
}

/// The name of an interface other than the uplink.
type Elsewhere = Option<Arc<str>>;

/// Which addresses lead out of which interface. Two are equal if and only if they say the same of every
/// address.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReversePath {
    /// Ascending; each answer holds from its address up to the next one's, and none is that of its
    /// predecessor.
    changes: Vec<(IpAddr, Elsewhere)>,
}

impl ReversePath {
    /// What `routes` say on a host with this `uplink`; `names` has the names of the interfaces that a
    /// packet may come by. As in the kernel, the longest prefix decides, then the lowest metric; of
    /// several next hops it suffices that one leads out of the uplink.
    pub fn new(mut routes: Vec<Hop>, uplink: u32, names: &BTreeMap<u32, String>) -> Self {
        routes.sort_unstable_by_key(|hop| {
            let Hop { to, metric, interface } = *hop;
            (to.network(), to.prefix_len(), metric, interface != uplink, interface)
        });
        routes.dedup_by_key(|hop| hop.to.trunc());
        let names: BTreeMap<u32, Arc<str>> =
            names.iter().map(|(index, name)| (*index, Arc::from(name.as_str()))).collect();
        let elsewhere = |hop: &Hop| match hop.interface {
            index if index == uplink => None,
            index => names.get(&index).cloned(),
        };
        let mut reverse = Self::default();
        // The prefixes around the one at hand, the shortest first, each with its last address.
        let mut around: Vec<(IpAddr, Elsewhere)> = Vec::new();
        for hop in &routes {
            reverse.close(&mut around, Some(hop.to.network()));
            let elsewhere = elsewhere(hop);
            reverse.change(hop.to.network(), elsewhere.clone());
            around.push((hop.to.broadcast(), elsewhere));
        }
        reverse.close(&mut around, None);
        reverse
    }

    /// The interface, other than the uplink, out of which `address` is routed. `None` if it is routed
    /// out of the uplink, or nowhere.
    pub fn elsewhere(&self, address: IpAddr) -> Option<&str> {
        let after = self.changes.partition_point(|(start, _)| *start <= address);
        self.changes.get(after.checked_sub(1)?)?.1.as_deref()
    }

    /// Ends the prefixes that end before `next`, or all.
    fn close(&mut self, around: &mut Vec<(IpAddr, Elsewhere)>, next: Option<IpAddr>) {
        while let Some((last, _)) = around.last()
            && next.is_none_or(|next| *last < next)
        {
            let after = successor(*last);
            around.pop();
            let outer = around.last().and_then(|(_, elsewhere)| elsewhere.clone());
            // Behind the last address of all there is none.
            if let Some(after) = after {
                self.change(after, outer);
            }
        }
    }

    fn change(&mut self, start: IpAddr, elsewhere: Elsewhere) {
        // What begins at the same address is the longer prefix, or what follows a shorter one.
        self.changes.pop_if(|(last, _)| *last == start);
        let before = self.changes.last().and_then(|(_, elsewhere)| elsewhere.clone());
        if before != elsewhere {
            self.changes.push((start, elsewhere));
        }
    }
}

/// The next address; behind the last one of IPv4 come those of IPv6.
fn successor(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => match address.to_bits().checked_add(1) {
            Some(next) => Some(IpAddr::V4(next.into())),
            None => Some(std::net::Ipv6Addr::UNSPECIFIED.into()),
        },
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|next| IpAddr::V6(next.into())),
    }
}

#[cfg(test)]
mod tests;
