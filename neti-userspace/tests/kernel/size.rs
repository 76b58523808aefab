//! What programs and maps take, in figures that are the same in every run: a change that needs more says so here, and why.

use std::{
    fs,
    net::Ipv4Addr,
    os::fd::{AsFd, AsRawFd},
};

use aya::maps::MapData;
use neti_common::{
    family::{Family, V4, V6},
    maps::{Member, OVERLAYS, Path, REALS},
};
use neti_userspace::{
    diff::diff,
    loader::{self, Options, pins::Pins},
    state::{FamilyState, MapState},
    store::{Store, kernel::KernelStore},
};

use crate::support::{Instance, may_run};

/// The programs, how many instructions the verifier may look at, and how many bytes of machine code there may be: a
/// quarter above what it is. The verifier takes most of the time in which a daemon starts.
const PROGRAMS: [(&str, u32, usize); 9] = [
    ("neti_egress", 199_000, 38_000),
    ("neti_egress6", 256_000, 41_000),
    ("neti_filter", 54_000, 33_000),
    ("neti_filter6", 116_000, 39_000),
    ("neti_filter_note", 48_000, 4_000),
    ("neti_guard", 1_100, 3_000),
    ("neti_ingress", 226_000, 49_000),
    ("neti_ingress6", 165_000, 60_000),
    ("neti_note", 22_000, 4_000),
];

#[tokio::test]
async fn programs_stay_small() {
    if !may_run("programs_stay_small") {
        return;
    }
    // The bounds are of this kernel and processor; with another verifier or compiler only far more is wrong.
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let slack = if kernel.starts_with("6.18.") && cfg!(target_arch = "x86_64") { 1 } else { 3 };
    let Instance(pins) = &Instance::new();
    let ebpf = loader::load(pins, Options { trace: false, xdp: true }).await.unwrap();
    let mut found = Vec::new();
    for (name, program) in ebpf.programs() {
        let info = program.info().unwrap();
        let verified = info.verified_instruction_count().expect("a kernel since 5.16");
        let jited = info.size_jitted() as usize;
        let bound = PROGRAMS.iter().find(|(known, ..)| *known == name);
        let (_, most, room) = bound.unwrap_or_else(|| panic!("{name} is not in the list"));
        let (most, room) = (most * slack, room * slack as usize);
        assert!(
            verified <= most,
            "{name}: the verifier looks at {verified} instructions, not {most}"
        );
        assert!(jited <= room, "{name}: {jited} bytes of machine code, not {room}");
        found.push(name.to_owned());
    }
    found.sort();
    assert_eq!(found, PROGRAMS.map(|(name, ..)| name));
}

/// Enough that what is there once does not count.
const MEMBERS: u32 = 20_000;

#[test]
fn a_member_takes_little_memory() {
    if !may_run("a_member_takes_little_memory") {
        return;
    }
    let Instance(pins) = &Instance::new();
    let _ebpf = loader::make_maps(pins, false).unwrap();
    let mut store = KernelStore::open(pins).unwrap();
    let full = MapState { v4: members(), v6: members(), ..MapState::empty() };
    let before = [memory::<V4>(pins), memory::<V6>(pins)];
    store.apply(&diff(&MapState::empty(), &full)).unwrap();
    let after = [memory::<V4>(pins), memory::<V6>(pins)];
    for (family, most, index) in [("IPv4", 300, 0), ("IPv6", 700, 1)] {
        let each = (after[index] - before[index]) / u64::from(MEMBERS);
        // An element is no smaller than its key and value.
        assert!((100..=most).contains(&each), "{family}: {each} bytes a member, not {most}");
    }
}

/// What the maps of members take, in bytes.
fn memory<F: Family>(pins: &Pins) -> u64 {
    let of = |name| {
        let map = MapData::from_pin(pins.map(name)).unwrap();
        let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
        let text = fs::read_to_string(path).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("memlock:")).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    of(F::MAPS.members) + of(F::MAPS.overlays)
}

/// Members with one address of each kind.
fn members<F: Family>() -> FamilyState<F> {
    let mut state = FamilyState::empty();
    for host in 1..=MEMBERS {
        let [real, overlay] = [0x0a00_0000, 0x6440_0000].map(|base| {
            let v4 = Ipv4Addr::from_bits(base + host);
            F::of(v4.into()).or(F::of(v4.to_ipv6_compatible().into())).unwrap()
        });
        let mut overlays = [F::UNSPECIFIED; OVERLAYS];
        overlays[0] = overlay;
        let mut reals = [F::UNSPECIFIED; REALS];
        reals[0] = real;
        let member = Member::<F> {
            real,
            overlays,
            host,
            generation: 1,
            role: 0,
            overlay_count: 1,
            flags: 0,
            _pad: [0; 2],
        };
        let path = Path {
            overlay,
            real,
            reals,
            primary: overlay,
            host,
            generation: 1,
            flags: 0,
            _pad: [0; 7],
        };
        state.members.insert(real, member);
        state.overlays.insert(overlay, path);
    }
    state
}
