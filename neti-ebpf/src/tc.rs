//! The tc hooks' packet: `struct __sk_buff`.

use core::mem::{MaybeUninit, transmute_copy};

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, bpf_hdr_start_off::BPF_HDR_START_NET,
    },
    helpers::{
        bpf_csum_update, bpf_l4_csum_replace, bpf_sk_fullsock, bpf_skb_load_bytes_relative,
        bpf_skb_pull_data,
    },
    programs::TcContext,
};
use neti_common::{
    family::Family,
    maps::Flow,
    packet::{Covers, Owner, Packet, Plain, Received, Skb},
};

use crate::bytes::{Bytes, opaque};

/// The upper half of `skb->mark` on a packet that passes a hook for the second time: "nt".
const MARK: u32 = 0x6e74;
/// In `bpf_l4_csum_replace`'s flags: the header that changed has no checksum of its own, so that this one alone makes up for
/// it (`inet_proto_csum_replace_by_diff`).
const BPF_F_IPV6: u64 = 1 << 7;
/// What `pull` makes readable once it has to copy at all: every header that we read, and those that an ICMP error quotes,
/// in IPv6 with all extension headers that we look behind.
const PULL: u32 = 400;

pub struct TcPacket {
    skb: *mut __sk_buff,
}

impl TcPacket {
    #[inline(always)]
    pub fn new(ctx: &TcContext) -> Self {
        Self { skb: ctx.skb.skb }
    }

    #[inline(always)]
    fn bytes(&self) -> Bytes {
        // SAFETY: the context is valid for the program's whole run.
        unsafe { Bytes { start: (*self.skb).data as usize, end: (*self.skb).data_end as usize } }
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        // SAFETY: as in `bytes`.
        unsafe { (*self.skb).len }
    }

    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: as in `bytes`.
        unsafe { (*self.skb).ifindex }
    }

    /// Marks a packet that is to pass one of our hooks again. Its own mark is kept: the upper half of it goes where the
    /// lower one was, the lower one into `tc_index`. (A mark does not outlive a change of namespace; `tc_index` does, so
    /// that it alone would let a container speak for us.)
    #[inline(always)]
    pub fn put_mark(&self) {
        // SAFETY: as in `bytes`; both fields are writable for tc programs.
        unsafe {
            let mark = (*self.skb).mark;
            (*self.skb).tc_index = mark & 0xffff;
            (*self.skb).mark = MARK << 16 | mark >> 16;
        }
    }

    /// Gives a marked packet its own mark back; `false` if it had none of ours.
    #[inline(always)]
    pub fn take_mark(&mut self) -> bool {
        // SAFETY: as in `put_mark`.
        unsafe {
            let mark = (*self.skb).mark;
            if mark >> 16 != MARK {
                return false;
            }
            (*self.skb).mark = mark << 16 | (*self.skb).tc_index & 0xffff;
            (*self.skb).tc_index = 0;
        }
        true
    }
}

impl Packet for TcPacket {
    #[inline(always)]
    fn holds(&self, length: usize) -> bool {
        self.len() as usize >= length
    }

    #[inline(always)]
    fn load<T: Plain>(&self, offset: usize) -> Option<T> {
        self.bytes().load(offset)
    }

    #[inline(always)]
    fn pull(&mut self, length: usize) {
        let Bytes { start, end } = self.bytes();
        let readable = end - start;
        if readable < length && readable < self.len() as usize {
            let wanted = if self.len() < PULL { self.len() } else { PULL };
            // SAFETY: the context is valid. Where it fails, the loads that follow do too.
            unsafe { bpf_skb_pull_data(self.skb, wanted) };
        }
    }

    #[inline(always)]
    fn opaque(&self, offset: usize) -> usize {
        opaque(offset, self.len() as usize)
    }

    #[inline(always)]
    fn vlan_id(&self) -> Option<u16> {
        // SAFETY: as in `bytes`.
        unsafe {
            if (*self.skb).vlan_present == 0 {
                None
            } else {
                Some((*self.skb).vlan_tci as u16 & 0x0fff)
            }
        }
    }
}

impl Received for TcPacket {
    #[inline(always)]
    fn ethertype(&self) -> u16 {
        // SAFETY: as in `bytes`.
        u16::from_be(unsafe { (*self.skb).protocol } as u16)
    }

    #[inline(always)]
    fn was_tagged(&self) -> bool {
        // SAFETY: as in `bytes`.
        unsafe { (*self.skb).vlan_present != 0 }
    }

