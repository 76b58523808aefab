//! The maps, and the tables that the datapath sees in them. Sizes are those for a small fleet; the loader sets others.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_ANY, BPF_NOEXIST, bpf_sock, bpf_sock_tuple},
    helpers::{
        bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_sk_lookup_udp, bpf_sk_release,
        bpf_skc_lookup_tcp,
    },
    macros::map,
    maps::{
        Array, HashMap, LruHashMap, PerCpuArray,
        lpm_trie::{Key, LpmTrie},
    },
};
use neti_common::{
    family::V4,
    headers::TCP,
    maps::{
        Allow, Counter, Flow, Fragment, FragmentKey, Hint, Member, OPEN_PORT_WORDS, Path, Settings,
        Tuple, TwinIn, TwinOut, VLAN_WORDS,
    },
    tables::{Class, Socket, Tables},
    verdict::{COUNTERS as COUNTER_SLOTS, Hook, Verdict, counter_index},
};

type Addr = [u8; 4];

const MEMBERS: u32 = 16_384;
const HINTS: u32 = 16_384;
const FRAGMENTS: u32 = 8_192;
const TWINS: u32 = 8_192;
const ALLOW_RULES: u32 = 131_072;

#[map(name = "settings_slot")]
static SETTINGS_SLOT: Array<u32> = Array::with_max_entries(1, 0);
#[map(name = "settings4")]
static SETTINGS4: Array<Settings<V4>> = Array::with_max_entries(2, 0);
#[map(name = "members4")]
static MEMBERS4: HashMap<Addr, Member<V4>> = HashMap::with_max_entries(MEMBERS, 0);
#[map(name = "overlays4")]
static OVERLAYS4: HashMap<Addr, Path<V4>> = HashMap::with_max_entries(MEMBERS, 0);
#[map(name = "allow4")]
static ALLOW4: LpmTrie<Addr, Allow> = LpmTrie::with_max_entries(ALLOW_RULES, 0);
#[map(name = "open_ports")]
static OPEN_PORTS: Array<u64> = Array::with_max_entries(OPEN_PORT_WORDS, 0);
#[map(name = "vlans")]
static VLANS: Array<u64> = Array::with_max_entries(VLAN_WORDS, 0);
#[map(name = "hints_lm4")]
static HINTS_LOCAL_MEMBER4: LruHashMap<Flow<V4>, Hint<V4>> = LruHashMap::with_max_entries(HINTS, 0);
#[map(name = "hints_ls4")]
static HINTS_LOCAL_STRANGER4: LruHashMap<Flow<V4>, Hint<V4>> =
    LruHashMap::with_max_entries(HINTS, 0);
#[map(name = "hints_fm4")]
static HINTS_FORWARD_MEMBER4: LruHashMap<Flow<V4>, Hint<V4>> =
    LruHashMap::with_max_entries(HINTS, 0);
#[map(name = "hints_fs4")]
static HINTS_FORWARD_STRANGER4: LruHashMap<Flow<V4>, Hint<V4>> =
    LruHashMap::with_max_entries(HINTS, 0);
#[map(name = "fragments4")]
static FRAGMENTS4: LruHashMap<FragmentKey<V4>, Fragment<V4>> =
    LruHashMap::with_max_entries(FRAGMENTS, 0);
#[map(name = "twins_out4")]
static TWINS_OUT4: HashMap<Flow<V4>, TwinOut> = HashMap::with_max_entries(TWINS, 0);
#[map(name = "twins_in4")]
static TWINS_IN4: HashMap<Flow<V4>, TwinIn<V4>> = HashMap::with_max_entries(TWINS, 0);
#[map(name = "twins_used")]
static TWINS_USED: Array<u32> = Array::with_max_entries(1, 0);
#[map(name = "counters")]
static COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(COUNTER_SLOTS, 0);

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

/// Reads a found socket's state and bound address, and lets go of it. Volatile, because LLVM would merge the reads of
/// the TCP and the UDP lookup into one that the verifier refuses ("same insn cannot be used with different pointers").
#[inline(always)]
unsafe fn inspect(socket: *mut bpf_sock) -> (u32, u32) {
    // SAFETY: the caller has checked that the socket is there, and nobody uses it after the release.
    unsafe {
        let state = core::ptr::read_volatile(&raw const (*socket).state);
        let bound = core::ptr::read_volatile(&raw const (*socket).src_ip4);
        bpf_sk_release(socket.cast());
        (state, bound)
    }
}

#[inline(always)]
fn unconnected(bound: u32) -> Socket {
    if bound == 0 { Socket::Wildcard } else { Socket::Specific }
}

impl Tables<V4> for KernelTables {
    #[inline(always)]
    fn settings(&self) -> Option<&Settings<V4>> {
        let slot = *SETTINGS_SLOT.get(0)?;
        SETTINGS4.get(slot & 1).filter(|settings| settings.valid != 0)
    }

    #[inline(always)]
    fn member(&self, real: &Addr) -> Option<&Member<V4>> {
        // SAFETY: the element may be reused for another key while it is read, so it repeats its key.
        unsafe { MEMBERS4.get(real) }.filter(|member| member.real == *real)
    }

