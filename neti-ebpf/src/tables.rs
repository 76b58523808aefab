//! The tables that the datapath sees: the maps, and the socket table of the namespace that a packet is in.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_ANY, BPF_NOEXIST, bpf_sock, bpf_sock_tuple},
    helpers::{
        bpf_get_prandom_u32, bpf_jiffies64, bpf_ktime_get_ns, bpf_sk_lookup_udp, bpf_sk_release,
        bpf_skc_lookup_tcp,
    },
};
use neti_common::{
    headers::Ip,
    maps::{
        CLASS_WORDS, DropKey, Dropped, Flow, Fragment, FragmentKey, Hint, Member, Path, Range,
        RangeKey, SET_WORDS, SETS as SETS_KEPT, SLOT_SETS_WORDS, Settings, SubjectKey, TwinIn,
        TwinOut, bloom,
        hops::{self, Hop, Mac},
        mixed,
    },
    tables::{Class, Place, Socket, Tables},
};

use crate::{
    counters,
    maps::{CLASSES, HOPS, KernelFamily, MIXED, SETS, SETTINGS_SLOT, SUBJECTS, TWINS_USED, VLANS},
};

/// The maps and the socket table of the namespace that a packet is in.
pub struct KernelTables {
    ctx: *mut c_void,
}

impl KernelTables {
    #[inline(always)]
    pub fn new<C: EbpfContext>(ctx: &C) -> Self {
        Self { ctx: ctx.as_ptr() }
    }
}

/// As `netns` of the socket lookups: the packet's own (`BPF_F_CURRENT_NETNS`).
const CURRENT_NETNS: u64 = u64::MAX;

/// Socket states (`include/net/tcp_states.h`).
const ESTABLISHED: u32 = 1;
const LISTEN: u32 = 10;
const NEW_SYN_RECV: u32 = 12;

/// Reads a found socket's state and bound address, and lets go of it.
#[inline(always)]
unsafe fn inspect<F: KernelFamily>(socket: *mut bpf_sock) -> (u32, u32) {
    // SAFETY: the caller has checked that the socket is there, and nobody uses it after the release.
    unsafe {
        let state = (&raw const (*socket).state).read_volatile();
        let bound = F::bound(socket);
        bpf_sk_release(socket.cast());
        (state, bound)
    }
}

#[inline(always)]
fn unconnected(bound: u32) -> Socket {
    if bound == 0 { Socket::Wildcard } else { Socket::Specific }
}

/// Adds to a word that other CPUs add to (`BPF_ATOMIC | BPF_ADD`), for which Rust has no name on this target.
///
/// # Safety
///
/// The word is there.
#[inline(always)]
unsafe fn add(word: *mut u64, number: u64) {
    // SAFETY: the caller's; nothing else is touched.
    unsafe {
        asm!("lock *(u64 *)({word} + 0) += {number}", word = in(reg) word, number = in(reg) number, options(nostack))
    };
}

impl<F: KernelFamily> Tables<F> for KernelTables {
    #[inline(always)]
    fn settings(&self) -> Option<&Settings<F>> {
        let slot = *SETTINGS_SLOT.get(0)?;
        F::settings().get(slot & 1).filter(|settings| settings.valid != 0)
    }

    #[inline(always)]
    fn member(&self, real: &F::Addr) -> Option<&Member<F>> {
        let (word, bit) = bloom::place::<F>(real);
        if F::bloom().get(word).is_none_or(|word| word >> bit & 1 == 0) {
            return None;
        }
        // SAFETY: the element may be reused for another key while it is read, so it repeats its key.
        unsafe { F::members().get(real) }.filter(|member| member.real == *real)
    }

    #[inline(always)]
    fn path(&self, overlay: &F::Addr) -> Option<&Path<F>> {
        // SAFETY: as above.
        unsafe { F::overlays().get(overlay) }.filter(|path| path.overlay == *overlay)
    }

    #[inline(always)]
    fn range(&self, key: &RangeKey<F>) -> Option<Range> {
        // SAFETY: the daemon changes only what no packet asks for: the slot that is not in force.
        unsafe { F::ranges().get(key) }.copied()
    }

    #[inline(always)]
    fn class(&self, slot: u32, service: u32) -> u32 {
        let word = CLASSES.get((slot & 1) * CLASS_WORDS + service / 4);
        word.map_or(0, |word| (word >> (service % 4 * 16)) as u32 & 0xffff)
    }