    /// By the helper, because only it knows where the stack will look (`skb_network_header`).
    #[inline(always)]
    fn load_inner<T: Plain>(&self, offset: usize) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        let (to, length) = (value.as_mut_ptr().cast(), size_of::<T>() as u32);
        // SAFETY: the context is valid, and there is room for the length given.
        let loaded = unsafe {
            bpf_skb_load_bytes_relative(
                self.skb.cast(),
                offset as u32,
                to,
                length,
                BPF_HDR_START_NET,
            )
        };
        // SAFETY: the helper has written all of it, and any bytes make a `T`.
        if loaded == 0 { Some(unsafe { value.assume_init() }) } else { None }
    }
}

impl Skb for TcPacket {
    #[inline(always)]
    fn store<T: Plain>(&mut self, offset: usize, value: &T) -> Option<()> {
        self.bytes().store(offset, value)
    }

    /// By the helper, because only it knows whether the checksum is complete (`CHECKSUM_PARTIAL`, `_COMPLETE`).
    #[inline(always)]
    fn update_l4<F: Family>(
        &mut self,
        offset: usize,
        difference: u32,
        covers: Covers,
    ) -> Option<()> {
        let mut flags = 0;
        if matches!(covers, Covers::PseudoHeader | Covers::OptionalPseudoHeader) {
            flags |= BPF_F_PSEUDO_HDR as u64;
        }
        if covers.is_optional() {
            flags |= BPF_F_MARK_MANGLED_0 as u64;
        }
        let skb = self.skb;
        let replace = |flags| {
            // SAFETY: the context is valid; size 0 says that `to` is a difference.
            unsafe { bpf_l4_csum_replace(skb, offset as u32, 0, difference as u64, flags) }
        };
        let result = match F::L3_CHECKSUM {
            Some(_) => replace(flags),
            None if replace(flags | BPF_F_IPV6) == 0 => 0,
            // Kernels before 6.16 do not know the flag, and take the addresses' difference out of what a card has summed
            // up, as if an IPv4 header made up for it.
            None => {
                if flags & BPF_F_PSEUDO_HDR as u64 != 0 {
                    self.update_sum(difference);
                }
                replace(flags)
            }
        };
        if result == 0 { Some(()) } else { None }
    }

    #[inline(always)]
    fn update_sum(&mut self, difference: u32) {
        // SAFETY: the context is valid. It fails where no card has summed up the packet, as it should.
        unsafe { bpf_csum_update(self.skb, difference) };
    }

    #[inline(always)]
    fn is_forwarded(&self) -> bool {
        // SAFETY: as in `bytes`.
        unsafe { (*self.skb).ingress_ifindex != 0 }
    }

    #[inline(always)]
    fn owner<F: Family>(&self, flow: &Flow<F>) -> Owner {
        // SAFETY: as in `bytes`; a null socket is checked for before each use.
        unsafe {
            let socket = (*self.skb).__bindgen_anon_2.sk;
            if socket.is_null() || (*socket).dst_port == 0 {
                return Owner::None;
            }
            let is_it = (*socket).src_port == u16::from_be_bytes(flow.sport) as u32
                && (*socket).dst_port == u16::from_ne_bytes(flow.dport)
                && address::<F>(&raw const (*socket).src_ip4, &raw const (*socket).src_ip6)
                    == flow.src
                && address::<F>(&raw const (*socket).dst_ip4, &raw const (*socket).dst_ip6)
                    == flow.dst;
            if is_it {
                return Owner::Connected;
            }
            let socket = bpf_sk_fullsock(socket);
            // A tunnel leaves its packets the socket of what is inside (`skb_scrub_packet`).
            if socket.is_null() || (*socket).protocol != flow.transport() as u32 {
                return Owner::None;
            }
            Owner::Translated
        }
    }
}

/// An address of a socket that may be of either family; one of IPv4 on a socket of IPv6 is in `v4` too.
///
/// # Safety
///
/// Both are fields of a socket that is there. The verifier wants them read word by word.
#[inline(always)]
unsafe fn address<F: Family>(v4: *const u32, v6: *const [u32; 4]) -> F::Addr {
    let mut words = [0; 4];
    // SAFETY: the caller's; an address is nothing but bytes, four of them or all sixteen.
    unsafe {
        if size_of::<F::Addr>() == size_of::<u32>() {
            words[0] = v4.read_volatile();
        } else {
            for (number, word) in words.iter_mut().enumerate() {
                *word = v6.cast::<u32>().add(number).read_volatile();
            }
        }
        transmute_copy(&words)
    }
}
