//! What the kernel programs and the daemon share: the layout of the maps and all packet logic.
//!
//! Nothing here does I/O: a packet is a [`packet::Packet`], the kernel's tables are a [`tables::Tables`], so that the
//! code that runs in the kernel is tested as ordinary Rust.
#![cfg_attr(not(any(test, feature = "user")), no_std)]

pub mod family;
pub mod maps;
pub mod verdict;
