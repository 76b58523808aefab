//! The least that a filter can do: a program that drops what comes from one prefix, and counts it.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context, Result};

use super::{
    BPF_MAP_TYPE_ARRAY, Instruction, Kind, Map, array, bpf, instruction as i, load, owned,
};
use crate::{family::Family, netns::Netns};

const BPF_LINK_CREATE: libc::c_long = 28;

/// The program where it is attached, until dropped.
#[derive(Debug)]
pub struct Sieve {
    _link: OwnedFd,
    count: Map,
}

impl Sieve {
    /// On what enters by an interface, natively in XDP or by tcx. It drops packets of `family` whose source has `prefix` in
    /// its first 32 bits, as far as `mask` has ones.
    pub fn on(
        netns: &Netns,
        interface: &str,
        kind: Kind,
        family: Family,
        (prefix, mask): ([u8; 4], [u8; 4]),
    ) -> Result<Self> {
        let what = || format!("drop a prefix on {interface} of {}", netns.name());
        let index = netns.index(interface)?;
        let attach = || -> io::Result<Self> {
            let count = array(BPF_MAP_TYPE_ARRAY, 8)?;
            let program = load(kind, &program(kind, family, prefix, mask, count.as_raw_fd()))?;
            Ok(Self { _link: attach(kind, &program, index)?, count: Map::new(count)? })
        };
        netns.run(attach).with_context(what)
    }

    /// Packets that it has dropped.
    pub fn dropped(&mut self) -> Result<u64> {
        let count = self.count.get(&[0; 4])?.and_then(|bytes| bytes.try_into().ok());
        count.map(u64::from_ne_bytes).context("the map has a count")
    }
}

/// Attaches a program for as long as the link that it gives.
fn attach(kind: Kind, program: &OwnedFd, interface: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Create {
        prog_fd: u32,
        target_ifindex: u32,
        attach_type: u32,
        flags: u32,
    }
    let (attach_type, flags) = match kind {
        // BPF_TCX_INGRESS.
        Kind::SchedClassifier => (46, 0),
        // BPF_XDP, XDP_FLAGS_DRV_MODE.
        Kind::Xdp => (37, 1 << 2),
    };
    let mut create = Create {
        prog_fd: program.as_raw_fd() as u32,
        target_ifindex: interface,
        attach_type,
        flags,
    };
    // SAFETY: plain integers.
    unsafe { bpf(BPF_LINK_CREATE, &mut create) }.map(owned)
}

fn program(
    kind: Kind,
    family: Family,
    prefix: [u8; 4],
    mask: [u8; 4],
    count: i32,
) -> Vec<Instruction> {
    let (data, data_end) = kind.data();
    let (ethertype, source) = match family {
        Family::V4 => ([0x08, 0x00], 26),
        Family::V6 => ([0x86, 0xdd], 22),
    };
    // Words of the packet are compared as they lie in memory.
    let ethertype = i32::from(u16::from_ne_bytes(ethertype));
    // With BPF_PSEUDO_MAP_VALUE, r1 points to the array's value itself.
    vec![
        i(0x61, [2, 1], data, 0),                       //  0: r2 = data
        i(0x61, [3, 1], data_end, 0),                   //  1: r3 = data_end
        i(0xbf, [4, 2], 0, 0),                          //  2: r4 = r2
        i(0x07, [4, 0], 0, i32::from(source) + 4),      //  3: r4 += where the prefix ends
        i(0x2d, [4, 3], 11, 0),                         //  4: if r4 > r3 goto 16
        i(0x69, [5, 2], 12, 0),                         //  5: r5 = *(u16 *)(r2 + 12)
        i(0x55, [5, 0], 9, ethertype),                  //  6: if r5 != ethertype goto 16
        i(0x61, [5, 2], source, 0),                     //  7: r5 = *(u32 *)(r2 + source)
        i(0x54, [5, 0], 0, i32::from_ne_bytes(mask)),   //  8: w5 &= mask
        i(0x56, [5, 0], 6, i32::from_ne_bytes(prefix)), //  9: if w5 != prefix goto 16
        i(0x18, [1, 2], 0, count),                      // 10: r1 = &count, in two slots
        i(0x00, [0, 0], 0, 0),                          // 11:
        i(0xb7, [2, 0], 0, 1),                          // 12: r2 = 1
        i(0xdb, [1, 2], 0, 0),                          // 13: lock *(u64 *)(r1 + 0) += r2
        i(0xb7, [0, 0], 0, kind.drop().cast_signed()),  // 14: r0 = drop
        i(0x95, [0, 0], 0, 0),                          // 15: exit
        i(0xb7, [0, 0], 0, kind.pass()),                // 16: r0 = pass
        i(0x95, [0, 0], 0, 0),                          // 17: exit
    ]
}
