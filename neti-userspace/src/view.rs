//! The fleet as one host must see it: which peers there are from here, which of their addresses
//! packets come from and which one packets go to. Pure, and independent of the order in which
//! members arrived.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;

use crate::membership::{HostId, MemberRecord, Membership, Problem};

/// Our own host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    pub id: HostId,
    pub network: String,
    pub overlay: Ipv4Addr,
    /// Our addresses on the uplink, the one we send from first. The maps have room for
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
///
/// Of two claims to one address one holds, whichever arrived first: an overlay address belongs to
/// the higher generation, a real address to the older claim, and ours are ours.
pub fn view(me: &Me, membership: &Membership) -> View {
    let own = membership.members.get(&me.id);
    let mut others: Vec<_> = membership.members.values().filter(|m| m.id != me.id).collect();
    let mut problems = Vec::new();

    let own_overlays = own.into_iter().flat_map(|own| own.overlays.iter().copied());
    let mut overlays = Claims::new("overlay", &me.id, own_overlays.chain([me.overlay]));
    others.sort_by_key(|m| (Reverse(m.generation), m.since, &m.id));
    let mut named: Vec<_> = others
        .into_iter()
        .map(|member| {
            let (inside, outside): (Vec<_>, Vec<_>) =
                member.overlays.iter().partition(|address| membership.fleet.is_overlay(**address));
            problems.extend(outside.into_iter().map(|address: Ipv4Addr| {
                problem(member, format!("{address} is in no overlay range of the fleet; refused"))
            }));
            (member, overlays.grant(member, inside, &mut problems))
        })
        .filter(|(_, overlays)| !overlays.is_empty())
        .collect();

    let own_reals = own.into_iter().flat_map(|own| own.private.into_iter().chain(own.public));
    let mut reals = Claims::new("real", &me.id, own_reals.chain(me.reals.iter().copied()));
    named.sort_by_key(|(m, _)| (m.since, &m.id));
    let mut peers = BTreeMap::new();
    for (member, overlays) in named {
        let visible = visible(me, membership, member, &mut problems);
        let reals = reals.grant(member, visible, &mut problems);
        if !reals.is_empty() {
            let generation = member.generation;
            peers.insert(member.id.clone(), Peer { overlays, reals, generation });
        }
    }
    problems.sort();
    View { peers, problems }
}

/// The real addresses by which `member` can be reached from here, the preferred one first.
fn visible(
    me: &Me,
    membership: &Membership,
    member: &MemberRecord,
    problems: &mut Vec<Problem>,
) -> Vec<Ipv4Addr> {
    // Another network's private addresses may be the same as ours and mean other hosts.
    let private = member.private.filter(|_| member.network == me.network);
    let public = member.public.filter(|public| Some(*public) != private);
    let mut visible: Vec<_> = private.into_iter().chain(public).collect();
    if visible.is_empty() {
        let network = &member.network;
        problems.push(problem(
            member,
            format!("unreachable: it is in network {network:?} and has no public address"),
        ));
    }
    visible.retain(|&address| {
        let overlay = membership.fleet.is_overlay(address);
        if overlay {
            problems.push(problem(
                member,
                format!("real address {address} is in an overlay range; refused"),
            ));
        }
        !overlay
    });
    visible
}

/// Who has which address.
struct Claims<'a> {
    kind: &'static str,
    owners: BTreeMap<Ipv4Addr, &'a HostId>,
}

impl<'a> Claims<'a> {
    fn new(kind: &'static str, me: &'a HostId, own: impl Iterator<Item = Ipv4Addr>) -> Self {
        Self { kind, owners: own.map(|address| (address, me)).collect() }
    }

    /// Gives `member` those of `addresses` that nobody has.
    fn grant(
        &mut self,
        member: &'a MemberRecord,
        mut addresses: Vec<Ipv4Addr>,
        problems: &mut Vec<Problem>,
    ) -> Vec<Ipv4Addr> {
        addresses.retain(|&address| {
            let owner = *self.owners.entry(address).or_insert(&member.id);
            if owner != &member.id {
                let kind = self.kind;
                problems.push(problem(
                    member,
                    format!("{kind} address {address} belongs to {owner}; refused"),
                ));
            }
            owner == &member.id
        });
        addresses
    }
}

fn problem(member: &MemberRecord, what: String) -> Problem {
    Problem { key: format!("members/{}", member.id), what }
}

#[cfg(test)]
mod tests;
