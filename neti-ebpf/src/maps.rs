//! The maps, and the tables that the datapath sees in them. Sizes are those for a small fleet; the loader sets others.

use core::{arch::asm, ffi::c_void, mem::transmute};

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_ANY, BPF_NOEXIST, bpf_sock, bpf_sock_tuple},
    helpers::{
        bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_sk_lookup_udp, bpf_sk_release,
        bpf_skc_lookup_tcp,
    },
    macros::map,
    maps::{
        Array, HashMap, LruHashMap, PerCpuArray, ProgramArray,
        lpm_trie::{Key, LpmTrie},
    },
};
use aya_log_ebpf::info;
use neti_common::{
    family::{Family, V4, V6},
    headers::{Ip, TCP},
    maps::{
        Allow, Counter, Flow, Fragment, FragmentKey, Hint, Member, OPEN_PORT_WORDS, Path, Settings,
        TwinIn, TwinOut, VLAN_WORDS,
    },
    tables::{Class, Place, Socket, Tables},
    verdict::{COUNTERS as COUNTER_SLOTS, Hook, Verdict, counter_index},
};

const MEMBERS: u32 = 16_384;
const HINTS: u32 = 16_384;
const FRAGMENTS: u32 = 8_192;
const TWINS: u32 = 8_192;
const ALLOW_RULES: u32 = 131_072;

#[map(name = "settings_slot")]
static SETTINGS_SLOT: Array<u32> = Array::with_max_entries(1, 0);
#[map(name = "open_ports")]
static OPEN_PORTS: Array<u64> = Array::with_max_entries(OPEN_PORT_WORDS, 0);
#[map(name = "vlans")]
static VLANS: Array<u64> = Array::with_max_entries(VLAN_WORDS, 0);
#[map(name = "twins_used")]
static TWINS_USED: Array<u32> = Array::with_max_entries(1, 0);
#[map(name = "counters")]
static COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(COUNTER_SLOTS, 0);
/// The program for IPv6 of each hook.
#[map(name = "xdp_ipv6")]
pub static XDP_IPV6: ProgramArray = ProgramArray::with_max_entries(1, 0);
#[map(name = "tc_ipv6")]
pub static TC_IPV6: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// The same place, of which LLVM no longer knows what is there: what it reads again the verifier takes for any value, and
/// follows the rest of the program once and not once for each way there.
#[inline(always)]
fn reloaded<T>(mut place: *mut T) -> *mut T {
    // SAFETY: a register is moved to itself.
    unsafe { asm!("{place} = {place}", place = inout(reg) place, options(nostack)) };
    place
}

/// Room for the headers of one packet on each CPU, by [`Place`].
#[map(name = "headers6")]
static HEADERS6: PerCpuArray<Ip<V6>> = PerCpuArray::with_max_entries(2, 0);

/// The maps of a family, and what the kernel calls its addresses.
pub trait KernelFamily: Family {
    fn settings() -> &'static Array<Settings<Self>>;
    fn members() -> &'static HashMap<Self::Addr, Member<Self>>;
    fn overlays() -> &'static HashMap<Self::Addr, Path<Self>>;
    fn allow() -> &'static LpmTrie<Self::Addr, Allow>;
    fn hints(class: Class) -> &'static LruHashMap<Flow<Self>, Hint<Self>>;
    fn fragments() -> &'static LruHashMap<FragmentKey<Self>, Fragment<Self>>;
    fn twins_out() -> &'static HashMap<Flow<Self>, TwinOut>;
    fn twins_in() -> &'static HashMap<Flow<Self>, TwinIn<Self>>;

