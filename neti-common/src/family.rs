//! The address families. Whatever differs between IPv4 and IPv6 is said here and in the family's own file, and nowhere
//! else; the rest of the crate is generic over [`Family`].

use core::{fmt::Debug, hash::Hash};

use crate::{
    headers::Ip,
    packet::{Packet, Plain},
};

mod v4;

pub use v4::V4;

/// An address family: the type of its addresses, where its header keeps them, and its ICMP.
pub trait Family: Copy + Clone + Debug + Eq + Hash + Ord + Send + Sync + 'static {
    /// An address as it stands on the wire (network byte order).
    type Addr: Plain + Debug + Default + Eq + Hash + Ord + Send + Sync + 'static;

    /// The EtherType of its packets.
    const ETHERTYPE: u16;
    /// The unspecified address, which is never a member's.
    const UNSPECIFIED: Self::Addr;
    /// All bits set: as a prefix's address under an empty mask it matches nothing.
    const ALL_ONES: Self::Addr;
    /// Length of an address in bits.
    const BITS: u32;
    /// Where clouds serve an instance's metadata.
    const METADATA: Self::Addr;

    /// Offset of the source address in the header.
    const SRC: usize;
    /// Offset of the destination address in the header.
    const DST: usize;
    /// Offset of the header's checksum, where it has one.
    const L3_CHECKSUM: Option<usize>;

    /// Protocol number of its ICMP.
    const ICMP: u8;
    const ECHO_REQUEST: u8;
    const ECHO_REPLY: u8;
    /// Whether its ICMP checksum covers the addresses (RFC 4443 2.3; RFC 792 does not).
    const ICMP_PSEUDO_HEADER: bool;
    /// Whether an ICMP message of this type quotes the packet it is about.
    fn is_icmp_error(kind: u8) -> bool;

    /// `address & mask == network`, for a [`crate::maps::Prefix`].
    fn within(address: &Self::Addr, network: &Self::Addr, mask: &Self::Addr) -> bool;
    /// The mask of a prefix of `length` bits; `length` must not exceed [`Self::BITS`].
    fn mask(length: u32) -> Self::Addr;
    /// The one's-complement difference `new - old`, as [`crate::checksum`] takes it.
    fn difference(old: &Self::Addr, new: &Self::Addr) -> u32;

    /// Reads the header at offset `l3`; `None` where it contradicts itself or is cut short. A packet quoted in an ICMP
    /// error may be cut short (`quoted`).
    fn parse<P: Packet>(packet: &P, l3: usize, quoted: bool) -> Option<Ip<Self>>;
    /// Whether `found` says yes to an address among the header's options, wherever it might stand.
    fn any_option<P: Packet>(
        packet: &P,
        ip: &Ip<Self>,
        found: impl Fn(&Self::Addr) -> bool,
    ) -> bool;
}
