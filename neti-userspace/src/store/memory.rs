//! A [`Store`] without a kernel, for tests.

use anyhow::Result;

use super::Store;
use crate::{diff::Changes, state::MapState};

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
        let state = &mut self.state;
        state.overlays.extend(changes.put_overlays.iter().map(|path| (path.overlay, *path)));
        state.members.extend(changes.put_members.iter().map(|member| (member.real, *member)));
        state.allow.extend(changes.put_allow.iter().copied());
        for &(word, bits) in &changes.open_ports {
            state.open_ports[word as usize] = bits;
        }
        for &(word, bits) in &changes.vlans {
            state.vlans[word as usize] = bits;
        }
        if let Some(settings) = changes.settings {
            state.settings = settings;
        }
        for key in &changes.remove_allow {
            state.allow.remove(key);
        }
        for key in &changes.remove_members {
            state.members.remove(key);
        }
        for key in &changes.remove_overlays {
            state.overlays.remove(key);
        }
        Ok(())
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
