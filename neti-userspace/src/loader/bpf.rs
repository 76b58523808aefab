//! The calls of bpf(2) that aya does not offer: batches of map elements, where a link is attached,
//! and detaching it.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    thread,
    time::Duration,
};

use aya::{
    Pod,
    maps::{MapData, MapError},
};

/// `enum bpf_cmd`.
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_long = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_long = 26;
const BPF_MAP_DELETE_BATCH: libc::c_long = 27;
const BPF_LINK_DETACH: libc::c_long = 34;

/// `union bpf_attr`'s struct `batch`.
#[repr(C)]
#[derive(Default)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    /// In: how many elements. Out: how many of them were processed.
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Elements of one call of [`lookup_all`].
const LOOKUPS: usize = 4096;

/// All elements of a hash map. One that changes meanwhile may be missed or be there twice.
pub fn lookup_all<K: Pod, V: Pod>(map: &MapData) -> io::Result<Vec<(K, V)>> {
    let mut all = Vec::new();
    let mut room = LOOKUPS;
    // Of a hash map: the bucket to go on with.
    let mut next: Option<u32> = None;
    loop {
        let mut keys = Vec::<K>::with_capacity(room);
        let mut values = Vec::<V>::with_capacity(room);
        let mut after = 0u32;
        let mut batch = Batch {
            in_batch: next.as_ref().map_or(0, |bucket| std::ptr::from_ref(bucket) as u64),
            out_batch: std::ptr::from_mut(&mut after) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            ..Batch::of(map, room)
        };
        let ended = match batch.call(BPF_MAP_LOOKUP_BATCH) {
            Ok(()) => false,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
            // A bucket holds more elements than there is room for.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && batch.count == 0 => {
                room *= 2;
                continue;
            }
            Err(error) => return Err(error),
        };
        let count = room.min(batch.count as usize);
        // SAFETY: the kernel has written so many keys and values, of which any bytes are valid.
        unsafe {
            keys.set_len(count);
            values.set_len(count);
        }
        all.extend(keys.into_iter().zip(values));
        if ended {
            return Ok(all);
        }
        next = Some(after);
    }
}

/// The `count` elements of an array from `first` on, all of which it must have.
pub fn lookup_array<V: Pod>(map: &MapData, first: u32, count: usize) -> io::Result<Vec<V>> {
    // The kernel goes on behind this one, and behind one that no array has at the beginning
    // (`array_map_get_next_key`).
    let before = first.wrapping_sub(1);
    let mut keys = Vec::<u32>::with_capacity(count);
    let mut values = Vec::<V>::with_capacity(count);
    let mut after = 0u32;
    let mut batch = Batch {
        in_batch: std::ptr::from_ref(&before) as u64,
        out_batch: std::ptr::from_mut(&mut after) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        ..Batch::of(map, count)
    };
    batch.call(BPF_MAP_LOOKUP_BATCH)?;
    // SAFETY: the kernel has written so many values, of which any bytes are valid.
    unsafe { values.set_len(count.min(batch.count as usize)) };
    Ok(values)
}

/// Whether an element was not there, which is as well as removed.
pub fn is_absent(error: &MapError) -> bool {
    matches!(error, MapError::KeyNotFound) || is_errno(error, libc::ENOENT)
}

/// So many elements or fewer are put by one thread: some 50 ms.
const PART: usize = 65_536;
/// Threads that put more.
const THREADS: usize = 4;

/// Inserts or overwrites all `keys` with `values`. After an error others than those before it may be there.
pub fn update_batch<K: Pod, V: Pod>(map: &MapData, keys: &[K], values: &[V]) -> io::Result<()> {
    if keys.len() != values.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    let part = keys.len().div_ceil(threads).max(PART);
    let parts = keys.chunks(part).zip(values.chunks(part)).map(|(keys, values)| Batch {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        ..Batch::of(map, keys.len())
    });
    let mut parts: Vec<Batch> = parts.collect();
    let Some((last, others)) = parts.split_last_mut() else { return Ok(()) };
    thread::scope(|scope| {
        let put = |batch: &mut Batch| batch.call(BPF_MAP_UPDATE_BATCH);
        let others: Vec<_> = others.iter_mut().map(|one| scope.spawn(move || put(one))).collect();
        let panicked = |_| Err(io::Error::other("putting elements panicked"));
        let last = put(last);
        others.into_iter().fold(last, |so_far, one| {
            let one = one.join().unwrap_or_else(panicked);
            so_far.and(one)
        })
    })
}

