//! Maps, as bytes.

use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use super::{bpf, pinned};

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_GET_NEXT_KEY: libc::c_long = 4;

/// A map whose values are read into a buffer of our own.
#[derive(Debug)]
pub struct Map {
    fd: OwnedFd,
    key_size: usize,
    value: Vec<u8>,
}

impl Map {
    /// One that is pinned.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(pinned(path)?)
    }

    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        let mut map = Self { fd, key_size: 0, value: Vec::new() };
        let size = |map: &Self, what| map.fact(what).map(|size| size as usize);
        map.key_size = size(&map, "key_size")?;
        map.value = vec![0; size(&map, "value_size")?];
        Ok(map)
    }

    /// The value of `key`, if it is there.
    pub fn get(&mut self, key: &[u8]) -> io::Result<Option<&[u8]>> {
        if key.len() != self.key_size {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut lookup = Element {
            map_fd: self.fd.as_raw_fd() as u32,
            _pad: 0,
            key: key.as_ptr() as u64,
            value: self.value.as_mut_ptr() as u64,
            flags: 0,
        };
        // SAFETY: the key and the room for the value are of the map's sizes, and outlive the call.
        let found = unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut lookup) };
        Ok(present(found)?.then_some(&self.value))
    }

    /// The keys that are there, of a map that does not change meanwhile.
    pub fn keys(&self) -> io::Result<BTreeSet<Vec<u8>>> {
        let mut keys = BTreeSet::new();
        let mut last: Option<Vec<u8>> = None;
        loop {
            let mut next = vec![0; self.key_size];
            let mut query = Element {
                map_fd: self.fd.as_raw_fd() as u32,
                _pad: 0,
                key: last.as_ref().map_or(0, |key| key.as_ptr() as u64),
                value: next.as_mut_ptr() as u64,
                flags: 0,
            };
            // SAFETY: both keys are of the map's size, and outlive the call.
            if !present(unsafe { bpf(BPF_MAP_GET_NEXT_KEY, &mut query) })? {
                return Ok(keys);
            }
            keys.insert(next.clone());
            last = Some(next);
        }
    }

    /// How many entries it has room for.
    pub fn room(&self) -> io::Result<u64> {
        self.fact("max_entries")
    }

    /// The memory it takes, in bytes.
    pub fn memory(&self) -> io::Result<u64> {
        self.fact("memlock")
    }

    /// What the kernel tells of it under this name in /proc.
    fn fact(&self, name: &str) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.fd.as_raw_fd()))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = line.and_then(|number| number.trim().parse().ok());
        number.ok_or_else(|| io::Error::other(format!("the kernel tells no {name} of a map")))
    }
}

/// What the calls about an element of a map take.
#[repr(C)]
struct Element {
    map_fd: u32,
    _pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Whether a call has found the element it was about.
fn present(result: io::Result<i32>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}
