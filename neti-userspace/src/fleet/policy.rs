//! The policy: who may talk to whom, and what becomes of the rest. What holds for the fleet, a role may
//! change for its hosts, and a host for itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::IpNet;
use serde_json::Value;

use super::{FleetError, Mode, OpenPort, allow, allow::AllowRule, ports};
use crate::{
    addresses,
    keys::Keys,
    membership::{HostId, is_name},
};

mod member_rules;
mod names;
mod nat_overrides;
mod shadows;
mod warnings;

pub use member_rules::{MemberRule, Who};
pub use warnings::warnings;

/// The policy, validated. Whether the maps have room for what it comes to is for
/// [`rules::check`](crate::rules::check).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Who, besides members, may reach what of any host.
    pub allow: Vec<AllowRule>,
    /// What anyone may reach of any host.
    pub open: Vec<OpenPort>,
    /// Hosts that a rule's `to` names let members in by these alone, the others let all members in.
    pub member_rules: Vec<MemberRule>,
    /// The roles that there are, and what they have otherwise than the fleet; `None`: any.
    pub roles: Option<BTreeMap<String, Overrides>>,
    pub hosts: BTreeMap<HostId, Overrides>,
    /// Addresses that are no member's, each in an overlay range, by which hosts reach another address.
    /// No two lead to one.
    pub nat_overrides: BTreeMap<IpAddr, IpAddr>,
}

/// What a role or a host has otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    pub mode: Option<Mode>,
    pub echo: Option<bool>,
    /// Beside the fleet's.
    pub allow: Vec<AllowRule>,
    /// Beside the fleet's.
    pub open: Vec<OpenPort>,
}

impl Policy {
    /// What a host has otherwise than the fleet, the weightier one last. Without an id: one that the
    /// settings do not name.
    pub fn overrides(&self, id: Option<&HostId>, role: &str) -> impl Iterator<Item = &Overrides> {
        let role = self.roles.as_ref().and_then(|roles| roles.get(role));
        role.into_iter().chain(id.and_then(|id| self.hosts.get(id)))
    }

    /// Fails for a role that is not among those that the settings list: nothing that they say of roles
    /// is about a host that has it.
    pub fn check_role(&self, role: &str) -> Result<(), String> {
        match &self.roles {
            Some(roles) if !role.is_empty() && !roles.contains_key(role) => Err(format!(
                "{role} is none that the fleet's `roles` list ({}), so that no rule about a role \
                 holds for this host; correct it in the configuration, or list it",
                addresses::list(roles.keys()),
            )),
            _ => Ok(()),
        }
    }

    /// The rules by which a host lets members in. None: it lets all of them in.
    pub fn rules_to(&self, id: Option<&HostId>, role: &str) -> impl Iterator<Item = &MemberRule> {
        self.member_rules.iter().filter(move |rule| rule.to.is(id, role))
    }

    /// The roles that have something to them: listed, or named by a rule.
    pub fn roles(&self) -> BTreeSet<&str> {
        let listed = self.roles.iter().flatten().map(|(role, _)| role.as_str());
        listed.chain(self.named().filter_map(Who::role)).collect()
    }

    /// The hosts that have something to themselves: overrides, or a rule that names them by their ids.
    pub fn hosts(&self) -> BTreeSet<&HostId> {
        self.hosts.keys().chain(self.named().filter_map(Who::host)).collect()
    }

    /// Whom rules name.
    fn named(&self) -> impl Iterator<Item = &Who> {
        self.member_rules.iter().flat_map(|rule| [&rule.from, &rule.to])
    }
}

impl Mode {
    /// For [`Keys`].
    pub(super) fn read(keys: &mut Keys) -> Result<Option<Self>, FleetError> {
        keys.optional("mode", "observe or enforce", |value| match value.as_str()? {
            "observe" => Some(Self::Observe),
            "enforce" => Some(Self::Enforce),
            _ => None,
        })
    }
}

/// Reads the key `echo`.
pub(super) fn echo(keys: &mut Keys) -> Result<Option<bool>, FleetError> {
    keys.optional("echo", "true or false", Value::as_bool)
}

/// Reads the keys that are the policy's alone, in a fleet with these overlay ranges.
pub fn read(keys: &mut Keys, overlay: &[IpNet]) -> Result<Policy, FleetError> {
    let (allow, open) = (allow::read(keys)?, ports::open(keys)?);
    let roles = roles(keys)?;
    let hosts = hosts(keys)?;
    let member_rules = member_rules::read(keys, roles.as_ref())?;
    let nat_overrides = nat_overrides::read(keys, overlay)?;
    let policy = Policy { allow, open, member_rules, roles, hosts, nat_overrides };
    names::check(keys, &policy)?;
    Ok(policy)
}

fn roles(keys: &mut Keys) -> Result<Option<BTreeMap<String, Overrides>>, FleetError> {
    const RIGHT: &str = "a table of tables by role, like {\"web\": {}, \"db\": {\"mode\": \
                         \"enforce\"}}";
    let Some(tables) = keys.named_tables("roles", RIGHT)? else { return Ok(None) };
    if tables.is_empty() {
        return Err(keys.wrong("roles", &"{}", "must list at least one role"));
    }
    let role = |(name, table): (String, Keys)| {
        if !is_name(&name) {
            let what = format!("the role's name must be {}", HostId::RIGHT);
            return Err(keys.wrong(&format!("roles.{name}"), &"{}", &what));
        }
        Ok((name, overrides(table)?))
    };
    tables.into_iter().map(role).collect::<Result<_, _>>().map(Some)
}

fn hosts(keys: &mut Keys) -> Result<BTreeMap<HostId, Overrides>, FleetError> {
    const RIGHT: &str = "a table of tables by host, like {\"hudson\": {\"mode\": \"observe\"}}";
    let tables = keys.named_tables("hosts", RIGHT)?.unwrap_or_default();
    let host = |(name, table): (String, Keys)| match name.parse() {
        Ok(id) => Ok((id, overrides(table)?)),
        Err(_) => {
            let what = format!("the host's id must be {}", HostId::RIGHT);
            Err(keys.wrong(&format!("hosts.{name}"), &"{}", &what))
        }
    };
    tables.into_iter().map(host).collect()
}

fn overrides(mut keys: Keys) -> Result<Overrides, FleetError> {
    let overrides = Overrides {
        mode: Mode::read(&mut keys)?,
        echo: echo(&mut keys)?,
        allow: allow::read(&mut keys)?,
        open: ports::open(&mut keys)?,
    };
    keys.finish()?;
    Ok(overrides)
}

#[cfg(test)]
mod tests;
