//! The demo's steps, one module each: they do something, verify what came of it, and print it.

pub mod death;
pub mod meeting;
pub mod restraint;
pub mod stranger;
pub mod talk;
