//! A program again and again on the same packet, which BPF_PROG_TEST_RUN does not have: what a program has made of a packet
//! is what its next run begins with.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use super::{
    BPF_MAP_TYPE_PROG_ARRAY, BPF_MAP_UPDATE_ELEM, Instruction, Kind, Ran, array, bpf,
    instruction as i, load, run_repeatedly,
};

/// Writes the beginning of a packet as it was and goes on as the program.
pub struct Again {
    program: OwnedFd,
    frame: Vec<u8>,
    _programs: OwnedFd,
}

/// What a program may have changed of a packet: the headers up to here, in bytes.
const HEADERS: usize = 80;

impl Again {
    /// Of a program of this kind. Where the packet is longer, nothing behind its headers is put back.
    pub fn new(kind: Kind, program: &OwnedFd, frame: &[u8]) -> io::Result<Self> {
        let programs = array(BPF_MAP_TYPE_PROG_ARRAY, 4)?;
        let restore = load(kind, &restore(kind, frame, programs.as_raw_fd()))?;
        set(&programs, program)?;
        Ok(Self { program: restore, frame: frame.to_vec(), _programs: programs })
    }

    /// Runs it so often; the nanoseconds are those of one run, that of putting the packet back among them.
    ///
    /// `interface` is where a tc program finds the packet to be.
    pub fn run(&self, interface: Option<u32>, repeat: u32) -> io::Result<Ran> {
        run_repeatedly(&self.program, &mut self.frame.clone(), interface, repeat)
    }
}

/// Puts a program into an array of programs.
fn set(programs: &OwnedFd, program: &OwnedFd) -> io::Result<()> {
    #[repr(C)]
    struct Update {
        map_fd: u32,
        _pad: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let (key, value) = (0_u32, program.as_raw_fd());
    let mut update = Update {
        map_fd: programs.as_raw_fd() as u32,
        _pad: 0,
        key: (&raw const key) as u64,
        value: (&raw const value) as u64,
        flags: 0,
    };
    // SAFETY: the key and the value have the map's sizes and outlive the call.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut update) }.map(drop)
}

fn restore(kind: Kind, frame: &[u8], programs: i32) -> Vec<Instruction> {
    let (data, data_end) = kind.data();
    let words: Vec<[u8; 4]> = frame[..frame.len().min(HEADERS)].as_chunks().0.to_vec();
    let mut program = vec![
        i(0xbf, [6, 1], 0, 0),                                    // r6 = r1
        i(0x61, [2, 1], data, 0),                                 // r2 = data
        i(0x61, [3, 1], data_end, 0),                             // r3 = data_end
        i(0xbf, [4, 2], 0, 0),                                    // r4 = r2
        i(0x07, [4, 0], 0, 4 * words.len() as i32),               // r4 += the length
        i(0x2d, [4, 3], words.len() as i16 + marks(kind) + 5, 0), // if r4 > r3 goto the end
    ];
    for (number, word) in words.iter().enumerate() {
        // *(u32 *)(r2 + offset) = word
        program.push(i(0x62, [2, 0], 4 * number as i16, i32::from_ne_bytes(*word)));
    }
    if let Kind::SchedClassifier = kind {
        program.extend([
            i(0xb7, [5, 0], 0, 0), // r5 = 0
            i(0x63, [6, 5], 8, 0), // *(u32 *)(r6 + mark) = r5
        ]);
    }
    program.extend([
        i(0xbf, [1, 6], 0, 0),           // r1 = r6
        i(0x18, [2, 1], 0, programs),    // r2 = the array, in two slots
        i(0x00, [0, 0], 0, 0),           //
        i(0xb7, [3, 0], 0, 0),           // r3 = 0
        i(0x85, [0, 0], 0, 12),          // bpf_tail_call
        i(0xb7, [0, 0], 0, kind.pass()), // the end: r0 = pass
        i(0x95, [0, 0], 0, 0),           // exit
    ]);
    program
}

/// The instructions that take a mark off a packet, which says that it has been here before.
const fn marks(kind: Kind) -> i16 {
    match kind {
        Kind::SchedClassifier => 2,
        Kind::Xdp => 0,
    }
}
