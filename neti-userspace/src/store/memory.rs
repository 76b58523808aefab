//! A [`Store`] without a kernel, for tests.

use anyhow::Result;
use neti_common::family::Family;

use super::Store;
use crate::{
    diff::{Changes, FamilyChanges},
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
        let Changes { v4, v6, open_ports, vlans, settings } = changes;
        let state = &mut self.state;
        put(&mut state.v4, v4);
        put(&mut state.v6, v6);
        for &(word, bits) in open_ports {
            state.open_ports[word as usize] = bits;
        }
        for &(word, bits) in vlans {
            state.vlans[word as usize] = bits;
        }
        if let Some(settings) = settings {
            (state.v4.settings, state.v6.settings) = *settings;
        }
        remove(&mut state.v4, v4);
        remove(&mut state.v6, v6);
        Ok(())
    }
}

fn put<F: Family>(state: &mut FamilyState<F>, changes: &FamilyChanges<F>) {
    state.overlays.extend(changes.put_overlays.iter().map(|path| (path.overlay, *path)));
    state.members.extend(changes.put_members.iter().map(|member| (member.real, *member)));
    state.allow.extend(changes.put_allow.iter().copied());
}

fn remove<F: Family>(state: &mut FamilyState<F>, changes: &FamilyChanges<F>) {
    for key in &changes.remove_allow {
        state.allow.remove(key);
    }
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
