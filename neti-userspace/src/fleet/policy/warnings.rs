//! What a policy says and hardly means: rules that concern nobody or add nothing, and names and addresses
//! that meet those of members.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Policy, Who, shadows};
use crate::{
    addresses,
    fleet::FleetSettings,
    membership::{HostId, MemberRecord, Members},
    rules::numbers,
};

/// At most so many are told, and how many more there are.
const TOLD: usize = 50;
/// So many members are named in one of them.
const NAMED: usize = 3;

/// Each begins with the key that it is about. Of a fleet that has no members yet nothing is said of what
/// concerns nobody.
pub fn warnings(fleet: &FleetSettings, members: &Members) -> Vec<String> {
    let policy = &fleet.policy;
    // The gravest first, for of many the last are not told.
    let mut warnings = of_numbers(policy, members);
    warnings.extend(of_nat_overrides(policy, members));
    if !members.is_empty() {
        warnings.extend(of_names(policy, members));
    }
    warnings.extend(of_overlay(fleet));
    let shadowed = shadows::shadowed(policy).into_iter();
    warnings.extend(shadowed.map(|rule| format!("{}: adds nothing to {}", rule.key, rule.by)));
    let more = warnings.len().saturating_sub(TOLD);
    if more > 0 {
        warnings.truncate(TOLD);
        warnings.push(format!("and {more} more"));
    }
    warnings
}

/// Names that no member has, and roles that the settings do not list.
fn of_names(policy: &Policy, members: &Members) -> Vec<String> {
    let mut by_role: BTreeMap<&str, Vec<&HostId>> = BTreeMap::new();
    for record in members.values() {
        by_role.entry(&record.role).or_default().push(&record.id);
    }
    let nobody = |who: &Who| match who {
        Who::Any => None,
        Who::Role(role) => {
            (!by_role.contains_key(role.as_str())).then(|| format!("no member has role {role}"))
        }
        Who::Host(id) => (!members.contains_key(id)).then(|| format!("no member is {id}")),
    };
    let mut warnings = Vec::new();
    for (index, rule) in policy.member_rules.iter().enumerate() {
        let nobody = [&rule.from, &rule.to].into_iter().find_map(nobody);
        warnings.extend(nobody.map(|why| format!("member_rules[{index}] = \"{rule}\": {why}")));
    }
    let roles = policy.roles.iter().flatten().map(|(role, _)| role);
    let idle = roles.filter_map(|role| {
        let why = nobody(&Who::Role(role.clone()))?;
        Some(format!("roles.{role}: {why}"))
    });
    warnings.extend(idle);
    let idle = policy.hosts.keys().filter_map(|id| {
        let why = nobody(&Who::Host(id.clone()))?;
        Some(format!("hosts.{id}: {why}"))
    });
    warnings.extend(idle);
    if let Some(roles) = &policy.roles {
        let other =
            by_role.iter().filter(|(role, _)| !role.is_empty() && !roles.contains_key(**role));
        warnings.extend(
            other.map(|(role, ids)| {
                format!("roles: does not list {role}, the role of {}", some(ids))
            }),
        );
    }
    warnings
}

/// Members that no rule can name, because their name has the number of one that a rule names.
fn of_numbers(policy: &Policy, members: &Members) -> Vec<String> {
    let named = |index: usize, who: &Who| match who {
        Who::Any => None,
        Who::Role(role) => Some(((true, numbers::of_role(role)), (index, role.clone()))),
        Who::Host(id) => Some(((false, numbers::of_host(id)), (index, id.to_string()))),
    };
    let from = policy.member_rules.iter().enumerate().rev();
    let named: BTreeMap<_, _> = from.filter_map(|(index, rule)| named(index, &rule.from)).collect();
    if named.is_empty() {
        return Vec::new();
    }
    let mut mistaken: BTreeMap<(usize, &str, &str), Vec<&HostId>> = BTreeMap::new();
    for record in members.values() {
        let MemberRecord { id, role, .. } = &**record;
        for (key, name) in [
            ((true, numbers::of_role(role)), role.as_str()),
            ((false, numbers::of_host(id)), id.as_str()),
        ] {
            if let Some((index, other)) = named.get(&key).filter(|(_, other)| other != name) {
                mistaken.entry((*index, other, name)).or_default().push(id);
            }
        }
    }
    let tell = |((index, named, name), ids): ((usize, &str, &str), Vec<&HostId>)| {
        format!(
            "member_rules[{index}]: {name} has the same number as {named}, so that no rule knows {} \
             by it; one must be renamed",
            some(&ids)
        )
    };
    mistaken.into_iter().map(tell).collect()
}

/// Addresses that are members' as well.
fn of_nat_overrides(policy: &Policy, members: &Members) -> Vec<String> {
    let leading: BTreeSet<IpAddr> = policy.nat_overrides.values().copied().collect();
    if leading.is_empty() {
        return Vec::new();
    }
    let mut warnings = Vec::new();
    for record in members.values() {
        let id = &record.id;
        for address in &record.overlays {
            if policy.nat_overrides.contains_key(address) {
                let key = format!("nat_overrides.{address}");
                warnings.push(format!("{key}: is the overlay address of member {id}"));
            }
        }
        for real in record.private.iter().chain(record.public.iter()) {
            if leading.contains(&real) {
                warnings.push(format!(
                    "nat_overrides: leads to {real}, which is member {id}'s and has its overlay address"
                ));
            }
        }
    }
    warnings
}

/// Allow rules for sources that do not exist.
fn of_overlay(fleet: &FleetSettings) -> Vec<String> {
    let mut parts = vec![(String::new(), &fleet.policy.allow)];
    parts.extend(shadows::parts(&fleet.policy).map(|(part, own)| (part, &own.allow)));
    let mut warnings = Vec::new();
    for (part, rules) in parts {
        for (index, rule) in rules.iter().enumerate() {
            let inside = |range: &&_| fleet.overlay.iter().any(|overlay| overlay.contains(*range));
            if let Some(range) = rule.from.iter().find(inside) {
                warnings.push(format!(
                    "{part}allow[{index}]: lets in nobody from {range}, for packets come from real \
                     addresses; rules about members are `member_rules`"
                ));
            }
        }
    }
    warnings
}

/// `2 members: hudson, walden`; of many only the first.
fn some(ids: &[&HostId]) -> String {
    let rest = if ids.len() > NAMED { ", ..." } else { "" };
    let what = if ids.len() == 1 { "member" } else { "members" };
    format!("{} {what}: {}{rest}", ids.len(), addresses::list(ids.iter().take(NAMED)))
}
