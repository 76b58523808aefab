//! What the kernel programs and the daemon share: the layout of the maps and all packet logic.
//!
//! Nothing here does I/O: a packet is a [`packet::Packet`], the kernel's tables are a [`tables::Tables`], so that the
//! code that runs in the kernel is tested as ordinary Rust.
#![cfg_attr(not(any(test, feature = "user")), no_std)]

pub mod checksum;
pub mod demux;
pub mod drops;
pub mod egress;
pub mod family;
pub mod filter;
pub mod fragments;
pub mod guard;
pub mod headers;
pub mod hints;
pub mod icmp;
pub mod ingress;
pub mod maps;
#[cfg(any(test, feature = "user"))]
pub mod model;
pub mod packet;
pub mod rewrite;
#[cfg(any(test, feature = "user"))]
pub mod ropes;
pub mod rules;
pub mod tables;
pub mod twins;
pub mod verdict;

#[cfg(test)]
mod tests;
