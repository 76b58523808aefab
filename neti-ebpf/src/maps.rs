//! The maps, which each family has for its addresses.

use core::{arch::asm, mem::transmute};

use aya_ebpf::{
    EbpfContext,
    bindings::{BPF_F_NO_PREALLOC, bpf_sock},
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray},
};
use aya_log_ebpf::info;
use neti_common::{
    family::{Family, V4, V6},
    headers::Ip,
    maps::{
        CLASS_WORDS, DROPS, DropKey, Dropped, Flow, Fragment, FragmentKey, Hint, MEMBERS_KEPT,
        Member, Path, RANGES_KEPT, Range, RangeKey, SLOT_SETS_WORDS, SUBJECTS_KEPT, Settings,
        SubjectKey, TwinIn, TwinOut, VLAN_WORDS, bloom,
        hops::{self, Hop},
        name::PROGRAMS,
    },
    tables::{Class, Place},
    verdict::Verdict,
};

const HINTS: u32 = 16_384;
const FRAGMENTS: u32 = 8_192;
const TWINS: u32 = 8_192;
/// In the maps that the daemon changes as a whole: it writes the slot that is not in force.
const SLOTS: u32 = 2;

#[map(name = "settings_slot")]
pub static SETTINGS_SLOT: Array<u32> = Array::with_max_entries(1, 0);
#[map(name = "classes")]
pub static CLASSES: Array<u64> = Array::with_max_entries(SLOTS * CLASS_WORDS, 0);
#[map(name = "sets")]
pub static SETS: Array<u64> = Array::with_max_entries(SLOTS * SLOT_SETS_WORDS, 0);
#[map(name = "subjects")]
pub static SUBJECTS: HashMap<SubjectKey, u32> =
    HashMap::with_max_entries(SLOTS * SUBJECTS_KEPT, BPF_F_NO_PREALLOC);
#[map(name = "vlans")]
pub static VLANS: Array<u64> = Array::with_max_entries(VLAN_WORDS, 0);
#[map(name = "mixed")]
pub static MIXED: Array<u64> = Array::with_max_entries(2, 0);
#[map(name = "hops")]
pub static HOPS: Array<Hop> = Array::with_max_entries(hops::ENTRIES, 0);
#[map(name = "twins_used")]
pub static TWINS_USED: Array<u32> = Array::with_max_entries(1, 0);
/// The programs that others hand over to.
#[map(name = "xdp_programs")]
pub static XDP_PROGRAMS: ProgramArray = ProgramArray::with_max_entries(PROGRAMS, 0);
#[map(name = "tc_programs")]
pub static TC_PROGRAMS: ProgramArray = ProgramArray::with_max_entries(PROGRAMS, 0);

/// The same place, of which LLVM no longer knows what is there: what it reads again the verifier takes for any value, and
/// follows the rest of the program once and not once for each way there.
#[inline(always)]
fn reloaded<T>(mut place: *mut T) -> *mut T {
    // SAFETY: a register is moved to itself.
    unsafe { asm!("{place} = {place}", place = inout(reg) place, options(nostack)) };
    place
}

/// Room for the headers of one packet on each CPU, by [`Place`].
#[map(name = "headers4")]
static HEADERS4: PerCpuArray<Ip<V4>> = PerCpuArray::with_max_entries(2, 0);
#[map(name = "headers6")]
static HEADERS6: PerCpuArray<Ip<V6>> = PerCpuArray::with_max_entries(2, 0);

/// The maps of a family, and what the kernel calls its addresses.
pub trait KernelFamily: Family {
    fn settings() -> &'static Array<Settings<Self>>;
    fn members() -> &'static HashMap<Self::Addr, Member<Self>>;
    fn bloom() -> &'static Array<u64>;
    fn overlays() -> &'static HashMap<Self::Addr, Path<Self>>;
    fn ranges() -> &'static HashMap<RangeKey<Self>, Range>;
    fn drops() -> &'static LruHashMap<DropKey<Self>, Dropped>;
    fn hints(class: Class) -> &'static LruHashMap<Flow<Self>, Hint<Self>>;
    fn fragments() -> &'static LruHashMap<FragmentKey<Self>, Fragment<Self>>;
    fn twins_out() -> &'static HashMap<Flow<Self>, TwinOut>;
    fn twins_in() -> &'static HashMap<Flow<Self>, TwinIn<Self>>;