    /// [`Tables::place`]: only a header with IPv6 addresses is too large for the stack.
    fn place<'a>(place: Place, ip: &'a Ip<Self>) -> Option<&'a Ip<Self>>;

    /// The address that a socket is bound to, as far as it matters: not 0 if to one.
    ///
    /// # Safety
    ///
    /// The socket is there. The reads are volatile, because LLVM would merge those of the TCP and the UDP lookup into
    /// one that the verifier refuses ("same insn cannot be used with different pointers").
    unsafe fn bound(socket: *const bpf_sock) -> u32;
    /// Logs what becomes of a packet in numbers, to which the daemon gives their names: it has them anyway.
    fn log<C: EbpfContext, const HOOK: usize>(
        ctx: &C,
        verdict: Verdict,
        bytes: u32,
        src: Self::Addr,
        dst: Self::Addr,
    );
}

/// Makes the maps of a family; their names are those of [`Family::MAPS`], which an attribute cannot read.
macro_rules! family_maps {
    (
        $family:ident, $settings:literal, $members:literal, $overlays:literal, $allow:literal,
        hints $local_member:literal, $local_stranger:literal, $forward_member:literal, $forward_stranger:literal,
        $fragments:literal, twins $twins_out:literal, $twins_in:literal,
        place $place:ident $ip:ident $placed:expr, bound $socket:ident $bound:expr, logged $logged:ty
    ) => {
        const _: () = {
            type Addr = <$family as Family>::Addr;
            type Hints = LruHashMap<Flow<$family>, Hint<$family>>;

            #[map(name = $settings)]
            static SETTINGS: Array<Settings<$family>> = Array::with_max_entries(2, 0);
            #[map(name = $members)]
            static MEMBER: HashMap<Addr, Member<$family>> = HashMap::with_max_entries(MEMBERS, 0);
            #[map(name = $overlays)]
            static OVERLAYS: HashMap<Addr, Path<$family>> = HashMap::with_max_entries(MEMBERS, 0);
            #[map(name = $allow)]
            static ALLOW: LpmTrie<Addr, Allow> = LpmTrie::with_max_entries(ALLOW_RULES, 0);
            #[map(name = $local_member)]
            static LOCAL_MEMBER: Hints = Hints::with_max_entries(HINTS, 0);
            #[map(name = $local_stranger)]
            static LOCAL_STRANGER: Hints = Hints::with_max_entries(HINTS, 0);
            #[map(name = $forward_member)]
            static FORWARD_MEMBER: Hints = Hints::with_max_entries(HINTS, 0);
            #[map(name = $forward_stranger)]
            static FORWARD_STRANGER: Hints = Hints::with_max_entries(HINTS, 0);
            #[map(name = $fragments)]
            static FRAGMENT: LruHashMap<FragmentKey<$family>, Fragment<$family>> =
                LruHashMap::with_max_entries(FRAGMENTS, 0);
            #[map(name = $twins_out)]
            static TWIN_OUT: HashMap<Flow<$family>, TwinOut> = HashMap::with_max_entries(TWINS, 0);
            #[map(name = $twins_in)]
            static TWIN_IN: HashMap<Flow<$family>, TwinIn<$family>> =
                HashMap::with_max_entries(TWINS, 0);

            impl KernelFamily for $family {
                #[inline(always)]
                fn settings() -> &'static Array<Settings<Self>> {
                    &SETTINGS
                }

                #[inline(always)]
                fn members() -> &'static HashMap<Addr, Member<Self>> {
                    &MEMBER
                }

                #[inline(always)]
                fn overlays() -> &'static HashMap<Addr, Path<Self>> {
                    &OVERLAYS
                }

                #[inline(always)]
                fn allow() -> &'static LpmTrie<Addr, Allow> {
                    &ALLOW
                }

                #[inline(always)]
                fn hints(class: Class) -> &'static Hints {
                    match class {
                        Class::LocalMember => &LOCAL_MEMBER,
                        Class::LocalStranger => &LOCAL_STRANGER,
                        Class::ForwardMember => &FORWARD_MEMBER,
                        Class::ForwardStranger => &FORWARD_STRANGER,
                    }
                }

                #[inline(always)]
                fn fragments() -> &'static LruHashMap<FragmentKey<Self>, Fragment<Self>> {
                    &FRAGMENT
                }

                #[inline(always)]
                fn twins_out() -> &'static HashMap<Flow<Self>, TwinOut> {
                    &TWIN_OUT
                }

                #[inline(always)]
                fn twins_in() -> &'static HashMap<Flow<Self>, TwinIn<Self>> {
                    &TWIN_IN
                }

                #[inline(always)]
                fn place<'a>($place: Place, $ip: &'a Ip<Self>) -> Option<&'a Ip<Self>> {
                    $placed
                }

                #[inline(always)]
                unsafe fn bound($socket: *const bpf_sock) -> u32 {
                    // SAFETY: the caller's.
                    unsafe { $bound }
                }

                #[inline(always)]
                fn log<C: EbpfContext, const HOOK: usize>(
                    ctx: &C,
                    verdict: Verdict,
                    bytes: u32,
                    src: Addr,
                    dst: Addr,
                ) {
                    // SAFETY: bytes of the same number.
                    let [src, dst] = unsafe {
                        [transmute::<Addr, $logged>(src), transmute::<Addr, $logged>(dst)]
                    };
                    info!(
                        ctx,
                        "{} {} {} {} {:i} {:i}",
                        HOOK as u8,
                        verdict.reason as u8,
                        verdict.would as u8,
                        bytes,
                        src,
                        dst
                    );
                }
            }
        };
    };
}

