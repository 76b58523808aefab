//! The fleet as one host must see it: which peers there are from here, which of their addresses
//! packets come from and which one packets go to. Pure, and independent of the order in which
//! members arrived.

mod contest;
mod homeward;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    mem,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use ipnet::IpNet;

pub use self::homeward::is_rerouted;
use self::{contest::Claims, homeward::homeward};
use crate::{
    addresses::IpFamily,
    fleet::{FleetSettings, Networks},
    membership::{HostId, MemberRecord, Members, Problem},
    reverse::ReversePath,
    rules::numbers::Named,
};

/// Our own host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    pub id: HostId,
    pub network: String,
    /// Empty: none.
    pub role: String,
    /// Our overlay addresses, at most one of each family.
    pub overlays: Vec<IpAddr>,
    /// Our addresses on the uplink, in each family the one we send from first. The maps have room
    /// for [`neti_common::maps::REALS`] of a family.
    pub reals: Vec<IpAddr>,
    /// Interface index of the uplink.
    pub uplink_index: u32,
    /// Prefixes whose hosts must be redirected to their own neighbour entries: those that are
    /// neighbours on the uplink, and everybody in a family whose overlay route leads nowhere by
    /// itself, because the uplink has no gateway there.
    pub on_link: Vec<IpNet>,
    /// VLAN ids that have an interface of their own on the uplink.
    pub vlans: BTreeSet<u16>,
    /// Where the host's own routes lead.
    pub reverse: Arc<ReversePath>,
    /// The registry's servers, which are never refused; the maps have room for
    /// [`neti_common::maps::ENDPOINTS`] of a family.
    pub endpoints: Vec<SocketAddr>,
}

/// The peers of one host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    pub peers: BTreeMap<HostId, Peer>,
    /// Members and addresses that are left out.
    pub problems: BTreeSet<Problem>,
}

/// A member as it is seen from here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The overlay addresses by which it is reached from here, in each family the primary one first.
    /// Empty if it shares no family with us; it is let in all the same.
    pub overlays: Vec<IpAddr>,
    /// The real addresses it may send from, in each family the one we send to first; never empty.
    pub reals: Vec<IpAddr>,
    /// The number by which the maps know it.
    pub host: u32,
    /// Empty: none, or one that the maps would take for another.
    pub role: String,
    pub generation: u32,
}

/// What `me` must see of `members`, whose fleet has these settings.
///
/// Of two claims to one address one holds, whichever arrived first: an overlay address belongs to
/// the higher generation, a real address to the older claim, and ours are ours.
///
/// Members that have no claim in common ([`claims`]), not even by way of others, do not matter to
/// each other: the view of all is the union of the views of such parts, each with our own record.
pub fn view(me: &Me, fleet: &FleetSettings, members: &Members) -> View {
    let own = members.get(&me.id);
    let mut problems = BTreeSet::new();
    let others = members.values().map(Arc::as_ref).filter(|member| member.id != me.id);
    let listed = others.filter(|member| is_listed(fleet, member, &mut problems));
    // By id, in which order a sort leaves those that are equal to it.
    let mut listed: Vec<Listed> = listed.map(Listed::of).collect();

    let own_overlays = own.into_iter().flat_map(|own| own.overlays.iter().copied());
    let own_overlays = own_overlays.chain(me.overlays.iter().copied());
    let claimed = listed.iter().flat_map(|listed| listed.member.overlays.iter().copied());
    let mut overlays = Claims::new("overlay", &me.id, own_overlays, claimed);
    let mut order: Vec<&mut Listed> = listed.iter_mut().collect();
    order.sort_by_cached_key(|listed| (Reverse(listed.member.generation), listed.member.since));
    for Listed { member, overlays: named, .. } in order {
        let carried = carried(fleet, member, &mut problems);
        *named = overlays.grant(member, carried, &mut problems);
    }

    let named = listed.iter_mut().filter(|listed| !listed.overlays.is_empty());
    let mut order: Vec<&mut Listed> = named.collect();
    for Listed { member, visible: seen, .. } in &mut order {
        *seen = visible(me, &fleet.networks, member);
    }
    let own_reals = own.into_iter().flat_map(|own| own.private.iter().chain(own.public.iter()));
    let own_reals = own_reals.chain(me.reals.iter().copied());
    let claimed = order.iter().flat_map(|listed| listed.visible.iter().copied());
    let mut reals = Claims::new("real", &me.id, own_reals, claimed);
    order.sort_by_cached_key(|listed| listed.member.since);
    let numbers = Named::of(&fleet.policy);
    for Listed { member, overlays, visible, peer } in order {
        let (mut overlays, visible) = (mem::take(overlays), mem::take(visible));
        problems.extend(unreachable(me, member, &overlays, &visible));
        let visible = outside(fleet, member, visible, &mut problems);
        let visible = homeward(me, member, visible, &mut problems);
        let reals = reals.grant(member, visible, &mut problems);
        overlays.retain(|overlay| {
            let family = IpFamily::of(*overlay);
            has_family(&me.overlays, family) && has_family(&reals, family)
        });
        if !reals.is_empty() {
            let host = numbers.host(&member.id);
            let role = unmistaken(&numbers, member, &mut problems);
            let generation = member.generation;
            *peer = Some(Peer { overlays, reals, host, role, generation });
        }
    }
    let peers = listed
        .into_iter()
        .filter_map(|Listed { member, peer, .. }| Some((member.id.clone(), peer?)));
    let peers = peers.collect();
    View { peers, problems }
}

