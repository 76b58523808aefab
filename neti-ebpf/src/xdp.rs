//! The XDP hook's packet: `struct xdp_md`. Nothing is rewritten there.

use aya_ebpf::{bindings::xdp_md, helpers::bpf_xdp_get_buff_len, programs::XdpContext};
use neti_common::packet::{Packet, Plain};

use crate::bytes::{Bytes, opaque};

pub struct XdpPacket {
    ctx: *mut xdp_md,
    /// Of a frame in several buffers, the first one.
    bytes: Bytes,
}

impl XdpPacket {
    #[inline(always)]
    pub fn new(ctx: &XdpContext) -> Self {
        Self { ctx: ctx.ctx, bytes: Bytes { start: ctx.data(), end: ctx.data_end() } }
    }

    /// Bytes of the frame, or of its first buffer.
    #[inline(always)]
    pub fn readable(&self) -> u32 {
        (self.bytes.end - self.bytes.start) as u32
    }
}

impl Packet for XdpPacket {
    #[inline(always)]
    fn holds(&self, length: usize) -> bool {
        // SAFETY: the context is valid for the program's whole run.
        self.readable() as usize >= length
            || unsafe { bpf_xdp_get_buff_len(self.ctx) } as usize >= length
    }

    #[inline(always)]
    fn load<T: Plain>(&self, offset: usize) -> Option<T> {
        self.bytes.load(offset)
    }

    /// Drivers put all headers into the first buffer.
    #[inline(always)]
    fn pull(&mut self, _length: usize) {}

    #[inline(always)]
    fn opaque(&self, offset: usize) -> usize {
        opaque(offset, self.readable() as usize)
    }

    /// A driver that strips tags hides them from XDP, which is why the loader does not attach it where there are VLANs.
    #[inline(always)]
    fn vlan_id(&self) -> Option<u16> {
        None
    }
}
