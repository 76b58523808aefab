//! The address families. Whatever differs between IPv4 and IPv6 is said here and nowhere else; the rest of the crate
//! is generic over [`Family`].

use core::{fmt::Debug, hash::Hash};

/// An address family: the type of its addresses and where its header keeps them.
pub trait Family: Copy + Clone + Debug + PartialEq + Eq + 'static {
    /// An address as it stands on the wire (network byte order).
    type Addr: Copy + Clone + Debug + Default + Eq + Hash + Ord + Send + Sync + 'static;

    /// The EtherType of its packets.
    const ETHERTYPE: u16;
    /// The unspecified address, which is never a member's.
    const UNSPECIFIED: Self::Addr;
    /// All bits set: as a prefix's address under an empty mask it matches nothing.
    const ALL_ONES: Self::Addr;
    /// Length of an address in bits.
    const BITS: u32;

    /// `address & mask == network`, for a [`crate::maps::Prefix`].
    fn within(address: &Self::Addr, network: &Self::Addr, mask: &Self::Addr) -> bool;
    /// The mask of a prefix of `length` bits; `length` must not exceed [`Self::BITS`].
    fn mask(length: u32) -> Self::Addr;
}

/// IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct V4;

impl Family for V4 {
    type Addr = [u8; 4];

    const ETHERTYPE: u16 = 0x0800;
    const UNSPECIFIED: Self::Addr = [0; 4];
    const ALL_ONES: Self::Addr = [0xff; 4];
    const BITS: u32 = 32;

    #[inline(always)]
    fn within(address: &Self::Addr, network: &Self::Addr, mask: &Self::Addr) -> bool {
        u32::from_ne_bytes(*address) & u32::from_ne_bytes(*mask) == u32::from_ne_bytes(*network)
    }

    fn mask(length: u32) -> Self::Addr {
        u32::MAX.checked_shl(Self::BITS - length).unwrap_or(0).to_be_bytes()
    }
}
