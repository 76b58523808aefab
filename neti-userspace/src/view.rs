//! The fleet as one host must see it: which peers there are from here, which of their addresses
//! packets come from and which one packets go to. Pure, and independent of the order in which
//! members arrived.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;

use crate::membership::{HostId, Membership, Problem};

/// Our own host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    pub id: HostId,
    pub network: String,
    pub overlay: Ipv4Addr,
    /// Our addresses on the uplink, the one we send from first; the kernel side keeps
    /// [`neti_common::maps::REALS`] of them.
    pub reals: Vec<Ipv4Addr>,
    /// Interface index of the uplink.
    pub uplink_index: u32,
    /// Prefixes whose hosts are neighbours on the uplink.
    pub on_link: Vec<Ipv4Net>,
    /// The overlay route leads nowhere by itself (the uplink has no gateway): every peer must be
    /// redirected to its own neighbour entry.
    pub redirect_all: bool,
    /// VLAN ids that have an interface of their own on the uplink.
    pub vlans: BTreeSet<u16>,
}

/// The peers of one host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    pub peers: BTreeMap<HostId, Peer>,
    /// Members and addresses that are left out.
    pub problems: Vec<Problem>,
}

/// A member as it is seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its overlay addresses, the primary one first; never empty.
    pub overlays: Vec<Ipv4Addr>,
    /// The real addresses it may send from, the one we send to first; never empty.
    pub reals: Vec<Ipv4Addr>,
    pub generation: u32,
}

/// What `me` must see of the fleet.
pub fn view(me: &Me, membership: &Membership) -> View {
    let _ = (me, membership);
    View::default()
}
