//! What must be done to maps that hold one state so that they hold another.

use std::{collections::BTreeMap, sync::Arc};

use neti_common::{
    family::{Family, V4, V6},
    maps::{Member, Path, Settings},
};

use crate::state::{FamilyState, FilterState, MapState};

/// Changes to the maps. A store applies them in this order: of both families what is put, VLANs, what is
/// in force, of both families what is removed.
///
/// A translation is there before the member is let in, and stays until the member is no longer:
/// what is let in can always be answered. The settings change between the two, so that `enforce`
/// begins when all are known whom it must let in. Only where there is no room for both, what is removed
/// goes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    pub v4: FamilyChanges<V4>,
    pub v6: FamilyChanges<V6>,
    /// Index and value of words of the map of VLANs.
    pub vlans: Vec<(u32, u64)>,
    /// Changes as one.
    pub in_force: Option<InForce>,
}

/// What the programs obey: settings and rules. A packet meets all of one and nothing of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    pub v4: Settings<V4>,
    pub v6: Settings<V6>,
    pub filter: Arc<FilterState>,
}

/// Changes to the maps of one family. A store applies the fields in the order in which they stand
/// here, and others between what is put and what is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyChanges<F: Family> {
    /// Key: [`Path::overlay`].
    pub put_overlays: Vec<Path<F>>,
    /// Key: [`Member::real`].
    pub put_members: Vec<Member<F>>,
    pub remove_members: Vec<F::Addr>,
    pub remove_overlays: Vec<F::Addr>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty() && self.vlans.is_empty() && self.in_force.is_none()
    }
}

impl<F: Family> FamilyChanges<F> {
    pub fn is_empty(&self) -> bool {
        self.put_overlays.is_empty()
            && self.put_members.is_empty()
            && self.remove_members.is_empty()
            && self.remove_overlays.is_empty()
    }
}

/// What turns `have` into `want`.
pub fn diff(have: &MapState, want: &MapState) -> Changes {
    let in_force = have.v4.settings == want.v4.settings
        && have.v6.settings == want.v6.settings
        && (Arc::ptr_eq(&have.filter, &want.filter) || have.filter == want.filter);
    let wanted = || {
        let (v4, v6) = (want.v4.settings, want.v6.settings);
        InForce { v4, v6, filter: want.filter.clone() }
    };
    Changes {
        v4: family(&have.v4, &want.v4),
        v6: family(&have.v6, &want.v6),
        vlans: words(&have.vlans, &want.vlans),
        in_force: (!in_force).then(wanted),
    }
}

fn family<F: Family>(have: &FamilyState<F>, want: &FamilyState<F>) -> FamilyChanges<F> {
    let (put_overlays, remove_overlays) = entries(&have.overlays, &want.overlays);
    let (put_members, remove_members) = entries(&have.members, &want.members);
    FamilyChanges {
        put_overlays: put_overlays.into_iter().map(|(_, path)| path).collect(),
        put_members: put_members.into_iter().map(|(_, member)| member).collect(),
        remove_members,
        remove_overlays,
    }
}

/// The entries to put and the keys to remove.
fn entries<K: Ord + Copy, V: Eq + Copy>(
    have: &BTreeMap<K, V>,
    want: &BTreeMap<K, V>,
) -> (Vec<(K, V)>, Vec<K>) {
    let put = want.iter().filter(|(key, value)| have.get(key) != Some(value));
    let remove = have.keys().filter(|key| !want.contains_key(key));
    (put.map(|(key, value)| (*key, *value)).collect(), remove.copied().collect())
}

fn words(have: &[u64], want: &[u64]) -> Vec<(u32, u64)> {
    let pairs = have.iter().zip(want).zip(0..);
    pairs.filter(|((have, want), _)| have != want).map(|((_, want), at)| (at, *want)).collect()
}

#[cfg(test)]
mod tests;
