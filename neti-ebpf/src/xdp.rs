//! The XDP hook's packet: `struct xdp_md`. Nothing is rewritten there.

use aya_ebpf::programs::XdpContext;
use neti_common::packet::{Packet, Plain};

use crate::bytes::Bytes;

pub struct XdpPacket {
    bytes: Bytes,
}

impl XdpPacket {
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        Self { bytes: Bytes { start: ctx.data(), end: ctx.data_end() } }
    }

    #[inline(always)]
    pub fn size(&self) -> u32 {
        (self.bytes.end - self.bytes.start) as u32
    }
}

impl Packet for XdpPacket {
    #[inline(always)]
    fn len(&self) -> usize {
        self.bytes.end - self.bytes.start
    }

    #[inline(always)]
    fn load<T: Plain>(&self, offset: usize) -> Option<T> {
        self.bytes.load(offset)
    }

    /// All that a driver hands to XDP is readable.
    #[inline(always)]
    fn pull(&mut self, _length: usize) {}

    /// A driver that strips tags hides them from XDP, which is why the loader does not attach it where there are VLANs.
    #[inline(always)]
    fn vlan_id(&self) -> Option<u16> {
        None
    }
}