    #[inline(always)]
    fn path(&self, overlay: &Addr) -> Option<&Path<V4>> {
        // SAFETY: as above.
        unsafe { OVERLAYS4.get(overlay) }.filter(|path| path.overlay == *overlay)
    }

    #[inline(always)]
    fn allow(&self, address: &Addr) -> Option<&Allow> {
        ALLOW4.get(Key::new(32, *address))
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
    fn tcp_socket(&self, tuple: &Tuple<V4>) -> Socket {
        let tuple = (&raw const *tuple).cast_mut().cast::<bpf_sock_tuple>();
        // SAFETY: a `Tuple` is a `bpf_sock_tuple` of its family; the result is checked before it is used.
        let (state, bound) = unsafe {
            let socket = bpf_skc_lookup_tcp(
                self.ctx,
                tuple,
                size_of::<Tuple<V4>>() as u32,
                CURRENT_NETNS,
                0,
            );
            if socket.is_null() {
                return Socket::None;
            }
            inspect(socket)
        };
        match state {
            LISTEN => unconnected(bound),
            NEW_SYN_RECV => Socket::HalfOpen,
            _ => Socket::Live,
        }
    }

    #[inline(always)]
    fn udp_socket(&self, tuple: &Tuple<V4>) -> Socket {
        let tuple = (&raw const *tuple).cast_mut().cast::<bpf_sock_tuple>();
        // SAFETY: as in `tcp_socket`.
        let (state, bound) = unsafe {
            let socket =
                bpf_sk_lookup_udp(self.ctx, tuple, size_of::<Tuple<V4>>() as u32, CURRENT_NETNS, 0);
            if socket.is_null() {
                return Socket::None;
            }
            inspect(socket)
        };
        if state == ESTABLISHED { Socket::Live } else { unconnected(bound) }
    }

    #[inline(always)]
    fn hint(&self, class: Class, flow: &Flow<V4>) -> Option<Hint<V4>> {
        // SAFETY: copied at once; a torn hint names the ends of some other flow of ours for one packet.
        unsafe { hints(class).get(flow) }.copied()
    }

    #[inline(always)]
    fn keep_hint(&self, class: Class, flow: &Flow<V4>, hint: &Hint<V4>) {
        // An LRU map has room unless all its elements are in use at this instant; then the flow does without.
        let _ = hints(class).insert(flow, hint, BPF_ANY as u64);
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey<V4>) -> Option<Fragment<V4>> {
        // SAFETY: as in `hint`.
        unsafe { FRAGMENTS4.get(key) }.copied()
    }

    #[inline(always)]
    fn keep_fragment(&self, key: &FragmentKey<V4>, fragment: &Fragment<V4>) {
        let _ = FRAGMENTS4.insert(key, fragment, BPF_ANY as u64);
    }

    #[inline(always)]
    fn has_twins(&self) -> bool {
        TWINS_USED.get(0).is_some_and(|used| *used != 0)
    }

    #[inline(always)]
    fn twin_out(&self, flow: &Flow<V4>) -> Option<TwinOut> {
        // SAFETY: as in `hint`.
        unsafe { TWINS_OUT4.get(flow) }.copied()
    }

    #[inline(always)]
    fn twin_in(&self, flow: &Flow<V4>) -> Option<TwinIn<V4>> {
        // SAFETY: as in `hint`.
        unsafe { TWINS_IN4.get(flow) }.copied()
    }

    #[inline(always)]
    fn keep_twin_in(&self, wire: &Flow<V4>, twin: &TwinIn<V4>) {
        // Full: then no port can be claimed either, and the flow is refused.
        let _ = TWINS_IN4.insert(wire, twin, BPF_ANY as u64);
    }

    #[inline(always)]
    fn claim_twin(&self, wire: &Flow<V4>, twin: &TwinIn<V4>) -> bool {
        TWINS_IN4.insert(wire, twin, BPF_NOEXIST as u64).is_ok()
    }

    #[inline(always)]
    fn keep_twin_out(&self, socket: &Flow<V4>, wire: &Flow<V4>) -> bool {
        if let Some(used) = TWINS_USED.get_ptr_mut(0) {
            // SAFETY: a word in an array; everyone writes the same.
            unsafe { core::ptr::write_volatile(used, 1) };
        }
        let out = TwinOut { port: wire.tuple.sport, _pad: [0; 2] };
        if TWINS_OUT4.insert(socket, out, BPF_ANY as u64).is_err() {
            let _ = TWINS_IN4.remove(wire);
            return false;
        }
        true
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

#[inline(always)]
fn hints(class: Class) -> &'static LruHashMap<Flow<V4>, Hint<V4>> {
    match class {
        Class::LocalMember => &HINTS_LOCAL_MEMBER4,
        Class::LocalStranger => &HINTS_LOCAL_STRANGER4,
        Class::ForwardMember => &HINTS_FORWARD_MEMBER4,
        Class::ForwardStranger => &HINTS_FORWARD_STRANGER4,
    }
}
