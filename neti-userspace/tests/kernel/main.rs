//! The daemon's kernel side on the running kernel: maps, programs, routes.

mod dataplane;
mod store;
mod support;
