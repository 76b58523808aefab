//! Where a [`MapState`] is kept: the kernel's maps, or memory in tests. What every store must do
//! is written down in [`contract`].

use anyhow::Result;

use crate::{diff::Changes, state::MapState};

pub mod contract;
pub mod kernel;
pub mod memory;

pub trait Store {
    /// What the maps hold; [`MapState::empty`] where nobody has filled them.
    fn read(&mut self) -> Result<MapState>;

    /// Applies the changes in the order that [`Changes`] tells. To remove what is not there is no
    /// error. After an error the maps hold a part of the changes, as much as there is
    /// room for: read them again.
    fn apply(&mut self, changes: &Changes) -> Result<()>;
}
