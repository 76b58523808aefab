//! Whether the maps have room for the policy, on whatever host: no host may find out by itself that it
//! cannot follow it.

use std::{
    collections::{BTreeSet, HashMap},
    iter::once,
};

use ipnet::IpNet;

use super::{CLASSES, Draft, SETS, classes::Classes, services::Services, sets::Sets, sources};
use crate::{
    fleet::{AllowRule, OpenPort, Overrides, Policy, Who},
    membership::HostId,
};

/// A policy that the maps have no room for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TooMany {
    /// The key of the settings that is at fault.
    pub key: String,
    pub value: String,
    /// What would be right.
    pub right: String,
}

/// How much of the maps one part of the policy may take at the most.
#[derive(Default)]
struct Weight {
    prefixes: usize,
    /// Numbers of services at which a range begins, or the next one after its end. There are no more
    /// classes than these.
    cuts: BTreeSet<u32>,
}

impl Weight {
    fn add(&mut self, allow: &[AllowRule], open: &[OpenPort]) {
        self.prefixes += allow.iter().map(|rule| rule.from.len()).sum::<usize>();
        allow.iter().for_each(|rule| self.cut(rule.services().ranges()));
        open.iter().for_each(|port| self.cut(&[port.services()]));
    }

    fn is_none(&self) -> bool {
        self.prefixes == 0 && self.cuts.is_empty()
    }

    fn cut(&mut self, ranges: &[(u32, u32)]) {
        self.cuts.extend(ranges.iter().flat_map(|(first, last)| [*first, last + 1]));
    }

    /// Of what the settings say of a role or a host.
    fn of(overrides: Option<&Overrides>, policy: &Policy, to: Option<Who>) -> Self {
        let mut weight = Self::default();
        if let Some(overrides) = overrides {
            weight.add(&overrides.allow, &overrides.open);
        }
        let rules = policy.member_rules.iter().filter(|rule| Some(&rule.to) == to.as_ref());
        rules.for_each(|rule| weight.cut(rule.services.ranges()));
        weight
    }
}

/// Looks at every role and host that the settings tell apart. Most policies are so small that it is
/// enough to count what they name; others are compiled.
///
/// # Errors
/// The first host, by its role and id, for which there is not enough room.
pub fn check(policy: &Policy) -> Result<(), TooMany> {
    let mut fleet = Weight::of(None, policy, Some(Who::Any));
    fleet.add(&policy.allow, &policy.open);
    let (named_roles, named_hosts) = (policy.roles(), policy.hosts());
    let role = |name: &str| {
        let overrides = policy.roles.as_ref().and_then(|roles| roles.get(name));
        Weight::of(overrides, policy, Some(Who::Role(name.to_owned())))
    };
    let host = |id: &HostId| Weight::of(policy.hosts.get(id), policy, Some(Who::Host(id.clone())));
    let roles = named_roles.iter().map(|name| (*name, role(name)));
    let roles = roles.filter(|(_, weight)| !weight.is_none());
    let roles: Vec<_> = once(("", Weight::default())).chain(roles).collect();
    let hosts = named_hosts.iter().map(|id| (Some(*id), host(id)));
    let hosts = hosts.filter(|(_, weight)| !weight.is_none());
    let hosts: Vec<_> = once((None, Weight::default())).chain(hosts).collect();

    // Those of members, and of anyone.
    let other_sets = named_roles.len() + named_hosts.len() + 2;
    let mut distinct = None;
    for (id, host) in &hosts {
        for (name, role) in &roles {
            let cuts = fleet.cuts.len() + role.cuts.len() + host.cuts.len();
            let prefixes = fleet.prefixes + role.prefixes + host.prefixes;
            let has_room = cuts <= CLASSES
                && (prefixes + other_sets <= SETS
                    || *distinct.get_or_insert_with(|| distinct_sets(policy)) + other_sets <= SETS);
            if !has_room {
                compiled(policy, *id, name)?;
            }
        }
    }
    Ok(())
}

/// How many sets the prefixes of all roles and hosts together can come to, if what each of these says is
/// told apart. One host sees a part of it, in which there are no more.
fn distinct_sets(policy: &Policy) -> usize {
    let roles = policy.roles.iter().flat_map(|roles| roles.values());
    let overrides = roles.chain(policy.hosts.values()).map(|own| &own.allow);
    let (mut sets, mut marks) = (Sets::default(), HashMap::new());
    let mut named: Vec<(IpNet, u32)> = Vec::new();
    for (part, allow) in once(&policy.allow).chain(overrides).enumerate() {
        for rule in allow {
            // Instead of the services themselves, a number for them and whose they are.
            let next = marks.len() as u32;
            let mark = *marks.entry((part, rule.services())).or_insert(next);
            let set = sets.index(Services::new(once((mark, mark))));
            named.extend(rule.from.iter().map(|prefix| (*prefix, set)));
        }
    }
    let merged = sources::merged(named, &mut sets);
    merged.into_iter().map(|(_, set)| set).collect::<BTreeSet<_>>().len()
}

fn compiled(policy: &Policy, id: Option<&HostId>, role: &str) -> Result<(), TooMany> {
    let draft = Draft::new(policy, id, role);
    let sets = draft.sets.len();
    let too_many = |value: String, right: String| {
        let whose = match (id, role) {
            (None, _) | (_, "") => String::new(),
            (Some(_), role) => format!(" in role {role}"),
        };
        let rest = if id.is_none() && role.is_empty() { "" } else { ", the fleet's among them" };
        TooMany { key: key(policy, &draft, id, role), value: value + &whose + rest, right }
    };
    if sets > SETS {
        let right =
            format!("must be at most {SETS} on one host; let more sources reach the same services");
        return Err(too_many(format!("{sets} different sets of services"), right));
    }
    // Class 0 is in no set.
    let classes = Classes::of(&draft.sets).count - 1;
    if classes >= CLASSES {
        let right =
            format!("must be at most {} on one host; name wider ranges of ports", CLASSES - 1);
        return Err(too_many(format!("{classes} services that rules tell apart"), right));
    }
    Ok(())
}

/// Where the settings say the most about such a host.
fn key(policy: &Policy, draft: &Draft, id: Option<&HostId>, role: &str) -> String {
    let listed = |role: &str| policy.roles.as_ref().is_some_and(|roles| roles.contains_key(role));
    match id {
        Some(id) if policy.hosts.contains_key(id) => format!("hosts.{id}"),
        Some(_) => "member_rules".to_owned(),
        None if !role.is_empty() && listed(role) => format!("roles.{role}"),
        None if !role.is_empty() => "member_rules".to_owned(),
        None => {
            let rules = policy.rules_to(None, "").count();
            let (allow, open) = (draft.allow.len(), policy.open.len());
            let keys = [(allow, "allow"), (open, "open"), (rules, "member_rules")];
            keys.into_iter().max().map_or("allow", |(_, key)| key).to_owned()
        }
    }
}
