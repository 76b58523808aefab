//! The numbers by which the maps know hosts and roles: the same on every host and at every start.

use std::collections::BTreeMap;

use crate::{
    fleet::{Policy, Who},
    membership::HostId,
};

/// The number of a host: FNV-1a of its id.
pub fn of_host(id: &HostId) -> u32 {
    fnv(id.as_str())
}

/// The number of a role, and 0 for no role.
pub fn of_role(role: &str) -> u32 {
    if role.is_empty() { 0 } else { fnv(role) }
}

/// The number of a host that is no member.
pub const NOBODY: u32 = 0;

/// The numbers of those from whom rules let something in: whoever has another name and the same number
/// must not have their rights.
#[derive(Debug)]
pub struct Named<'a> {
    hosts: BTreeMap<u32, &'a HostId>,
    roles: BTreeMap<u32, &'a str>,
}

impl<'a> Named<'a> {
    pub fn of(policy: &'a Policy) -> Self {
        let from = || policy.member_rules.iter().map(|rule| &rule.from);
        let hosts = from().filter_map(Who::host).map(|id| (of_host(id), id));
        let roles = from().filter_map(Who::role).map(|role| (of_role(role), role));
        Self { hosts: hosts.collect(), roles: roles.collect() }
    }

    /// Whom a host would be taken for by its number.
    pub fn other_host(&self, id: &HostId) -> Option<&'a HostId> {
        self.hosts.get(&of_host(id)).copied().filter(|named| *named != id)
    }

    /// Which role a role would be taken for by its number.
    pub fn other_role(&self, role: &str) -> Option<&'a str> {
        self.roles.get(&of_role(role)).copied().filter(|named| *named != role)
    }

    /// The number that a host gets: its own, or the next one that is nobody else's.
    pub fn host(&self, id: &HostId) -> u32 {
        let mut number = of_host(id);
        while number == NOBODY || self.hosts.get(&number).is_some_and(|named| *named != id) {
            number = number.wrapping_add(1);
        }
        number
    }
}

/// FNV-1a of 32 bits.
fn fnv(text: &str) -> u32 {
    let step = |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    text.bytes().fold(0x811c_9dc5, step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::sample::id;

    #[test]
    fn a_name_has_the_same_number_everywhere() {
        // The published vector of FNV-1a for "foobar".
        assert_eq!(of_host(&id("foobar")), 0xbf9c_f968);
        assert_eq!(of_role("foobar"), 0xbf9c_f968);
        assert_eq!(of_role(""), 0);
    }
}
