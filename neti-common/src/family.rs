//! The address families. Whatever differs between IPv4 and IPv6 is said here and in the family's own file, and nowhere
//! else; the rest of the crate is generic over [`Family`].

use core::{fmt::Debug, hash::Hash, net::IpAddr};

use crate::{
    headers::{Header, Ip},
    maps::name::FamilyMaps,
    packet::{Packet, Plain},
    verdict::Reason,
};

mod v4;
mod v6;

pub use v4::V4;
pub use v6::V6;

/// An address family: the type of its addresses, where its header keeps them, its ICMP and its link-local protocols.
pub trait Family: Copy + Clone + Debug + Eq + Hash + Ord + Send + Sync + 'static {
    /// An address as it stands on the wire (network byte order).
    type Addr: Plain + Debug + Default + Eq + Hash + Ord + Send + Sync + 'static;

    /// What people call it.
    const NAME: &'static str;
    /// The maps that hold its addresses.
    const MAPS: FamilyMaps;
    /// The EtherType of its packets.
    const ETHERTYPE: u16;
    /// The EtherType of its address resolution, where that is no part of its ICMP.
    const RESOLUTION: Option<u16>;
    /// The unspecified address, which is never a member's.
    const UNSPECIFIED: Self::Addr;
    /// All bits set: as a prefix's address under an empty mask it matches nothing.
    const ALL_ONES: Self::Addr;
    /// Length of an address in bits.
    const BITS: u32;

    /// Length of the header without options or extension headers.
    const HEADER: usize;
    /// The longest header that [`Self::parse`] reads, options or extension headers included.
    const MAX_HEADER: usize;
    /// Offset of the source address in the header.
    const SRC: usize;
    /// Offset of the destination address in the header.
    const DST: usize;
    /// Offset of the header's checksum, where it has one.
    const L3_CHECKSUM: Option<usize>;
    /// Whether two datagrams of different protocols may have one identification (RFC 791 3.2; not so in RFC 8200 4.5).
    const ID_PER_PROTOCOL: bool;

    /// Protocol number of its ICMP.
    const ICMP: u8;
    const ECHO_REQUEST: u8;
    const ECHO_REPLY: u8;
    /// Whether its ICMP checksum covers the addresses (RFC 4443 2.3; RFC 792 does not).
    const ICMP_PSEUDO_HEADER: bool;

    /// Whether an ICMP message of this type quotes the packet it is about.
    fn is_icmp_error(kind: u8) -> bool;
    /// What an ICMP message is that hosts of one link need to find each other and that no router forwards.
    fn link_message<P: Packet>(packet: &P, ip: &Ip<Self>, kind: u8) -> Option<LinkMessage>;
    /// Whether a UDP packet is a DHCP server's answer.
    fn is_dhcp(src: &Self::Addr, sport: u16, dport: u16) -> bool;
    /// Whether clouds serve an instance's metadata at this address.
    fn is_metadata(address: &Self::Addr) -> bool;

    /// `address & mask == network`, for a [`crate::maps::Prefix`].
    fn within(address: &Self::Addr, network: &Self::Addr, mask: &Self::Addr) -> bool;
    /// The unspecified address if `blank`, else this one; by arithmetic, which costs the verifier nothing.
    fn blank_if(address: &Self::Addr, blank: bool) -> Self::Addr;
    /// The mask of a prefix of `length` bits; `length` must not exceed [`Self::BITS`].
    fn mask(length: u32) -> Self::Addr;
    /// The network of `length` bits that an address is in; `length` must not exceed [`Self::BITS`].
    fn network(address: &Self::Addr, length: u32) -> Self::Addr;
    /// The one's-complement difference `new - old`, as [`crate::checksum`] takes it.
    fn difference(old: &Self::Addr, new: &Self::Addr) -> u32;
    /// A hash of which the upper bits count.
    fn scatter(address: &Self::Addr) -> u64;
    /// The address as std has it.
    fn to_ip(address: &Self::Addr) -> IpAddr;
    /// The address, if it is of this family. A v4-mapped IPv6 address is IPv6.
    fn of(address: IpAddr) -> Option<Self::Addr>;

    /// Reads the header at offset `l3`. The error says what is wrong with it: it contradicts itself, is cut short, or has
    /// more in front of the transport than anybody needs. A packet quoted in an ICMP error may be cut short (`quoted`).
    fn parse<P: Packet>(packet: &mut P, l3: usize, quoted: bool) -> Result<Header, Reason>;
    /// Whether `found` says yes to an address among the options or extension headers between the header at `l3` and the
    /// transport at `l4`, where nodes on the way would read or write one.
    fn any_option<P: Packet>(
        packet: &P,
        l3: usize,
        l4: usize,
        found: impl Fn(&Self::Addr) -> bool,
    ) -> bool;
}

/// A message of a link's own protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkMessage {
    /// Neighbour discovery that names no address.
    Discovery,
    /// Neighbour discovery about this many addresses, one after another behind the ICMP header's eight bytes.
    About(usize),
    /// Who listens to which group.
    Listener,
}
