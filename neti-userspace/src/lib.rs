//! The neti daemon and command.

pub mod config;
pub mod diff;
pub mod fleet;
pub mod keys;
pub mod membership;
pub mod registry;
pub mod state;
pub mod store;
pub mod sync;
pub mod view;
