//! Whether the maps have room for the policy, on whatever host: no host may find out by itself that it
//! cannot follow it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    iter::once,
    ops::Add,
};

use ipnet::IpNet;
use neti_common::{
    family::{Family, V4, V6},
    maps::{RANGES_KEPT, SUBJECTS_KEPT},
    ropes::Ropes,
};

use super::{CLASSES, Draft, SETS, classes::Classes, services::Services};
use crate::{
    fleet::{AllowRule, MemberRule, OpenPort, Overrides, Policy, Who},
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

/// What the settings say of a role or a host.
#[derive(Default)]
struct Part {
    services: Vec<(u32, u32)>,
    prefixes: Vec<IpNet>,
}

/// How many classes and sets there are.
#[derive(Clone, Copy)]
struct Size {
    classes: usize,
    sets: usize,
}

/// What a host of some role comes to that has nothing to itself.
struct Base {
    size: Size,
    /// In order.
    prefixes: Vec<IpNet>,
    classes: Classes,
}

/// Looks at every role and host that the settings tell apart. Few of them are compiled, unless the policy
/// comes near to what there is room for: what a role or a host adds at the most is counted.
///
/// # Errors
/// The first host, by its role and id, for which there is not enough room.
pub fn check(policy: &Policy) -> Result<(), TooMany> {
    check_ranges::<V4>(policy)?;
    check_ranges::<V6>(policy)?;
    check_subjects(policy)?;
    let fleet = Base::new(policy, "")?;
    let mut rules: HashMap<&Who, Vec<&MemberRule>> = HashMap::new();
    for rule in &policy.member_rules {
        rules.entry(&rule.to).or_default().push(rule);
    }
    let part = |overrides: Option<&Overrides>, who: Who| {
        let rules = rules.get(&who).map(Vec::as_slice).unwrap_or_default();
        Part::new(overrides, rules)
    };
    let role = |name| policy.roles.as_ref().and_then(|roles| roles.get(name));
    let roles = policy.roles().into_iter();
    let roles = roles.map(|name| (name, part(role(name), Who::Role(name.to_owned()))));
    let roles = once(("", Part::default())).chain(roles.filter(|(_, part)| !part.is_empty()));
    let hosts = policy.hosts().into_iter();
    let hosts = hosts.map(|id| (id, part(policy.hosts.get(id), Who::Host(id.clone()))));
    let hosts: Vec<_> = hosts.filter(|(_, part)| !part.is_empty()).collect();
    let added: Vec<Size> = hosts.iter().map(|(_, part)| fleet.adds(part)).collect();

    let peers = peers(policy);
    let has_room = |size: Size| size.classes <= CLASSES && size.sets + peers <= SETS;
    for (role, part) in roles {
        let of_role = fleet.size + fleet.adds(&part);
        let own = if has_room(of_role) { None } else { Some(Base::new(policy, role)?) };
        for ((id, part), added) in hosts.iter().zip(&added) {
            let together = match &own {
                None => of_role + *added,
                Some(own) => own.size + own.adds(part),
            };
            if !has_room(together) {
                let draft = Draft::new(policy, Some(id), role);
                fits(policy, Size::of(&draft, &Classes::of(&draft.sets)), Some(id), role)?;
            }
        }
    }
    Ok(())
}

/// Counts what a host would have to look in for the fleet's ranges and the most that any role and any host adds of each
/// length: more than a host has, so that only who comes near to the limit is refused without need.
fn check_ranges<F: Family>(policy: &Policy) -> Result<(), TooMany> {
    let lengths = |rules: &[AllowRule]| {
        let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
        // One that several rules name is there once.
        let ranges: BTreeSet<&IpNet> = rules.iter().flat_map(|rule| &rule.from).collect();
        for range in ranges.into_iter().filter(|range| F::of(range.network()).is_some()) {
            *counts.entry(range.prefix_len().into()).or_default() += 1;
        }
        counts
    };
    let most = |parts: &mut dyn Iterator<Item = &Overrides>| {
        let mut most: BTreeMap<u32, usize> = BTreeMap::new();
        for (length, count) in parts.flat_map(|part| lengths(&part.allow)) {
            let known = most.entry(length).or_default();
            *known = count.max(*known);
        }
        most
    };
    let mut counts = lengths(&policy.allow);
    let roles = most(&mut policy.roles.iter().flat_map(BTreeMap::values));
    let hosts = most(&mut policy.hosts.values());
    roles.into_iter().chain(hosts).for_each(|(length, count)| {
        *counts.entry(length).or_default() += count;
    });
    if Ropes::<F>::has_room(&counts) {
        return Ok(());
    }
    let (ranges, lengths) = (counts.values().sum::<usize>(), counts.len());
    Err(TooMany {
        key: "allow".to_owned(),
        value: format!(
            "{ranges} {} ranges of {lengths} prefix lengths, those of a role and a host among them",
            F::NAME
        ),
        right: format!(
            "must be at most what takes {RANGES_KEPT} entries of a table: one for each range, and one for each shorter length that is \
             looked for before it; use fewer ranges or fewer lengths"
        ),
    })
}

/// Whoever a rule lets in has an entry.
fn check_subjects(policy: &Policy) -> Result<(), TooMany> {
    let from: BTreeSet<&Who> = policy.member_rules.iter().map(|rule| &rule.from).collect();
    if from.len() <= SUBJECTS_KEPT as usize {
        return Ok(());
    }
    Err(TooMany {
        key: "member_rules".to_owned(),
        value: format!("rules from {} roles and hosts", from.len()),
        right: format!(
            "must be from at most {SUBJECTS_KEPT}; give hosts that may do the same a role"
        ),
    })
}

/// How many sets there are at the most beside those of prefixes: each role and host that a rule is about
/// may have one, the host another one with what its role may reach, and so have the other members and
/// anyone.
fn peers(policy: &Policy) -> usize {
    let from: BTreeSet<&Who> = policy.member_rules.iter().map(|rule| &rule.from).collect();
    let hosts = from.iter().filter_map(|who| who.host()).count();
    from.len() + hosts + 2
}

impl Part {
    fn new(overrides: Option<&Overrides>, rules: &[&MemberRule]) -> Self {
        let mut part = Self::default();
        for rule in overrides.iter().flat_map(|own| &own.allow) {
            part.services.extend(rule.services().ranges());
            part.prefixes.extend(&rule.from);
        }
        part.services.extend(overrides.iter().flat_map(|own| &own.open).map(OpenPort::services));
        part.services.extend(rules.iter().flat_map(|rule| rule.services.ranges()));
        part
    }

    fn is_empty(&self) -> bool {
        self.services.is_empty() && self.prefixes.is_empty()
    }
}

impl Size {
    fn of(draft: &Draft, classes: &Classes) -> Self {
        Self { classes: classes.count, sets: draft.sets.len() }
    }
}

impl Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { classes: self.classes + other.classes, sets: self.sets + other.sets }
    }
}

