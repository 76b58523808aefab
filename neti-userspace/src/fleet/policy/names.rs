//! The maps know roles and hosts by numbers ([`numbers`]). Two names with one number could not be told
//! apart, so a policy that names both is refused.

use std::collections::BTreeMap;

use super::{Policy, Who};
use crate::{fleet::FleetError, keys::Keys, rules::numbers};

pub fn check(keys: &Keys, policy: &Policy) -> Result<(), FleetError> {
    let mut roles = BTreeMap::from([(numbers::of_role(""), "")]);
    let mut hosts = BTreeMap::new();
    for (role, _) in policy.roles.iter().flatten() {
        take(&mut roles, numbers::of_role(role), role)
            .map_err(|what| keys.wrong(&format!("roles.{role}"), &"{}", &what))?;
    }
    for (index, rule) in policy.member_rules.iter().enumerate() {
        for who in [&rule.from, &rule.to] {
            let taken = match who {
                Who::Any => Ok(()),
                Who::Role(role) => take(&mut roles, numbers::of_role(role), role),
                Who::Host(host) => take(&mut hosts, numbers::of_host(host), host.as_str()),
            };
            let key = || format!("member_rules[{index}]");
            taken.map_err(|what| keys.wrong(&key(), &format!("\"{rule}\""), &what))?;
        }
    }
    Ok(())
}

/// Fails if a number is another name's.
fn take<'a>(names: &mut BTreeMap<u32, &'a str>, number: u32, name: &'a str) -> Result<(), String> {
    let owner = *names.entry(number).or_insert(name);
    if owner == name {
        return Ok(());
    }
    let owner = if owner.is_empty() { "no role" } else { owner };
    Err(format!("{name} has the same number as {owner}, {number:#010x}; one must be renamed"))
}
