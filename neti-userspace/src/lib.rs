//! The neti daemon and command.

pub mod addresses;
pub mod cli;
pub mod command;
pub mod config;
pub mod diff;
pub mod fleet;
pub mod guard;
pub mod keys;
pub mod loader;
pub mod membership;
pub mod notrack;
pub mod output;
pub mod registry;
pub mod saved;
pub mod shutdown;
pub mod state;
pub mod status;
pub mod store;
pub mod sync;
pub mod tracked;
pub mod twins;
pub mod uplink;
pub mod view;
