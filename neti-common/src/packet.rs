//! Packets as the datapath sees them: a [`Packet`] to read, an [`Skb`] to rewrite, one that was [`Received`] through
//! whatever interface, and [`Frame`], all of them over a plain slice, for tests.

use network_types::{eth::EthHdr, ip::Ipv4Hdr};

use crate::{checksum, family::Family, maps::Flow};

/// Types that are nothing but bytes.
///
/// # Safety
///
/// Every bit pattern is valid and there is no padding.
pub unsafe trait Plain: Copy {}

// SAFETY: integers and byte arrays.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl<const N: usize> Plain for [u8; N] {}
// SAFETY: repr(C), bytes and byte arrays only.
unsafe impl Plain for Ipv4Hdr {}

/// A frame from its link-layer header on. Offsets count from there.
pub trait Packet {
    /// Whether the whole frame, readable or not, has at least `length` bytes.
    fn holds(&self, length: usize) -> bool;

    /// Reads `T` at `offset`; `None` past the readable part.
    fn load<T: Plain>(&self, offset: usize) -> Option<T>;

    /// Makes the first `length` bytes readable, as far as the frame has them.
    fn pull(&mut self, length: usize);

    /// The same offset, of which the verifier no longer knows by which of several ways it came about: it would follow the
    /// rest of the program once for each.
    fn opaque(&self, offset: usize) -> usize {
        offset
    }

    /// The id of a VLAN tag that was taken out of the frame before us (`skb->vlan_tci`).
    fn vlan_id(&self) -> Option<u16>;
}

/// A packet as an interface of any kind hands it to the stack: a tunnel's have no link-layer header, others one of their
/// own. What the stack goes by is what such a header said, and what followed it.
pub trait Received {
    /// EtherType of what follows the link-layer header, in native order.
    fn ethertype(&self) -> u16;

    /// Whether a VLAN tag was taken out of the frame before us.
    fn was_tagged(&self) -> bool;

    /// Reads `T` at `offset` from the end of the link-layer header; `None` past the packet's end.
    fn load_inner<T: Plain>(&self, offset: usize) -> Option<T>;
}

/// What a checksum covers beside its own payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covers {
    /// The changed bytes count through the pseudo-header (addresses), as in TCP.
    PseudoHeader,
    /// As in UDP: through the pseudo-header, where a checksum of zero means none (RFC 768, RFC 6935).
    OptionalPseudoHeader,
    /// The changed bytes lie in the payload (ports).
    Payload,
    /// The changed bytes lie in the payload, where a checksum of zero means none.
    OptionalPayload,
}

impl Covers {
    /// Whether a checksum of zero means none.
    #[inline(always)]
    pub fn is_optional(self) -> bool {
        matches!(self, Self::OptionalPseudoHeader | Self::OptionalPayload)
    }
}

/// What a packet that leaves is to the socket that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Owner {
    /// It has no socket, or one that is not connected or speaks another protocol, as that of what is inside a tunnel may.
    None,
    /// Its socket is connected under the packet's names: replies find back by themselves.
    Connected,
    /// Its socket is connected under other names: netfilter leads the flow elsewhere, as to what is behind a service
    /// address. Or, over UDP, it is the socket of what is inside a tunnel.
    Translated,
}

/// A packet that can be rewritten, as the tc hooks have it.
pub trait Skb: Packet {
    /// Writes `value` at `offset`.
    fn store<T: Plain>(&mut self, offset: usize, value: &T) -> Option<()>;

    /// Applies `difference` to the transport checksum at `offset`, whether or not the checksum is complete already: a
    /// sender with checksum offload has only filled in the pseudo-header.
    fn update_l4<F: Family>(
        &mut self,
        offset: usize,
        difference: u32,
        covers: Covers,
    ) -> Option<()>;

    /// Notes that bytes changed by `difference` that no checksum of the packet covers, for a card that has summed up the
    /// whole packet.
    fn update_sum(&mut self, difference: u32);

    /// Whether the packet came in through another interface (`skb->ingress_ifindex`); one without a socket need not
    /// have: SYN cookies have none.
    fn is_forwarded(&self) -> bool;

    /// What the packet, of this flow, is to the socket that sent it.
    fn owner<F: Family>(&self, flow: &Flow<F>) -> Owner;
}

/// A frame in a slice, with what a kernel would know of it besides.
#[derive(Debug)]
pub struct Frame<'a> {
    pub bytes: &'a mut [u8],
    pub vlan_id: Option<u16>,
    pub forwarded: bool,
    pub owner: Owner,
}

impl<'a> Frame<'a> {
    pub fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, vlan_id: None, forwarded: false, owner: Owner::None }
    }
}

impl Packet for Frame<'_> {
    fn holds(&self, length: usize) -> bool {
        self.bytes.len() >= length
    }

    fn load<T: Plain>(&self, offset: usize) -> Option<T> {
        let bytes = self.bytes.get(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: `bytes` has the size of `T`, and `Plain` says that any bytes make one.
        Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
    }

    fn pull(&mut self, _length: usize) {}

    fn vlan_id(&self) -> Option<u16> {
        self.vlan_id
    }
}

impl Received for Frame<'_> {
    fn ethertype(&self) -> u16 {
        self.load(EthHdr::LEN - 2).map(u16::from_be_bytes).unwrap_or_default()
    }

    fn was_tagged(&self) -> bool {
        self.vlan_id.is_some()
    }

    fn load_inner<T: Plain>(&self, offset: usize) -> Option<T> {
        self.load(EthHdr::LEN + offset)
    }
}

impl Skb for Frame<'_> {
    fn store<T: Plain>(&mut self, offset: usize, value: &T) -> Option<()> {
        let bytes = self.bytes.get_mut(offset..offset.checked_add(size_of::<T>())?)?;
        // SAFETY: `bytes` has the size of `T`, which has no padding.
        unsafe { bytes.as_mut_ptr().cast::<T>().write_unaligned(*value) };
        Some(())
    }

    fn update_l4<F: Family>(
        &mut self,
        offset: usize,
        difference: u32,
        covers: Covers,
    ) -> Option<()> {
        let old: [u8; 2] = self.load(offset)?;
        if covers.is_optional() && old == [0, 0] {
            return Some(());
        }
        let new = match checksum::apply(old, difference) {
            [0, 0] if covers.is_optional() => [0xff, 0xff],
            new => new,
        };
        self.store(offset, &new)
    }

    fn update_sum(&mut self, _difference: u32) {}

    fn is_forwarded(&self) -> bool {
        self.forwarded
    }

    fn owner<F: Family>(&self, _: &Flow<F>) -> Owner {
        self.owner
    }
}