/// A member of a network that the fleet's settings list, and what has come of it so far.
struct Listed<'a> {
    member: &'a MemberRecord,
    /// Those of its overlay addresses that it has.
    overlays: Vec<IpAddr>,
    /// The real addresses by which it may be reached from here.
    visible: Vec<IpAddr>,
    peer: Option<Peer>,
}

impl<'a> Listed<'a> {
    fn of(member: &'a MemberRecord) -> Self {
        Self { member, overlays: Vec::new(), visible: Vec::new(), peer: None }
    }
}

/// The addresses for which `member` may contend with others in the view of `me`: what another
/// member that claims none of them comes to does not depend on it.
pub fn claims(me: &Me, networks: &Networks, member: &MemberRecord) -> Vec<IpAddr> {
    let mut claims = visible(me, networks, member);
    if member.id == me.id {
        claims.extend(member.private.iter());
    }
    claims.extend(&member.overlays);
    claims
}

/// The key of problems with a member.
pub fn key(id: &HostId) -> String {
    format!("members/{id}")
}

/// Whether `member` is in a network that the fleet's settings list.
fn is_listed(
    fleet: &FleetSettings,
    member: &MemberRecord,
    problems: &mut BTreeSet<Problem>,
) -> bool {
    let checked = fleet.networks.check(&member.network);
    if let Err(unlisted) = &checked {
        problems.insert(problem(member, format!("{unlisted}; left out")));
    }
    checked.is_ok()
}

/// The overlay addresses of `member` that lie in the fleet's ranges and that an address of their
/// own family carries.
fn carried(
    fleet: &FleetSettings,
    member: &MemberRecord,
    problems: &mut BTreeSet<Problem>,
) -> Vec<IpAddr> {
    let mut overlays = member.overlays.clone();
    overlays.retain(|overlay| {
        let family = IpFamily::of(*overlay);
        let what = if !fleet.is_overlay(*overlay) {
            format!("{overlay} is in no overlay range of the fleet; refused")
        } else if fleet.policy.nat_overrides.contains_key(overlay) {
            format!("overlay address {overlay} is one of the fleet's nat_overrides; refused")
        } else if member.private.of(family).or(member.public.of(family)).is_none() {
            format!(
                "overlay address {overlay}: it has no {family} address to carry it, and one of the \
                 other family cannot; refused"
            )
        } else {
            return true;
        };
        problems.insert(problem(member, what));
        false
    });
    overlays
}

/// The real addresses by which `member` can be reached from here, the preferred ones first.
fn visible(me: &Me, networks: &Networks, member: &MemberRecord) -> Vec<IpAddr> {
    // Another network's private addresses may be the same as ours and mean other hosts.
    let adjoins = networks.adjoin(&me.network, &member.network);
    let private = member.private.iter().filter(|_| adjoins);
    let mut visible: Vec<_> = private.collect();
    for public in member.public.iter() {
        if !visible.contains(&public) {
            visible.push(public);
        }
    }
    visible
}

/// In which of its families `member` has no address that is visible from here: of those that we have
/// too, or of any if it is not visible at all.
fn unreachable(
    me: &Me,
    member: &MemberRecord,
    overlays: &[IpAddr],
    visible: &[IpAddr],
) -> Vec<Problem> {
    let is_missed = |family: &IpFamily| {
        let concerns_us = has_family(&me.overlays, *family) || visible.is_empty();
        concerns_us && has_family(overlays, *family) && !has_family(visible, *family)
    };
    let tell = |family: IpFamily| {
        let network = &member.network;
        let what = format!(
            "unreachable by {family}: it is in network {network:?} and has no public {family} \
             address"
        );
        problem(member, what)
    };
    IpFamily::ALL.into_iter().filter(is_missed).map(tell).collect()
}

/// Those of a member's real addresses that are no overlay addresses, nor what one leads to that is no
/// member's.
fn outside(
    fleet: &FleetSettings,
    member: &MemberRecord,
    mut reals: Vec<IpAddr>,
    problems: &mut BTreeSet<Problem>,
) -> Vec<IpAddr> {
    reals.retain(|&address| {
        let what = if fleet.is_overlay(address) {
            format!("real address {address} is in an overlay range; refused")
        } else if fleet.policy.nat_overrides.values().any(|other| *other == address) {
            format!("real address {address} is one that the fleet's nat_overrides lead to; refused")
        } else {
            return true;
        };
        problems.insert(problem(member, what));
        false
    });
    reals
}

/// The role by which rules may know `member`: none if the maps would take it for another one.
fn unmistaken(numbers: &Named, member: &MemberRecord, problems: &mut BTreeSet<Problem>) -> String {
    if let Some(named) = numbers.other_host(&member.id) {
        let what = format!(
            "has the same number as {named}, which a rule names, and none of its rights; one must \
             be renamed"
        );
        problems.insert(problem(member, what));
    }
    let Some(named) = numbers.other_role(&member.role) else { return member.role.clone() };
    let what = format!(
        "role {} has the same number as {named}, which a rule names, and none of its rights; one \
         must be renamed",
        member.role
    );
    problems.insert(problem(member, what));
    String::new()
}

fn has_family(addresses: &[IpAddr], family: IpFamily) -> bool {
    addresses.iter().any(|address| IpFamily::of(*address) == family)
}

fn problem(member: &MemberRecord, what: String) -> Problem {
    Problem { key: key(&member.id), what }
}

#[cfg(test)]
mod tests;
