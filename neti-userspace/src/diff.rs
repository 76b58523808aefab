//! What must be done to maps that hold one state so that they hold another.

use std::collections::BTreeMap;

use neti_common::{
    family::{Family, V4},
    maps::{Allow, Member, Path, Settings},
};

use crate::state::{AllowKey, MapState};

/// Changes to the maps. A store applies the fields in the order in which they stand here.
///
/// A translation is there before the member is let in, and stays until the member is no longer:
/// what is let in can always be answered. The settings change between the two, so that `enforce`
/// begins when all are known whom it must let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes<F: Family = V4> {
    /// Key: [`Path::overlay`].
    pub put_overlays: Vec<Path<F>>,
    /// Key: [`Member::real`].
    pub put_members: Vec<Member<F>>,
    pub put_allow: Vec<(AllowKey<F>, Allow)>,
    /// Index and value of words of the map of open ports.
    pub open_ports: Vec<(u32, u64)>,
    /// Index and value of words of the map of VLANs.
    pub vlans: Vec<(u32, u64)>,
    pub settings: Option<Settings<F>>,
    pub remove_allow: Vec<AllowKey<F>>,
    pub remove_members: Vec<F::Addr>,
    pub remove_overlays: Vec<F::Addr>,
}

impl<F: Family> Changes<F> {
    pub fn is_empty(&self) -> bool {
        self.put_overlays.is_empty()
            && self.put_members.is_empty()
            && self.put_allow.is_empty()
            && self.open_ports.is_empty()
            && self.vlans.is_empty()
            && self.settings.is_none()
            && self.remove_allow.is_empty()
            && self.remove_members.is_empty()
            && self.remove_overlays.is_empty()
    }
}

/// What turns `have` into `want`.
pub fn diff<F: Family>(have: &MapState<F>, want: &MapState<F>) -> Changes<F> {
    let (put_overlays, remove_overlays) = entries(&have.overlays, &want.overlays);
    let (put_members, remove_members) = entries(&have.members, &want.members);
    let (put_allow, remove_allow) = entries(&have.allow, &want.allow);
    Changes {
        put_overlays: put_overlays.into_iter().map(|(_, path)| path).collect(),
        put_members: put_members.into_iter().map(|(_, member)| member).collect(),
        put_allow,
        open_ports: words(have.open_ports.as_slice(), want.open_ports.as_slice()),
        vlans: words(&have.vlans, &want.vlans),
        settings: (have.settings != want.settings).then_some(want.settings),
        remove_allow,
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
