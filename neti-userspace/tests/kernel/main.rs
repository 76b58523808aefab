//! The daemon's kernel side on the running kernel: maps, programs, routes.
#![allow(clippy::unwrap_used, reason = "a test panics")]

mod dataplane;
mod interfaces;
mod mixed;
mod names;
mod network;
mod reverse;
mod room;
mod size;
mod store;
mod support;
mod twins;