    #[inline(always)]
    fn has_class(&self, slot: u32, set: u32, class: u32) -> bool {
        // No set is beyond the last one of the other slot too.
        let index = (slot & 1) * SLOT_SETS_WORDS + set * SET_WORDS + class / 64;
        set < SETS_KEPT && SETS.get(index).is_some_and(|word| word >> (class % 64) & 1 != 0)
    }

    #[inline(always)]
    fn subject(&self, key: &SubjectKey) -> Option<u32> {
        // SAFETY: as in `range`.
        unsafe { SUBJECTS.get(key) }.copied()
    }

    #[inline(always)]
    fn has_vlan(&self, id: u16) -> bool {
        VLANS.get(id as u32 / 64).is_some_and(|word| word >> (id % 64) & 1 != 0)
    }

    #[inline(always)]
    fn tcp_socket(&self, inbound: &Flow<F>) -> Socket {
        let tuple = (&raw const *inbound).cast_mut().cast::<bpf_sock_tuple>();
        // SAFETY: a `Flow` begins with the `bpf_sock_tuple` of its family; the result is checked before it is used.
        let (state, bound) = unsafe {
            let socket =
                bpf_skc_lookup_tcp(self.ctx, tuple, Flow::<F>::TUPLE as u32, CURRENT_NETNS, 0);
            if socket.is_null() {
                return Socket::None;
            }
            inspect::<F>(socket)
        };
        match state {
            LISTEN => unconnected(bound),
            NEW_SYN_RECV => Socket::HalfOpen,
            _ => Socket::Live,
        }
    }

    #[inline(always)]
    fn udp_socket(&self, inbound: &Flow<F>) -> Socket {
        let tuple = (&raw const *inbound).cast_mut().cast::<bpf_sock_tuple>();
        // SAFETY: as in `tcp_socket`.
        let (state, bound) = unsafe {
            let socket =
                bpf_sk_lookup_udp(self.ctx, tuple, Flow::<F>::TUPLE as u32, CURRENT_NETNS, 0);
            if socket.is_null() {
                return Socket::None;
            }
            inspect::<F>(socket)
        };
        if state == ESTABLISHED { Socket::Live } else { unconnected(bound) }
    }

    #[inline(always)]
    fn hint(&self, class: Class, flow: &Flow<F>) -> Option<Hint<F>> {
        // SAFETY: copied at once; a torn hint names the ends of some other flow of ours for one packet.
        unsafe { F::hints(class).get(flow) }.copied()
    }

    #[inline(always)]
    fn keep_hint(&self, class: Class, flow: &Flow<F>, hint: &Hint<F>) {
        // An LRU map has room unless all its elements are in use at this instant; then the flow does without.
        let _ = F::hints(class).insert(flow, hint, BPF_ANY as u64);
    }

    #[inline(always)]
    fn update_hint(&self, class: Class, flow: &Flow<F>, seen: u64, state: u64) {
        if let Some(hint) = F::hints(class).get_ptr_mut(flow) {
            // SAFETY: two words of a value that may be reused for another flow meanwhile; that one's age is then
            // that of this.
            unsafe {
                (&raw mut (*hint).seen).write_volatile(seen);
                (&raw mut (*hint).state).write_volatile(state);
            }
        }
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey<F>) -> Option<Fragment<F>> {
        // SAFETY: as in `hint`.
        unsafe { F::fragments().get(key) }.copied()
    }

    #[inline(always)]
    fn keep_fragment(&self, key: &FragmentKey<F>, fragment: &Fragment<F>) {
        let _ = F::fragments().insert(key, fragment, BPF_ANY as u64);
    }

    #[inline(always)]
    fn note(&self, key: &DropKey<F>, would: bool) {
        let seen = Tables::<F>::now(self);
        if let Some(dropped) = F::drops().get_ptr_mut(key) {
            // SAFETY: words of a value that other CPUs change too, or that is reused for another source meanwhile.
            unsafe {
                add(&raw mut (*dropped).packets, 1);
                add(&raw mut (*dropped).would, would as u64);
                (&raw mut (*dropped).seen).write_volatile(seen);
            }
            return;
        }
        if !counters::may_note_another(seen) {
            return;
        }
        let dropped = Dropped { packets: 1, seen, would: would as u64 };
        let _ = F::drops().insert(key, dropped, BPF_ANY as u64);
    }

