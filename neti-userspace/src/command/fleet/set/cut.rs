//! What a policy would cut off where it is enforced: ssh, the registry, hosts from all others. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use neti_common::maps::ENDPOINTS;

use super::{
    here::{Here, Session},
    loss::some,
    refusal::Refusal,
};
use crate::{
    addresses::{IpFamily, list},
    fleet::{FleetSettings, Mode},
    membership::{HostId, MemberRecord, Members},
    rules::{
        self, Rules,
        services::{self, TCP},
    },
};

/// From this port on ssh is let in from the failsafe ranges.
const SSH: u16 = 22;

const ANYWAY: &str = "or cut off with --force";

/// What would be cut off from whom.
#[derive(Debug, PartialEq, Eq)]
pub struct Cut {
    /// A word for each, the same in other settings only if these cut off no more.
    pub what: BTreeSet<String>,
    pub refusal: Refusal,
}

impl Cut {
    fn new(what: impl IntoIterator<Item = String>, refusal: Refusal) -> Self {
        Self { what: what.into_iter().collect(), refusal }
    }
}

/// What would be cut off.
pub fn off(fleet: &FleetSettings, members: &Members, here: &Here) -> Vec<Cut> {
    let enforcing = enforcing(fleet);
    if enforcing.is_empty() {
        return Vec::new();
    }
    let mut cut: Vec<Cut> = failsafe(fleet, &enforcing).into_iter().collect();
    let session = here.ssh.and_then(|session| ssh(fleet, members, here, session));
    cut.extend(session.map(|refusal| Cut::new(["session".to_owned()], refusal)));
    cut.extend(servers(here, &enforcing));
    cut.extend(registry(fleet, members, here));
    cut.extend(hosts(fleet, members));
    cut
}

/// Families of the fleet in which ssh is let in from nowhere; `enforcing` are the keys by which hosts enforce.
fn failsafe(fleet: &FleetSettings, enforcing: &[String]) -> Option<Cut> {
    let is_of = |family| move |range: &IpNet| IpFamily::of_range(range) == family;
    let families = IpFamily::ALL.into_iter().filter(|family| fleet.range(*family).is_some());
    let without: Vec<String> = families
        .filter(|family| !fleet.failsafe.iter().any(is_of(*family)))
        .map(|family| family.to_string())
        .collect();
    if without.is_empty() {
        return None;
    }
    let what = match fleet.failsafe.is_empty() {
        true => "failsafe = []".to_owned(),
        false => format!("failsafe: has no {} range", list(&without)),
    };
    let text = format!("{what}: would cut off ssh where hosts enforce, by `{}`", enforcing[0]);
    let what = without.iter().flat_map(|family| by(&format!("ssh {family}"), enforcing));
    let instead = format!("list ranges that operators come from, {ANYWAY}");
    Some(Cut::new(what, Refusal::new(text, instead)))
}

/// The same cut once for each key by which hosts enforce: who enforces by another one too cuts off more.
fn by(what: &str, enforcing: &[String]) -> Vec<String> {
    enforcing.iter().map(|key| format!("{what} by {key}")).collect()
}

/// The keys by which hosts enforce, if there are such hosts.
pub fn enforcing(fleet: &FleetSettings) -> Vec<String> {
    let roles = fleet.policy.roles.iter().flatten();
    let roles = roles.map(|(role, own)| (format!("roles.{role}.mode"), own.mode));
    let hosts = fleet.policy.hosts.iter().map(|(id, own)| (format!("hosts.{id}.mode"), own.mode));
    let fleet = [("mode".to_owned(), Some(fleet.mode))];
    let modes = fleet.into_iter().chain(roles).chain(hosts);
    modes.filter(|(_, mode)| *mode == Some(Mode::Enforce)).map(|(key, _)| key).collect()
}

/// The operator's own session into this host, if it is a member.
fn ssh(
    fleet: &FleetSettings,
    members: &Members,
    here: &Here,
    Session { client, port }: Session,
) -> Option<Refusal> {
    let host = &here.host;
    let own = members.get(host)?;
    let rules = rules::compile(fleet, host, &own.role);
    let service = services::number(TCP, port);
    let failsafe = port == SSH && fleet.failsafe.iter().any(|range| range.contains(&client));
    let is_client = |record: &&MemberRecord| has(fleet, here, record, client);
    let mut clients = members.values().map(AsRef::as_ref).filter(is_client);
    let is_admitted = failsafe
        || rules.admits_source(client, service)
        || clients.any(|member| rules.admits_member(&member.id, &member.role, service));
    (rules.mode == Mode::Enforce && !is_admitted).then(|| {
        let range = if port == SSH { "`failsafe` or " } else { "" };
        let what = format!(
            "{}: would cut off your own ssh session, from {client} to port {port} of {host}",
            mode_key(fleet, own)
        );
        Refusal::new(what, format!("let it in by {range}`allow`, {ANYWAY}"))
    })
}

/// The key by which a host has its mode.
fn mode_key(fleet: &FleetSettings, host: &MemberRecord) -> String {
    let MemberRecord { id, role, .. } = host;
    let of_role = fleet.policy.roles.as_ref().and_then(|roles| roles.get(role));
    if fleet.policy.hosts.get(id).is_some_and(|own| own.mode.is_some()) {
        format!("hosts.{id}.mode")
    } else if of_role.is_some_and(|own| own.mode.is_some()) {
        format!("roles.{role}.mode")
    } else {
        "mode".to_owned()
    }
}

