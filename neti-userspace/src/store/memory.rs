//! A [`Store`] without a kernel, for tests.

use anyhow::Result;
use neti_common::family::Family;

use super::Store;
use crate::{
    diff::{Changes, FamilyChanges, InForce},
    state::{FamilyState, MapState},
};

/// Holds the state that it was told to.
pub struct MemoryStore {
    pub state: MapState,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self { state: MapState::empty() }
    }
}

impl Store for MemoryStore {
    fn read(&mut self) -> Result<MapState> {
        Ok(self.state.clone())
    }

    fn apply(&mut self, changes: &Changes) -> Result<()> {
        let Changes { v4, v6, vlans, in_force } = changes;
        let state = &mut self.state;
        put(&mut state.v4, v4);
        put(&mut state.v6, v6);
        for &(word, bits) in vlans {
            state.vlans[word as usize] = bits;
        }
        if let Some(InForce { v4, v6, filter }) = in_force {
            (state.v4.settings, state.v6.settings) = (*v4, *v6);
            state.filter = filter.clone();
        }
        remove(&mut state.v4, v4);
        remove(&mut state.v6, v6);
        Ok(())
    }
}

fn put<F: Family>(state: &mut FamilyState<F>, changes: &FamilyChanges<F>) {
    state.overlays.extend(changes.put_overlays.iter().map(|path| (path.overlay, *path)));
    state.members.extend(changes.put_members.iter().map(|member| (member.real, *member)));
}

fn remove<F: Family>(state: &mut FamilyState<F>, changes: &FamilyChanges<F>) {
    for key in &changes.remove_members {
        state.members.remove(key);
    }
    for key in &changes.remove_overlays {
        state.overlays.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::contract;

    #[test]
    fn keeps_the_contract() {
        contract::check(&mut MemoryStore::default()).unwrap();
    }
}