    #[inline(always)]
    fn noted(&self, key: &DropKey<F>) -> Option<u64> {
        let dropped = F::drops().get_ptr(key)?;
        // SAFETY: a word of a value that may be reused for another source meanwhile; that one was then noted just now.
        Some(unsafe { (&raw const (*dropped).seen).read_volatile() })
    }

    #[inline(always)]
    fn has_mixed(&self) -> bool {
        let (Some(left), Some(cleared)) = (MIXED.get(mixed::LEFT), MIXED.get(mixed::CLEARED))
        else {
            return true;
        };
        // Volatile, and asked for each time: a value that is kept the verifier would follow the rest of the program with, once
        // for each that it has.
        // SAFETY: words in an array.
        unsafe {
            (&raw const *cleared).read_volatile()
                != (&raw const *left).read_volatile().wrapping_add(1)
        }
    }

    #[inline(always)]
    fn note_mixed(&self) {
        if let Some(left) = MIXED.get_ptr_mut(mixed::LEFT) {
            // SAFETY: a word in an array.
            unsafe { add(left, 1) };
        }
    }

    #[inline(always)]
    fn hop(&self, real: &F::Addr) -> Option<Mac> {
        let key = hops::Key::of::<F>(real);
        let hop = HOPS.get_ptr(key.index)?;
        // SAFETY: an element of an array, each of whose words is read once, whoever writes it meanwhile; the helper takes no
        // arguments.
        unsafe {
            let when = (&raw const (*hop).when).read_volatile();
            let address = (&raw const (*hop).address).read_volatile();
            key.address(Hop { when, address }, bpf_jiffies64())
        }
    }

    #[inline(always)]
    fn keep_hop(&self, real: &F::Addr, address: [u8; 6]) {
        let key = hops::Key::of::<F>(real);
        let Some(hop) = HOPS.get_ptr_mut(key.index) else { return };
        // SAFETY: an element of an array, each of whose words is written once, whoever reads it meanwhile; the helper takes no
        // arguments.
        unsafe {
            let Hop { when, address } = key.hop(address, bpf_jiffies64());
            (&raw mut (*hop).when).write_volatile(when);
            (&raw mut (*hop).address).write_volatile(address);
        }
    }

    #[inline(always)]
    fn has_twins(&self) -> bool {
        TWINS_USED.get(0).is_some_and(|used| *used != 0)
    }

    #[inline(always)]
    fn twin_out(&self, flow: &Flow<F>) -> Option<TwinOut> {
        // SAFETY: as in `hint`.
        unsafe { F::twins_out().get(flow) }.copied()
    }

    #[inline(always)]
    fn twin_in(&self, flow: &Flow<F>) -> Option<TwinIn<F>> {
        // SAFETY: as in `hint`.
        unsafe { F::twins_in().get(flow) }.copied()
    }

    #[inline(always)]
    fn keep_twin_in(&self, wire: &Flow<F>, twin: &TwinIn<F>) {
        // Full: then no port can be claimed either, and the flow is refused.
        let _ = F::twins_in().insert(wire, twin, BPF_ANY as u64);
    }

    #[inline(always)]
    fn claim_twin(&self, wire: &Flow<F>, twin: &TwinIn<F>) -> bool {
        F::twins_in().insert(wire, twin, BPF_NOEXIST as u64).is_ok()
    }

    #[inline(always)]
    fn keep_twin_out(&self, socket: &Flow<F>, wire: &Flow<F>) -> bool {
        if let Some(used) = TWINS_USED.get_ptr_mut(0) {
            // SAFETY: a word in an array; everyone writes the same.
            unsafe { core::ptr::write_volatile(used, 1) };
        }
        let out = TwinOut { port: wire.sport, _pad: [0; 2] };
        if F::twins_out().insert(socket, out, BPF_ANY as u64).is_err() {
            let _ = F::twins_in().remove(wire);
            return false;
        }
        true
    }

    #[inline(always)]
    fn place<'a>(&'a self, place: Place, ip: &'a Ip<F>) -> Option<&'a Ip<F>> {
        F::place(place, ip)
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: no arguments.
        unsafe { bpf_ktime_get_ns() }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: no arguments.
        unsafe { bpf_get_prandom_u32() }
    }
}
