//! Which of several members has an address that they claim.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::problem;
use crate::membership::{HostId, MemberRecord, Problem};

/// Who has which address.
pub struct Claims<'a> {
    kind: &'static str,
    /// Addresses that more than one claims: hardly any, where a look into a map of all would cost most of a view.
    contested: BTreeSet<IpAddr>,
    /// Of these.
    owners: BTreeMap<IpAddr, &'a HostId>,
}

impl<'a> Claims<'a> {
    /// Our `own` addresses are ours. Others may claim those that are `claimed`, and no others.
    pub fn new(
        kind: &'static str,
        me: &'a HostId,
        own: impl Iterator<Item = IpAddr>,
        claimed: impl Iterator<Item = IpAddr>,
    ) -> Self {
        let owners: BTreeMap<IpAddr, &HostId> = own.map(|address| (address, me)).collect();
        let mut claimed: Vec<IpAddr> = claimed.chain(owners.keys().copied()).collect();
        claimed.sort_unstable();
        let twice = claimed.array_windows().filter(|[one, other]| one == other);
        Self { kind, contested: twice.map(|[one, _]| *one).collect(), owners }
    }

    /// Gives `member` those of `addresses` that nobody has.
    pub fn grant(
        &mut self,
        member: &'a MemberRecord,
        mut addresses: Vec<IpAddr>,
        problems: &mut BTreeSet<Problem>,
    ) -> Vec<IpAddr> {
        addresses.retain(|&address| {
            if !self.contested.contains(&address) {
                return true;
            }
            let owner = *self.owners.entry(address).or_insert(&member.id);
            if owner != &member.id {
                let kind = self.kind;
                problems.insert(problem(
                    member,
                    format!("{kind} address {address} belongs to {owner}; refused"),
                ));
            }
            owner == &member.id
        });
        addresses
    }
}