/// Removes all `keys`; those that are not there are passed over.
pub fn delete_batch<K: Pod>(map: &MapData, keys: &[K]) -> io::Result<()> {
    let mut left = keys;
    while !left.is_empty() {
        let mut batch = Batch { keys: left.as_ptr() as u64, ..Batch::of(map, left.len()) };
        match batch.call(BPF_MAP_DELETE_BATCH) {
            Ok(()) => break,
            // The kernel stops at a key that is not there and says how many it removed before it.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                left = left.get(batch.count as usize + 1..).unwrap_or_default();
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns when every packet that was with a program when it was called has left it: programs run under
/// RCU, whose readers the kernel waits for here (`synchronize_rcu` in membarrier(2)). Where it
/// cannot, because some CPUs have no tick, a time passes in which any packet leaves.
pub fn wait_for_packets() {
    const MEMBARRIER_CMD_GLOBAL: libc::c_int = 1;
    const PATIENCE: Duration = Duration::from_millis(20);
    // SAFETY: no memory is passed.
    let waited = unsafe { libc::syscall(libc::SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) };
    if waited != 0 {
        thread::sleep(PATIENCE);
    }
}

impl Batch {
    fn of(map: &MapData, count: usize) -> Self {
        Self { count: count as u32, map_fd: map.fd().as_fd().as_raw_fd() as u32, ..Self::default() }
    }

    fn call(&mut self, command: libc::c_long) -> io::Result<()> {
        // SAFETY: the attribute and the slices it points to outlive the call, and the kernel knows
        // the sizes of keys and values from the map, whose shape `shape::check` has compared.
        unsafe { bpf(command, self) }.map(|_| ())
    }
}

/// The interface index that the tcx or XDP link pinned at `path` is attached to; 0 once the interface
/// is gone. The index means something in the link's network namespace only.
pub fn link_interface(path: &Path) -> io::Result<u32> {
    /// The beginning of `struct bpf_link_info`; tcx and XDP both have the index first.
    #[repr(C)]
    #[derive(Default)]
    struct Info {
        kind: u32,
        id: u32,
        prog_id: u32,
        _pad: u32,
        ifindex: u32,
        attach_type: u32,
    }
    #[repr(C)]
    struct Query {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    let link = open(path)?;
    let mut info = Info::default();
    let mut query = Query {
        bpf_fd: link.as_raw_fd() as u32,
        info_len: size_of::<Info>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: the kernel writes at most `info_len` bytes to `info`, which outlives the call.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut query) }?;
    Ok(info.ifindex)
}

/// Detaches the link pinned at `path` before it returns; when a link merely loses its pin, the kernel
/// detaches it some time later.
pub fn detach_link(path: &Path) -> io::Result<()> {
    #[repr(C)]
    struct Detach {
        link_fd: u32,
    }
    let link = open(path)?;
    let mut detach = Detach { link_fd: link.as_raw_fd() as u32 };
    // SAFETY: the descriptor is open and the attribute has no pointers.
    unsafe { bpf(BPF_LINK_DETACH, &mut detach) }.map(|_| ())
}

/// Opens what is pinned at `path`.
fn open(path: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Get {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let pathname = CString::new(path.as_os_str().as_bytes())?;
    let mut get = Get { pathname: pathname.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    // SAFETY: the path is a C string that outlives the call.
    let fd = unsafe { bpf(BPF_OBJ_GET, &mut get) }?;
    // SAFETY: BPF_OBJ_GET returned a descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
///
/// `attribute` is what the kernel expects for `command`, and what it points to outlives the call.
unsafe fn bpf<T>(command: libc::c_long, attribute: &mut T) -> io::Result<RawFd> {
    let attribute = std::ptr::from_mut(attribute);
    // SAFETY: as the caller promises; the size passed is that of the attribute.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attribute, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}

/// Whether an aya error is the kernel's `errno`.
pub fn is_errno(error: &MapError, errno: i32) -> bool {
    matches!(error, MapError::SyscallError(error) if error.io_error.raw_os_error() == Some(errno))
}
