//! The kernel programs. Each wraps its context as a packet, lets `neti-common` judge, counts the verdict and carries it
//! out; there is no packet logic here.
#![no_std]
#![no_main]
// The bounds checks of `bytes.rs` need it.
#![feature(asm_experimental_arch)]

mod bytes;
mod counters;
mod maps;
mod tables;
mod tc;
mod xdp;

use aya_ebpf::{
    EbpfContext,
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    helpers::{bpf_redirect, bpf_redirect_neigh},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use neti_common::{
    drops,
    egress::{egress, egress_again},
    family::{V4, V6},
    filter::filter,
    guard::guard,
    ingress::ingress,
    maps::name,
    packet::{Packet, Received},
    verdict::{Action, Hook, Reason, Verdict},
};
use network_types::eth::EthHdr;

use crate::{maps::KernelFamily, tables::KernelTables, tc::TcPacket, xdp::XdpPacket};

/// 1, set when the programs are loaded: log what is dropped.
#[unsafe(no_mangle)]
static TRACE: u8 = 0;

/// The hooks' numbers. They are parameters of what follows, so that each program has code of its own: a function that two
/// shared would need its share of the stack.
const FILTER: usize = Hook::Filter as usize;
const INGRESS: usize = Hook::Ingress as usize;
const EGRESS: usize = Hook::Egress as usize;
const GUARD: usize = Hook::Guard as usize;

/// To whom a packet goes that we only pass: `TCX_NEXT`, which clsact knows as `TC_ACT_UNSPEC`.
const NEXT: i32 = TC_ACT_UNSPEC;
/// In `bpf_redirect`'s flags.
const BPF_F_INGRESS: u64 = 1;

// All programs are inlined into the entry points that the attributes make: a call and its return cost nanoseconds where the
// processor's predictions are not trusted, functions share their stack, and kernels before 5.10 have none beside tail calls.

#[xdp(frags)]
#[inline(always)]
pub fn neti_filter(ctx: XdpContext) -> u32 {
    judge_frame::<V4>(&ctx)
}

#[xdp(frags)]
#[inline(always)]
pub fn neti_filter_note(ctx: XdpContext) -> u32 {
    note(&mut XdpPacket::new(&ctx), &KernelTables::new(&ctx));
    xdp_action::XDP_DROP
}

#[classifier]
#[inline(always)]
pub fn neti_note(ctx: TcContext) -> i32 {
    match note(&mut TcPacket::new(&ctx), &KernelTables::new(&ctx)) {
        true => NEXT,
        false => TC_ACT_SHOT,
    }
}

#[xdp(frags)]
#[inline(always)]
pub fn neti_filter6(ctx: XdpContext) -> u32 {
    judge_frame::<V6>(&ctx)
}

#[classifier]
#[inline(always)]
pub fn neti_ingress(ctx: TcContext) -> i32 {
    if TcPacket::new(&ctx).take_mark() { NEXT } else { judge::<V4, INGRESS>(&ctx) }
}

#[classifier]
#[inline(always)]
pub fn neti_ingress6(ctx: TcContext) -> i32 {
    judge::<V6, INGRESS>(&ctx)
}

#[classifier]
#[inline(always)]
pub fn neti_egress(ctx: TcContext) -> i32 {
    let mut packet = TcPacket::new(&ctx);
    if packet.take_mark() {
        let tables = KernelTables::new(&ctx);
        egress_again::<V4, _, _>(&packet, &tables);
        egress_again::<V6, _, _>(&packet, &tables);
        return NEXT;
    }
    judge::<V4, EGRESS>(&ctx)
}

#[classifier]
#[inline(always)]
pub fn neti_egress6(ctx: TcContext) -> i32 {
    judge::<V6, EGRESS>(&ctx)
}

/// Notes whose packet was dropped; whether only `enforce` would have.
#[inline(always)]
fn note<P: Packet>(packet: &mut P, tables: &KernelTables) -> bool {
    let (reason, would) = counters::noted();
    if drops::note::<V4, _, _>(packet, tables, reason, would).is_none() {
        let _ = drops::note::<V6, _, _>(packet, tables, reason, would);
    }
    would
}

/// Reads so little that both families fit into one program.
#[classifier]
#[inline(always)]
pub fn neti_guard(ctx: TcContext) -> i32 {
    let packet = TcPacket::new(&ctx);
    let tables = KernelTables::new(&ctx);
    let verdict = guard::<V4, _, _>(&packet, &tables);
    if verdict.reason == Reason::Ipv6 {
        let verdict = guard::<V6, _, _>(&packet, &tables);
        record::<V6, _, GUARD>(&ctx, verdict, ctx.len(), || inner_ends::<V6>(&packet));
        return carry_out(&packet, verdict);
    }
    record::<V4, _, GUARD>(&ctx, verdict, ctx.len(), || inner_ends::<V4>(&packet));
    carry_out(&packet, verdict)
}

/// What XDP does with a frame.
#[inline(always)]
fn judge_frame<F: KernelFamily>(ctx: &XdpContext) -> u32 {
    let mut packet = XdpPacket::new(ctx);
    let verdict = filter::<F, _, _>(&mut packet, &KernelTables::new(ctx));
    if verdict.reason == Reason::Ipv6 {
        // SAFETY: returns only if the array has no program, and then this verdict stands.
        unsafe { maps::XDP_PROGRAMS.tail_call(ctx, name::ARRIVES6) };
    }
    record::<F, _, FILTER>(ctx, verdict, packet.readable(), || ends::<F, _>(&packet));
    if verdict.is_noted(Hook::Filter) && counters::may_note(verdict) {
        // SAFETY: as above.
        unsafe { maps::XDP_PROGRAMS.tail_call(ctx, name::NOTE) };
    }
    match verdict.action {
        Action::Drop => xdp_action::XDP_DROP,
        Action::Next | Action::Redirect | Action::Reset => xdp_action::XDP_PASS,
    }
}

/// What both tc hooks do with a packet that they have not seen before.
#[inline(always)]
fn judge<F: KernelFamily, const HOOK: usize>(ctx: &TcContext) -> i32 {
    let mut packet = TcPacket::new(ctx);
    let tables = KernelTables::new(ctx);
    let verdict = match HOOK {
        EGRESS => egress::<F, _, _>(&mut packet, &tables),
        _ => ingress::<F, _, _>(&mut packet, &tables),
    };
    if verdict.reason == Reason::Ipv6 {
        // SAFETY: as above.
        unsafe {
            maps::TC_PROGRAMS
                .tail_call(ctx, if HOOK == EGRESS { name::LEAVES6 } else { name::ARRIVES6 })
        };
    }
    record::<F, _, HOOK>(ctx, verdict, ctx.len(), || ends::<F, _>(&packet));
    if verdict.is_noted(Hook::ALL[HOOK]) && counters::may_note(verdict) {
        // SAFETY: as above.
        unsafe { maps::TC_PROGRAMS.tail_call(ctx, name::NOTE) };
    }
    carry_out(&packet, verdict)
}

#[inline(always)]
fn carry_out(packet: &TcPacket, verdict: Verdict) -> i32 {
    match verdict.action {
        Action::Next => NEXT,
        Action::Drop => TC_ACT_SHOT,
        Action::Redirect => {
            packet.put_mark();
            // SAFETY: no parameters, so the kernel looks the next hop up by the packet's destination.
            unsafe { bpf_redirect_neigh(packet.ifindex(), core::ptr::null_mut(), 0, 0) as i32 }
        }
        Action::Reset => {
            packet.put_mark();
            // SAFETY: plain integers.
            unsafe { bpf_redirect(packet.ifindex(), BPF_F_INGRESS) as i32 }
        }
    }
}

/// Counts a verdict, and logs it where it is a drop (or would be one) and somebody asked for that.
#[inline(always)]
fn record<F: KernelFamily, C: EbpfContext, const HOOK: usize>(
    ctx: &C,
    verdict: Verdict,
    bytes: u32,
    ends: impl FnOnce() -> Option<(F::Addr, F::Addr)>,
) {
    counters::count(Hook::ALL[HOOK], verdict, bytes);
    // SAFETY: a plain byte; volatile because the loader sets it.
    let trace = unsafe { core::ptr::read_volatile(&raw const TRACE) };
    if trace != 0
        && (matches!(verdict.action, Action::Drop | Action::Reset) || verdict.would)
        && let Some((src, dst)) = ends()
    {
        F::log::<C, HOOK>(ctx, verdict, bytes, src, dst);
    }
}

/// Source and destination for the log: of a tagged frame and of one that is not IP, the unspecified address.
#[inline(always)]
fn ends<F: KernelFamily, P: Packet>(packet: &P) -> Option<(F::Addr, F::Addr)> {
    let ethertype: Option<[u8; 2]> = packet.load(EthHdr::LEN - 2);
    let other = ethertype != Some(F::ETHERTYPE.to_be_bytes());
    let (src, dst) = (packet.load(EthHdr::LEN + F::SRC)?, packet.load(EthHdr::LEN + F::DST)?);
    Some((F::blank_if(&src, other), F::blank_if(&dst, other)))
}

/// The same of a packet of which only the stack knows where it begins.
#[inline(always)]
fn inner_ends<F: KernelFamily>(packet: &TcPacket) -> Option<(F::Addr, F::Addr)> {
    let other = packet.ethertype() != F::ETHERTYPE;
    let (src, dst) = (packet.load_inner(F::SRC)?, packet.load_inner(F::DST)?);
    Some((F::blank_if(&src, other), F::blank_if(&dst, other)))
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // The verifier proves that no program reaches this.
    loop {}
}

/// The helpers that we call are for programs under the GPL.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
