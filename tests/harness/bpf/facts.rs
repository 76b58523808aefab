//! What the kernel counts of programs.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use super::{BPF_OBJ_GET_INFO_BY_FD, Query, bpf, owned};

const BPF_ENABLE_STATS: libc::c_long = 32;

/// What the kernel knows of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Bytes of machine code.
    pub jited: u32,
    /// Instructions that the verifier has looked at.
    pub verified: u32,
    /// How often it has run while [`count_runs`] held, and how long in all, in nanoseconds.
    pub runs: u64,
    pub running: u64,
}

/// What the kernel knows of a program.
pub fn facts(program: &OwnedFd) -> io::Result<Facts> {
    /// `struct bpf_prog_info` up to `verified_insns`, with what stands between left out.
    #[repr(C)]
    struct Info {
        kind: [u32; 4],
        jited: u32,
        _code: [u32; 43],
        running: u64,
        runs: u64,
        _recursions: u64,
        verified: u32,
        _pad: u32,
    }
    // SAFETY: integers only.
    let mut info: Info = unsafe { std::mem::zeroed() };
    let mut query = Query {
        bpf_fd: program.as_raw_fd() as u32,
        info_len: size_of::<Info>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: the kernel writes at most `info_len` bytes to `info`, which outlives the call.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut query) }?;
    let Info { jited, verified, runs, running, .. } = info;
    Ok(Facts { jited, verified, runs, running })
}

/// Has the kernel count and time the runs of all programs, until the descriptor is dropped.
pub fn count_runs() -> io::Result<OwnedFd> {
    // `BPF_STATS_RUN_TIME`.
    let mut run_time = 0_u32;
    // SAFETY: a plain integer.
    unsafe { bpf(BPF_ENABLE_STATS, &mut run_time) }.map(owned)
}
