//! The calls of bpf(2) that it takes to look into a map which another process has pinned, to run a program which it has
//! loaded on a packet of ours, and to attach a small one in its place.

mod again;
mod facts;
mod map;
mod sieve;

pub use self::{
    again::Again,
    facts::{Facts, count_runs, facts},
    map::Map,
    sieve::Sieve,
};

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// `enum bpf_cmd`.
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;

/// `enum bpf_prog_type`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Kind {
    SchedClassifier = 3,
    Xdp = 6,
}

/// What a program did with a packet.
pub struct Ran {
    pub returned: u32,
    pub nanoseconds: u32,
}

impl Kind {
    /// What a program returns to let a packet pass, as if it were not there: TCX_NEXT, XDP_PASS.
    const fn pass(self) -> i32 {
        match self {
            Self::SchedClassifier => -1,
            Self::Xdp => 2,
        }
    }

    /// What it returns to drop one: TC_ACT_SHOT, XDP_DROP.
    pub const fn drop(self) -> u32 {
        match self {
            Self::SchedClassifier => 2,
            Self::Xdp => 1,
        }
    }

    /// Where its context has the packet's beginning and end: `struct __sk_buff`, `struct xdp_md`.
    const fn data(self) -> (i16, i16) {
        match self {
            Self::SchedClassifier => (76, 80),
            Self::Xdp => (0, 4),
        }
    }
}

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    /// The destination in the lower half, the source in the upper one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// An instruction that works on the registers `to` and `from`.
const fn instruction(code: u8, [to, from]: [u8; 2], offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: from << 4 | to, offset, immediate }
}

/// A program that lets everything pass and does nothing else.
pub fn empty_program(kind: Kind) -> io::Result<OwnedFd> {
    // `r0 = pass; exit`.
    load(kind, &[instruction(0xb7, [0, 0], 0, kind.pass()), instruction(0x95, [0, 0], 0, 0)])
}

fn load(kind: Kind, instructions: &[Instruction]) -> io::Result<OwnedFd> {
    /// With what stands between left out.
    #[repr(C)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        _log: [u32; 5],
        prog_flags: u32,
        _name: [u32; 5],
        expected_attach_type: u32,
    }
    // BPF_F_XDP_HAS_FRAGS, BPF_XDP: as neti's own, which it must be like to be called by one of these.
    let (prog_flags, expected_attach_type) = match kind {
        Kind::SchedClassifier => (0, 0),
        Kind::Xdp => (1 << 5, 37),
    };
    let mut load = Load {
        prog_type: kind as u32,
        insn_cnt: instructions.len() as u32,
        insns: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        _log: [0; 5],
        prog_flags,
        _name: [0; 5],
        expected_attach_type,
    };
    // SAFETY: the instructions and the licence outlive the call.
    unsafe { bpf(BPF_PROG_LOAD, &mut load) }.map(owned)
}

/// `enum bpf_map_type`.
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_PROG_ARRAY: u32 = 3;

/// An array of one element, whose value has so many bytes.
fn array(map_type: u32, value_size: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Create {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
    }
    let mut create = Create { map_type, key_size: 4, value_size, max_entries: 1 };
    // SAFETY: plain integers.
    unsafe { bpf(BPF_MAP_CREATE, &mut create) }.map(owned)
}

/// `BPF_OBJ_GET_INFO_BY_FD`'s attribute.
#[repr(C)]
struct Query {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The program of the link that is pinned at `path`.
pub fn program_of_link(path: &Path) -> io::Result<OwnedFd> {
    /// The beginning of `struct bpf_link_info`.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        prog_id: u32,
        _pad: u32,
    }
    #[repr(C)]
    struct ById {
        prog_id: u32,
        next_id: u32,
        open_flags: u32,
    }
    let link = pinned(path)?;
    let mut info = Info::default();
    let mut query = Query {
        bpf_fd: link.as_raw_fd() as u32,
        info_len: size_of::<Info>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: the kernel writes at most `info_len` bytes to `info`, which outlives the call.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut query) }?;
    let mut by_id = ById { prog_id: info.prog_id, next_id: 0, open_flags: 0 };
    // SAFETY: plain integers.
    unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut by_id) }.map(owned)
}

/// Runs a program once on `frame`, which becomes what the program makes of it.
///
/// `interface` is where a tc program finds the packet to be.
pub fn run(program: &OwnedFd, frame: &mut [u8], interface: Option<u32>) -> io::Result<Ran> {
    run_repeatedly(program, frame, interface, 1)
}

/// The same so often in a row, each time on what the run before has left; the nanoseconds are those of one run.
pub fn run_repeatedly(
    program: &OwnedFd,
    frame: &mut [u8],
    interface: Option<u32>,
    repeat: u32,
) -> io::Result<Ran> {
    /// `ifindex` is the last that the kernel takes of `struct __sk_buff` here.
    #[repr(C)]
    #[derive(Default)]
    struct Context {
        before: [u32; 10],
        ifindex: u32,
    }
    #[repr(C)]
    #[derive(Default)]
    struct TestRun {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx_size_in: u32,
        ctx_size_out: u32,
        ctx_in: u64,
        ctx_out: u64,
    }
    let context = Context { ifindex: interface.unwrap_or_default(), ..Context::default() };
    let mut test = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: frame.len() as u32,
        data_size_out: frame.len() as u32,
        // The kernel copies the packet in before it copies it out.
        data_in: frame.as_ptr() as u64,
        data_out: frame.as_mut_ptr() as u64,
        repeat,
        ..TestRun::default()
    };
    if interface.is_some() {
        test.ctx_size_in = size_of::<Context>() as u32;
        test.ctx_in = std::ptr::from_ref(&context) as u64;
    }
    // SAFETY: the frame and the context are live and of the sizes given.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut test) }?;
    Ok(Ran { returned: test.retval, nanoseconds: test.duration })
}

/// What is pinned at `path`.
fn pinned(path: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Get {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let pathname = CString::new(path.as_os_str().as_bytes())?;
    let mut get = Get { pathname: pathname.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: the path is a C string that outlives the call.
    unsafe { bpf(BPF_OBJ_GET, &mut get) }.map(owned)
}

fn owned(fd: i32) -> OwnedFd {
    // SAFETY: only descriptors that bpf(2) has just returned come here; nobody else has them.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// # Safety
///
/// `attribute` is what the kernel expects for `command`, and what it points to outlives the call.
unsafe fn bpf<T>(command: libc::c_long, attribute: &mut T) -> io::Result<i32> {
    let attribute = std::ptr::from_mut(attribute);
    // SAFETY: as the caller promises; the size passed is that of the attribute.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attribute, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
