//! The kernel programs. Each wraps its context as a packet, lets `neti-common` judge, counts the verdict and carries it
//! out; there is no packet logic here.
#![no_std]
#![no_main]
// The bounds checks of `bytes.rs` need it.
#![feature(asm_experimental_arch)]

mod bytes;
mod maps;
mod tc;
mod xdp;

use aya_ebpf::{
    EbpfContext,
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    helpers::{bpf_redirect, bpf_redirect_neigh},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use aya_log_ebpf::info;
use neti_common::{
    egress::egress,
    family::{Family, V4},
    filter::filter,
    ingress::ingress,
    packet::Packet,
    verdict::{Action, Hook, Verdict},
};
use network_types::eth::EthHdr;

use crate::{maps::KernelTables, tc::TcPacket, xdp::XdpPacket};

/// 1, set when the programs are loaded: log what is dropped.
#[unsafe(no_mangle)]
static TRACE: u8 = 0;

/// To whom a packet goes that we only pass: `TCX_NEXT`, which clsact knows as `TC_ACT_UNSPEC`.
const NEXT: i32 = TC_ACT_UNSPEC;
/// In `bpf_redirect`'s flags.
const BPF_F_INGRESS: u64 = 1;

#[xdp(frags)]
pub fn neti_filter(ctx: XdpContext) -> u32 {
    let mut packet = XdpPacket::new(&ctx);
    let verdict = filter::<V4, _, _>(&mut packet, &KernelTables::new(&ctx));
    record(&ctx, &packet, Hook::Filter, verdict, packet.readable());
    match verdict.action {
        Action::Drop => xdp_action::XDP_DROP,
        Action::Next | Action::Redirect | Action::Reset => xdp_action::XDP_PASS,
    }
}

#[classifier]
pub fn neti_ingress(ctx: TcContext) -> i32 {
    judge(&ctx, Hook::Ingress, ingress::<V4, _, _>)
}

#[classifier]
pub fn neti_egress(ctx: TcContext) -> i32 {
    judge(&ctx, Hook::Egress, egress::<V4, _, _>)
}

/// What both tc hooks do with a packet that they have not seen before.
#[inline(always)]
fn judge(
    ctx: &TcContext,
    hook: Hook,
    judge: impl Fn(&mut TcPacket, &KernelTables) -> Verdict,
) -> i32 {
    let mut packet = TcPacket::new(ctx);
    if packet.take_mark() {
        return NEXT;
    }
    let verdict = judge(&mut packet, &KernelTables::new(ctx));
    record(ctx, &packet, hook, verdict, ctx.len());
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
fn record<C: EbpfContext, P: Packet>(
    ctx: &C,
    packet: &P,
    hook: Hook,
    verdict: Verdict,
    bytes: u32,
) {
    maps::count(hook, verdict, bytes);
    // SAFETY: a plain byte; volatile because the loader sets it.
    let trace = unsafe { core::ptr::read_volatile(&raw const TRACE) };
    if trace != 0 && (matches!(verdict.action, Action::Drop | Action::Reset) || verdict.would) {
        let (src, dst) = untagged_addresses(packet);
        // Numbers, which the daemon gives their names: it has them anyway.
        info!(
            ctx,
            "{} {} {} {} {:i} {:i}",
            hook as u8,
            verdict.reason as u8,
            verdict.would as u8,
            bytes,
            src,
            dst
        );
    }
}

/// Source and destination of an untagged IPv4 frame, for the log; else 0.0.0.0.
#[inline(always)]
fn untagged_addresses<P: Packet>(packet: &P) -> (u32, u32) {
    let ethertype: Option<[u8; 2]> = packet.load(EthHdr::LEN - 2);
    match (
        ethertype.map(u16::from_be_bytes),
        packet.load(EthHdr::LEN + V4::SRC),
        packet.load(EthHdr::LEN + V4::DST),
    ) {
        (Some(V4::ETHERTYPE), Some(src), Some(dst)) => {
            (u32::from_be_bytes(src), u32::from_be_bytes(dst))
        }
        _ => (0, 0),
    }
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