family_maps! {
    V4, "settings4", "members4", "overlays4", "allow4",
    hints "hints_lm4", "hints_ls4", "hints_fm4", "hints_fs4",
    "fragments4", twins "twins_out4", "twins_in4",
    place _place ip Some(ip),
    bound socket (&raw const (*socket).src_ip4).read_volatile(), logged [u8; 4]
}

family_maps! {
    V6, "settings6", "members6", "overlays6", "allow6",
    hints "hints_lm6", "hints_ls6", "hints_fm6", "hints_fs6",
    "fragments6", twins "twins_out6", "twins_in6",
    place place ip HEADERS6.get_ptr_mut(place as u32).map(|room| {
        // SAFETY: this CPU's own, and no other program runs on it before this one ends.
        unsafe {
            *room = *ip;
            &*reloaded(room)
        }
    }),
    bound socket {
        let word = |n: usize| (&raw const (*socket).src_ip6[n]).read_volatile();
        word(0) | word(1) | word(2) | word(3)
    }, logged [u8; 16]
}

/// Counts a verdict.
#[inline(always)]
pub fn count(hook: Hook, verdict: Verdict, bytes: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(counter_index(hook, verdict.reason, verdict.would))
    {
        // SAFETY: this CPU's own slot; the verifier has seen the check.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += bytes as u64;
        }
    }
}

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

impl<F: KernelFamily> Tables<F> for KernelTables {
    #[inline(always)]
    fn settings(&self) -> Option<&Settings<F>> {
        let slot = *SETTINGS_SLOT.get(0)?;
        F::settings().get(slot & 1).filter(|settings| settings.valid != 0)
    }

    #[inline(always)]
    fn member(&self, real: &F::Addr) -> Option<&Member<F>> {
        // SAFETY: the element may be reused for another key while it is read, so it repeats its key.
        unsafe { F::members().get(real) }.filter(|member| member.real == *real)
    }

    #[inline(always)]
    fn path(&self, overlay: &F::Addr) -> Option<&Path<F>> {
        // SAFETY: as above.
        unsafe { F::overlays().get(overlay) }.filter(|path| path.overlay == *overlay)
    }

    #[inline(always)]
    fn allow(&self, address: &F::Addr) -> Option<&Allow> {
        F::allow().get(Key::new(F::BITS, *address))
    }

    #[inline(always)]
    fn is_open(&self, protocol: u8, port: u16) -> bool {
        let bit = if protocol == TCP { 0 } else { OPEN_PORT_WORDS * 32 } + port as u32;
        OPEN_PORTS.get(bit / 64).is_some_and(|word| word >> (bit % 64) & 1 != 0)
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