/// Servers of the registry for which there is no room among those that are never refused.
fn servers(here: &Here, enforcing: &[String]) -> Option<Cut> {
    IpFamily::ALL.into_iter().find_map(|family| {
        let of_family = |address: IpAddr| IpFamily::of(address) == family;
        let count = here.endpoints.iter().filter(|server| of_family(server.ip())).count();
        (count > ENDPOINTS).then(|| {
            let what = format!(
                "{}: would cut off servers of the registry, for only {ENDPOINTS} of its {count} {family} \
                 addresses are never refused",
                enforcing[0]
            );
            let refusal = Refusal::new(what, format!("name fewer in the configuration, {ANYWAY}"));
            Cut::new(by("servers", enforcing), refusal)
        })
    })
}

/// Hosts that could not come to a server of the registry which is a member. They have to be let in by address: a host
/// that starts is no member yet, and one whose record has ended is none any more.
fn registry(fleet: &FleetSettings, members: &Members, here: &Here) -> Vec<Cut> {
    let members = || members.values().map(AsRef::as_ref);
    let mut all = Vec::new();
    for server in &here.endpoints {
        for host in members().filter(|host| has(fleet, here, host, server.ip())) {
            let rules = rules::compile(fleet, &host.id, &host.role);
            if rules.mode != Mode::Enforce {
                continue;
            }
            let service = services::number(TCP, server.port());
            let is_cut = |peer: &&MemberRecord| {
                // Who cannot come here at all is not cut off by the policy.
                let source = source(fleet, peer, host, server.ip());
                source.is_some_and(|source| !rules.admits_source(source, service))
            };
            let peers = members().filter(|peer| peer.id != host.id);
            let cut: Vec<String> = peers.filter(is_cut).map(|peer| peer.id.to_string()).collect();
            if cut.is_empty() {
                continue;
            }
            let id = &host.id;
            let text = format!(
                "{}: the registry's server {server}, which is {id}, would be cut off from {}, whenever they are no \
                 members",
                mode_key(fleet, host),
                some(&cut, "host", "hosts"),
            );
            let instead = format!(
                "`allow` their networks there, or hosts.{id}.open+=tcp/{}, and the ports by which the registry's servers talk to each other, {ANYWAY}",
                server.port(),
            );
            let what = cut.iter().map(|peer| format!("registry {server} {id} {peer}"));
            all.push(Cut::new(what, Refusal::new(text, instead)));
        }
    }
    all
}

/// Whether a member has an address, as it is seen from here: private ones of other networks may be anybody's.
fn has(fleet: &FleetSettings, here: &Here, member: &MemberRecord, address: IpAddr) -> bool {
    let near = fleet.networks.adjoin(&here.network, &member.network);
    member.overlays.contains(&address)
        || member.public.contains(address)
        || (near && member.private.contains(address))
}

/// The address from which `peer` comes to `address` of `host`.
fn source(
    fleet: &FleetSettings,
    peer: &MemberRecord,
    host: &MemberRecord,
    address: IpAddr,
) -> Option<IpAddr> {
    let near = fleet.networks.adjoin(&peer.network, &host.network);
    if !near && host.private.contains(address) && !host.public.contains(address) {
        return None;
    }
    let family = IpFamily::of(address);
    let private = peer.private.of(family).filter(|_| near);
    private.or(peer.public.of(family))
}

/// Hosts on which no other member could reach anything at all.
fn hosts(fleet: &FleetSettings, members: &Members) -> Option<Cut> {
    let named = fleet.policy.hosts();
    let mut alike: BTreeMap<(Option<&HostId>, &str), Vec<&MemberRecord>> = BTreeMap::new();
    for member in members.values() {
        let id = named.contains(&member.id).then_some(&member.id);
        alike.entry((id, &member.role)).or_default().push(member);
    }
    let mut cut: Vec<String> = Vec::new();
    for ((_, role), hosts) in &alike {
        let rules = rules::compile(fleet, &hosts[0].id, role);
        if rules.mode != Mode::Enforce || !rules.restricted {
            continue;
        }
        // One might be the host itself.
        let known = members.values().filter(|member| knows(&rules, member));
        let known: Vec<_> = known.map(|member| &member.id).take(2).collect();
        let others = |host: &MemberRecord| known.iter().any(|id| **id != host.id);
        cut.extend(hosts.iter().filter(|host| !others(host)).map(|host| host.id.to_string()));
    }
    cut.sort();
    // A member that is alone has nobody to be cut off from.
    if cut.is_empty() || members.len() < 2 {
        return None;
    }
    let hosts = match cut.len() == members.len() {
        true => "all members from each other".to_owned(),
        false => format!("from all other members {}", some(&cut, "host", "hosts")),
    };
    let what = format!("member_rules: would cut off {hosts}");
    let refusal = Refusal::new(what, format!("add rules whose `from` are members, {ANYWAY}"));
    Some(Cut::new(cut.into_iter().map(|host| format!("host {host}")), refusal))
}

/// Whether a member may reach anything.
fn knows(rules: &Rules, member: &MemberRecord) -> bool {
    let mut reals = member.private.iter().chain(member.public.iter());
    rules.knows_member(&member.id, &member.role) || reals.any(|real| rules.knows_source(real))
}

#[cfg(test)]
mod tests;
