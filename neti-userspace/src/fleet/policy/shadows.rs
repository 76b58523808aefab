//! Rules that let in nobody whom others do not let in already: they are left over, or not what was meant.

use std::collections::HashMap;

use super::{MemberRule, OpenPort, Overrides, Policy, Who};
use crate::rules::services::Services;

mod allow;

/// A rule, by its key, that adds nothing.
pub struct Shadowed {
    pub key: String,
    /// What it adds nothing to.
    pub by: String,
}

/// All of the policy's.
pub fn shadowed(policy: &Policy) -> Vec<Shadowed> {
    let mut shadowed = Vec::new();
    let fleet = Services::new(policy.open.iter().map(OpenPort::services));
    let mut allow = allow::Fleet::new(&policy.allow, &fleet, &mut shadowed);
    for (part, Overrides { allow: rules, open, .. }) in parts(policy) {
        let key = |index: usize, port: &OpenPort| (format!("{part}open[{index}]"), port.services());
        let ports = open.iter().enumerate().map(|(index, port)| key(index, port));
        let within = ports.filter(|(_, port)| fleet.contains(&Services::new([*port])));
        shadowed.extend(within.map(|(key, _)| Shadowed { key, by: "the fleet's `open`".into() }));
        let open = Services::new(open.iter().map(OpenPort::services)).union(&fleet);
        allow.beside(&part, rules, &open, &mut shadowed);
    }
    shadowed.extend(member_rules(&policy.member_rules));
    shadowed
}

/// What the roles and the hosts have to themselves, with what its keys begin with.
pub fn parts(policy: &Policy) -> impl Iterator<Item = (String, &Overrides)> {
    let roles = policy.roles.iter().flatten();
    let roles = roles.map(|(role, overrides)| (format!("roles.{role}."), overrides));
    let hosts = policy.hosts.iter();
    roles.chain(hosts.map(|(host, overrides)| (format!("hosts.{host}."), overrides)))
}

/// One rule about members covers another if it is from the same or more, to the same or more, and about
/// the same or more services. Of two that are alike the later one is left over.
fn member_rules(rules: &[MemberRule]) -> Vec<Shadowed> {
    let mut alike: HashMap<(&Who, &Who), Vec<usize>> = HashMap::new();
    for (index, rule) in rules.iter().enumerate() {
        alike.entry((&rule.from, &rule.to)).or_default().push(index);
    }
    let covering = |(index, rule): (usize, &MemberRule)| {
        let pairs = [
            (&rule.from, &rule.to),
            (&Who::Any, &rule.to),
            (&rule.from, &Who::Any),
            (&Who::Any, &Who::Any),
        ];
        let mut others = pairs.into_iter().filter_map(|pair| alike.get(&pair)).flatten();
        let by = others.find(|other| {
            let covering = &rules[**other];
            let says_more = (&covering.from, &covering.to, &covering.services)
                != (&rule.from, &rule.to, &rule.services);
            covering.services.contains(&rule.services) && (says_more || **other < index)
        })?;
        let key = format!("member_rules[{index}]");
        Some(Shadowed { key, by: format!("member_rules[{by}]") })
    };
    rules.iter().enumerate().filter_map(covering).collect()
}
