//! The policy of one host as the filter's maps hold it: a packet asks them in a number of steps that does
//! not depend on how many rules there are. A service has a class, a peer has a set of classes. Pure.

use std::{collections::BTreeMap, net::IpAddr, rc::Rc};

use ipnet::IpNet;
use neti_common::maps;

use self::{classes::Classes, services::Services, sets::Sets};
use crate::{
    fleet::{FleetSettings, Mode, OpenPort, Policy, Who},
    membership::HostId,
};

mod classes;
pub mod numbers;
mod room;
pub mod services;
pub(crate) mod sets;
pub(crate) mod sources;

pub use room::{TooMany, check};

/// How many services there are ([`services`]).
pub const SERVICES: usize = services::COUNT as usize;
/// How many classes the maps have room for; class 0 is that of the services which no rule names.
pub const CLASSES: usize = maps::CLASSES as usize;
/// How many sets the maps have room for.
pub const SETS: usize = maps::SETS as usize;

/// What the filter's maps hold of the policy. Sets are named by their indices in `sets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub mode: Mode,
    /// Whether strangers may ping us.
    pub echo: bool,
    /// Whether members are let in by `roles`, `hosts` and `others` alone: this host is named by a
    /// rule's `to`. Otherwise all of them are, to everything, and these three say nothing.
    pub restricted: bool,
    /// The class of each service, less than [`CLASSES`]; those that are in the same sets share one.
    pub classes: Vec<u16>,
    /// All different, at most [`SETS`]; the first is what is open to anyone.
    pub sets: Vec<ServiceSet>,
    /// What the sources in a prefix may reach. The longest prefix that holds a source answers alone:
    /// what the ones around it may reach is merged in.
    pub allow: BTreeMap<IpNet, u32>,
    /// What members of a role may reach, by its number ([`numbers::of_role`]).
    pub roles: BTreeMap<u32, u32>,
    /// What members that rules name by their ids may reach, by their numbers ([`numbers::of_host`]).
    /// What their roles may reach comes on top.
    pub hosts: BTreeMap<u32, u32>,
    /// What members may reach whose role no rule names.
    pub others: u32,
}

/// A set of classes: bit `n % 64`, counted from the least significant, of word `n / 64` is class `n`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceSet(pub [u64; CLASSES / 64]);

impl ServiceSet {
    const EMPTY: Self = Self([0; CLASSES / 64]);

    pub fn has(&self, class: u16) -> bool {
        let class = usize::from(class);
        self.0.get(class / 64).is_some_and(|word| word >> (class % 64) & 1 != 0)
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }
}

/// What the maps of host `id`, whose role this is, must hold. [`check`] has found that there is room for
/// all of it; were there not, what has none would be let in by no rule.
pub fn compile(fleet: &FleetSettings, id: &HostId, role: &str) -> Rules {
    let mut draft = Draft::new(&fleet.policy, Some(id), role);
    draft.sets.truncate(SETS);
    let classes = Classes::of(&draft.sets);
    let set = |services: &Rc<Services>| {
        let mut set = ServiceSet::EMPTY;
        for class in classes.within(services).filter(|class| *class < CLASSES) {
            set.0[class / 64] |= 1 << (class % 64);
        }
        set
    };
    let overrides = || fleet.policy.overrides(Some(id), role);
    Rules {
        mode: fleet.mode_of(id, role),
        echo: overrides().filter_map(|own| own.echo).last().unwrap_or(fleet.echo),
        restricted: draft.restricted,
        classes: classes.by_service(),
        sets: draft.sets.iter().map(set).collect(),
        allow: draft.allow.into_iter().collect(),
        roles: draft.roles,
        hosts: draft.hosts,
        others: draft.others,
    }
}

/// [`Rules`] before services have classes.
struct Draft {
    sets: Vec<Rc<Services>>,
    restricted: bool,
    allow: Vec<(IpNet, u32)>,
    roles: BTreeMap<u32, u32>,
    hosts: BTreeMap<u32, u32>,
    others: u32,
}

