//! The reverse path: where this host's own routes lead to an address. What comes by the uplink from an
//! address that is routed out of another interface, a container's say, does not come from there.

mod following;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;

pub use self::following::Routes;
use crate::longest::LongestPrefix;

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
pub struct ReversePath(LongestPrefix<Elsewhere>);

impl ReversePath {
    /// What `routes` say on a host with this `uplink`; `names` has the names of the interfaces that a
    /// packet may come by. As in the kernel, the longest prefix decides, then the lowest metric; of
    /// several next hops it suffices that one leads out of the uplink.
    pub fn new(mut routes: Vec<Hop>, uplink: u32, names: &BTreeMap<u32, String>) -> Self {
        routes.sort_unstable_by_key(|hop| (hop.metric, hop.interface != uplink, hop.interface));
        let names: BTreeMap<u32, Arc<str>> =
            names.iter().map(|(index, name)| (*index, Arc::from(name.as_str()))).collect();
        let elsewhere = |hop: Hop| match hop.interface {
            index if index == uplink => None,
            index => names.get(&index).cloned(),
        };
        Self(LongestPrefix::new(routes.into_iter().map(|hop| (hop.to, elsewhere(hop))).collect()))
    }

    /// The interface, other than the uplink, out of which `address` is routed. `None` if it is routed
    /// out of the uplink, or nowhere.
    pub fn elsewhere(&self, address: IpAddr) -> Option<&str> {
        self.0.get(address)?.as_deref()
    }
}

#[cfg(test)]
mod tests;