impl Base {
    /// Fails if already that is more than there is room for.
    fn new(policy: &Policy, role: &str) -> Result<Self, TooMany> {
        let draft = Draft::new(policy, None, role);
        let classes = Classes::of(&draft.sets);
        let size = Size::of(&draft, &classes);
        fits(policy, size, None, role)?;
        let prefixes = draft.allow.iter().map(|(prefix, _)| *prefix).collect();
        Ok(Self { size, prefixes, classes })
    }

    /// How much more there is with `part` at the most; what two parts add, they add together. Services
    /// that it does not name are told apart no better than before, the others may be at each place where
    /// a range begins or ends. Prefixes that lie in none of its own keep their sets.
    fn adds(&self, part: &Part) -> Size {
        let ends = part.services.iter().flat_map(|(first, last)| [*first, last + 1]);
        let ends = ends.collect::<BTreeSet<_>>().len();
        let named = Services::new(part.services.iter().copied());
        let inside = |prefix: &IpNet| {
            let begin = self.prefixes.partition_point(|other| other < prefix);
            let behind = self.prefixes[begin..].partition_point(|other| prefix.contains(other));
            1 + behind
        };
        Size {
            classes: ends + self.classes.cuts_within(&named),
            sets: part.prefixes.iter().map(inside).sum(),
        }
    }
}

/// Fails if a host of this role, with this id if it has something to itself, comes to more than there is
/// room for.
fn fits(policy: &Policy, size: Size, id: Option<&HostId>, role: &str) -> Result<(), TooMany> {
    let whose = match (id, role) {
        (None, "") => String::new(),
        (None, _) | (_, "") => ", the fleet's among them".to_owned(),
        (Some(_), role) => format!(" in role {role}, the fleet's among them"),
    };
    let too_many = |value: String, right: String| {
        Err(TooMany { key: key(policy, id, role), value: value + &whose, right })
    };
    let Size { classes, sets } = size;
    if sets > SETS {
        return too_many(
            format!("{sets} different sets of services"),
            format!("must be at most {SETS} on one host; let more sources reach the same services"),
        );
    }
    if classes > CLASSES {
        // Class 0 is of the services that nobody names.
        return too_many(
            format!("{} services that rules tell apart", classes - 1),
            format!("must be at most {} on one host; name wider ranges of ports", CLASSES - 1),
        );
    }
    Ok(())
}

/// Where the settings say the most about such a host.
fn key(policy: &Policy, id: Option<&HostId>, role: &str) -> String {
    let listed = policy.roles.as_ref().is_some_and(|roles| roles.contains_key(role));
    match (id, role) {
        (Some(id), _) if policy.hosts.contains_key(id) => format!("hosts.{id}"),
        (None, role) if listed => format!("roles.{role}"),
        (None, "") => {
            let allow = policy.allow.iter().map(|rule| rule.from.len()).sum();
            let rules = policy.rules_to(None, "").count();
            let keys = [(allow, "allow"), (policy.open.len(), "open"), (rules, "member_rules")];
            keys.into_iter().max().map_or("allow", |(_, key)| key).to_owned()
        }
        _ => "member_rules".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::tests::sample::policies;

    proptest! {
        #[test]
        fn no_host_comes_to_more_than_is_counted((policy, _) in policies()) {
            let fleet = Base::new(&policy, "").unwrap();
            let part = |overrides: Option<&Overrides>, who: Who| {
                let rules: Vec<_> = policy.member_rules.iter().filter(|rule| rule.to == who).collect();
                Part::new(overrides, &rules)
            };
            for role in once("").chain(policy.roles()) {
                let overrides = policy.roles.as_ref().unwrap().get(role);
                let of_role = fleet.adds(&part(overrides, Who::Role(role.to_owned())));
                let own = Base::new(&policy, role).unwrap();
                for id in policy.hosts() {
                    let part = part(policy.hosts.get(id), Who::Host(id.clone()));
                    let draft = Draft::new(&policy, Some(id), role);
                    let exact = Size::of(&draft, &Classes::of(&draft.sets));
                    for counted in
                        [fleet.size + of_role + fleet.adds(&part), own.size + own.adds(&part)]
                    {
                        prop_assert!(exact.classes <= counted.classes);
                        prop_assert!(exact.sets <= counted.sets + peers(&policy));
                    }
                }
            }
        }
    }
}