impl Draft {
    /// Of a host that has this role and, if it has something to itself, this id.
    fn new(policy: &Policy, id: Option<&HostId>, role: &str) -> Self {
        let mut sets = Sets::default();
        let overrides = || policy.overrides(id, role);
        let open = policy.open.iter().chain(overrides().flat_map(|own| &own.open));
        let open = sets.index(Services::new(open.map(OpenPort::services)));
        let rules = policy.allow.iter().chain(overrides().flat_map(|own| &own.allow));
        let allow = sources::named(rules, &mut sets);
        let allow = sources::merged(allow, &mut sets);
        let Peers { restricted, roles, hosts, others } = Peers::new(policy, id, role, &mut sets);
        // Nobody asks for it, and it need not have a set of its own.
        let others = if restricted { others } else { open };
        let mut draft = Self { sets: Vec::new(), restricted, allow, roles, hosts, others };
        draft.keep(open, &sets);
        draft
    }

    /// Takes over the sets that are in use, `open` first, and renames them everywhere.
    fn keep(&mut self, open: u32, sets: &Sets) {
        let mut kept = vec![None; sets.len()];
        let mut keep = |set: &mut u32| {
            let next = self.sets.len() as u32;
            *set = *kept[*set as usize].get_or_insert_with(|| {
                self.sets.push(sets.get(*set));
                next
            });
        };
        keep(&mut { open });
        self.allow.iter_mut().for_each(|(_, set)| keep(set));
        self.roles.values_mut().chain(self.hosts.values_mut()).for_each(&mut keep);
        keep(&mut self.others);
    }
}

/// What rules say of members, with indices into [`Sets`].
struct Peers {
    restricted: bool,
    roles: BTreeMap<u32, u32>,
    hosts: BTreeMap<u32, u32>,
    others: u32,
}

impl Peers {
    fn new(policy: &Policy, id: Option<&HostId>, role: &str, sets: &mut Sets) -> Self {
        let nothing = sets.index(Services::default());
        let mut members = Self {
            restricted: false,
            roles: BTreeMap::new(),
            hosts: BTreeMap::new(),
            others: nothing,
        };
        for rule in policy.rules_to(id, role) {
            members.restricted = true;
            let services = sets.index(rule.services.clone());
            let set = match &rule.from {
                Who::Any => &mut members.others,
                Who::Role(role) => members.roles.entry(numbers::of_role(role)).or_insert(nothing),
                Who::Host(host) => members.hosts.entry(numbers::of_host(host)).or_insert(nothing),
            };
            *set = sets.union(*set, services);
        }
        // What any member may reach, those may too which rules name.
        let others = members.others;
        for set in members.roles.values_mut().chain(members.hosts.values_mut()) {
            *set = sets.union(*set, others);
        }
        members
    }
}

impl Rules {
    /// Whether a member may reach a service of this host by the rules about members.
    pub fn admits_member(&self, id: &HostId, role: &str, service: u32) -> bool {
        let class = self.classes[service as usize];
        !self.restricted || self.of_member(id, role).any(|set| set.has(class))
    }

    /// Whether there is any service that a member may reach by them.
    pub fn knows_member(&self, id: &HostId, role: &str) -> bool {
        !self.restricted || self.of_member(id, role).any(|set| !set.is_empty())
    }

    /// Whether whoever sends from `source` may reach a service of this host.
    pub fn admits_source(&self, source: IpAddr, service: u32) -> bool {
        let class = self.classes[service as usize];
        self.of_source(source).any(|set| set.has(class))
    }

    /// Whether there is any service that whoever sends from `source` may reach.
    pub fn knows_source(&self, source: IpAddr) -> bool {
        self.of_source(source).any(|set| !set.is_empty())
    }

    fn of_member(&self, id: &HostId, role: &str) -> impl Iterator<Item = &ServiceSet> {
        let of_role = self.roles.get(&numbers::of_role(role)).unwrap_or(&self.others);
        let of_host = self.hosts.get(&numbers::of_host(id));
        of_host.into_iter().chain([of_role]).filter_map(|set| self.sets.get(*set as usize))
    }

    fn of_source(&self, source: IpAddr) -> impl Iterator<Item = &ServiceSet> {
        let longest = sources::longest(&self.allow, IpNet::from(source));
        longest.into_iter().chain([&0]).filter_map(|set| self.sets.get(*set as usize))
    }
}

#[cfg(test)]
mod tests;
