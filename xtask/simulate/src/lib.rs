//! A large fleet that exists in a registry alone, around one real host: what the simulation and a benchmark stand on.

pub mod arrival;
pub mod lab;
pub mod registry;
pub mod synthetic;