    /// [`Tables::place`]: only a header with IPv6 addresses is too large for the stack.
    fn place(place: Place, ip: &Ip<Self>) -> Option<&Ip<Self>>;

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
        $family:ident, $settings:literal, $members:literal, $bloom:literal, $overlays:literal, $ranges:literal, $drops:literal,
        hints $local_member:literal, $local_stranger:literal, $forward_member:literal, $forward_stranger:literal,
        $fragments:literal, twins $twins_out:literal, $twins_in:literal,
        place $place:ident $ip:ident $placed:expr, bound $socket:ident $bound:expr, logged $raw:ident $logged:expr
    ) => {
        const _: () = {
            type Addr = <$family as Family>::Addr;
            type Hints = LruHashMap<Flow<$family>, Hint<$family>>;

            #[map(name = $settings)]
            static SETTINGS: Array<Settings<$family>> = Array::with_max_entries(2, 0);
            // Elements are allocated when they are put: a small fleet pays for the empty buckets, 4 MiB a map, and not
            // for values that it does not have.
            #[map(name = $members)]
            static MEMBER: HashMap<Addr, Member<$family>> =
                HashMap::with_max_entries(MEMBERS_KEPT, BPF_F_NO_PREALLOC);
            #[map(name = $bloom)]
            static BLOOM: Array<u64> = Array::with_max_entries(bloom::WORDS, 0);
            #[map(name = $overlays)]
            static OVERLAYS: HashMap<Addr, Path<$family>> =
                HashMap::with_max_entries(MEMBERS_KEPT, BPF_F_NO_PREALLOC);
            #[map(name = $ranges)]
            static RANGES: HashMap<RangeKey<$family>, Range> =
                HashMap::with_max_entries(SLOTS * RANGES_KEPT, BPF_F_NO_PREALLOC);
            #[map(name = $drops)]
            static DROPPED: LruHashMap<DropKey<$family>, Dropped> =
                LruHashMap::with_max_entries(DROPS, 0);
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
                fn bloom() -> &'static Array<u64> {
                    &BLOOM
                }

                #[inline(always)]
                fn overlays() -> &'static HashMap<Addr, Path<Self>> {
                    &OVERLAYS
                }

                #[inline(always)]
                fn ranges() -> &'static HashMap<RangeKey<Self>, Range> {
                    &RANGES
                }

                #[inline(always)]
                fn drops() -> &'static LruHashMap<DropKey<Self>, Dropped> {
                    &DROPPED
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
                fn place($place: Place, $ip: &Ip<Self>) -> Option<&Ip<Self>> {
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
                    let [src, dst] = [src, dst].map(|$raw| $logged);
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
    V4, "settings4", "members4", "bloom4", "overlays4", "ranges4", "drops4",
    hints "hints_lm4", "hints_ls4", "hints_fm4", "hints_fs4",
    "fragments4", twins "twins_out4", "twins_in4",
    place place ip HEADERS4.get_ptr_mut(place as u32).map(|room| {
        // SAFETY: this CPU's own, and no other program runs on it before this one ends.
        unsafe {
            *room = *ip;
            &*reloaded(room)
        }
    }),
    bound socket (&raw const (*socket).src_ip4).read_volatile(), logged address address
}

family_maps! {
    V6, "settings6", "members6", "bloom6", "overlays6", "ranges6", "drops6",
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
    }, logged address {
        // SAFETY: bytes of the same number.
        unsafe { transmute::<<V6 as Family>::Addr, [u8; 16]>(address) }
    }
}
