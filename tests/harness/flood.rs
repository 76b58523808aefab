//! A flood: packets from very many sources, none of which exists, put on a wire one after the other.

mod frame;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{JoinHandle, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};

use self::frame::Frame;
use crate::{
    family::Family,
    netns::Netns,
    packets::{Link, link_address},
    process::prefer,
    socket::set_option,
    topology::{Site, UPLINK},
};

/// How many sources there are.
pub const SOURCES: u32 = 1 << 20;
/// Packets that the kernel takes in one call: few enough that no queue on their way is full before it works them off, and
/// as many of each kind.
const BATCH: usize = 60;

/// What begins all sources in 32 bits, and which of these bits they share.
pub fn prefix(family: Family) -> ([u8; 4], [u8; 4]) {
    match family {
        Family::V4 => ([96, 0, 0, 0], [255, 240, 0, 0]),
        Family::V6 => ([0x3f, 0xff, 0x0f, 0x10], [255; 4]),
    }
}

/// A source, by a number below [`SOURCES`].
fn source(family: Family, number: u32) -> IpAddr {
    let (prefix, _) = prefix(family);
    let prefix = u32::from_be_bytes(prefix);
    match family {
        Family::V4 => Ipv4Addr::from_bits(prefix | number).into(),
        Family::V6 => Ipv6Addr::from_bits(u128::from(prefix) << 96 | u128::from(number)).into(),
    }
}

/// What a packet looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection that begins.
    Syn,
    /// A segment of a connection that there is not.
    Ack,
    /// A question.
    Udp,
}

/// Whom it is for, and of what.
#[derive(Clone, Debug)]
pub struct Flood {
    /// Where it is put on the wire.
    pub from: Netns,
    pub interface: String,
    pub link: Link,
    pub to: IpAddr,
    /// In turn.
    pub kinds: Vec<Kind>,
    /// Packets per second; `None` for as many as the wire takes.
    pub rate: Option<u32>,
}

impl Flood {
    /// Of one host by another on its link; it is still to be said of what, and how fast.
    pub fn between(from: &Site, to: &Site, family: Family) -> Result<Self> {
        Ok(Self {
            from: from.netns.clone(),
            interface: UPLINK.to_owned(),
            link: Link { from: from.netns.mac(UPLINK)?, to: to.netns.mac(UPLINK)? },
            to: to.real(family),
            kinds: Vec::new(),
            rate: None,
        })
    }

    /// Sends so many packets (in batches of 60), and gives how many of them the first device took. All of the first [`SOURCES`] differ in
    /// their source.
    pub fn send(&self, packets: u64) -> Result<u64> {
        let taken = AtomicU64::new(0);
        self.emit(&taken, |sent| sent < packets)?;
        Ok(taken.into_inner())
    }

    /// Sends on and on beside the caller.
    pub fn start(&self) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let taken = Arc::new(AtomicU64::new(0));
        let (flood, stopped, counted) = (self.clone(), Arc::clone(&stop), Arc::clone(&taken));
        let emit = move || flood.emit(&counted, |_| !stopped.load(Ordering::Relaxed));
        Running { stop, taken, thread: Some(std::thread::spawn(emit)) }
    }

    fn emit(&self, taken: &AtomicU64, goes_on: impl Fn(u64) -> bool) -> Result<()> {
        let what = || format!("flood {} from {}", self.to, self.from.name());
        // A flood does not wait until its victim has time.
        prefer(20).with_context(what)?;
        let index = self.from.index(&self.interface)?;
        let socket = self.from.run(|| open(index)).with_context(what)?;
        let kinds = self.kinds.iter().cycle().take(BATCH);
        let mut batch = Batch::new(kinds.map(|kind| Frame::new(*kind, &self.link, self.to)));
        let family = Family::of(self.to);
        let (begun, mut sent) = (Instant::now(), 0);
        while goes_on(sent) {
            for frame in &mut batch.frames {
                // Odd, so that it takes every number below a power of two in its turn, and neighbours are far apart.
                let number = (sent as u32).wrapping_mul(0x9e37_79b1);
                frame.set(source(family, number % SOURCES), (number >> 16) as u16 | 1024);
                sent += 1;
            }
            taken.fetch_add(batch.send(&socket).with_context(what)?, Ordering::Relaxed);
            if let Some(rate) = self.rate {
                let due = begun + Duration::from_secs_f64(sent as f64 / f64::from(rate));
                sleep(due.saturating_duration_since(Instant::now()));
            }
        }
        Ok(())
    }
}

/// A flood that goes on until it is stopped or dropped.
#[derive(Debug)]
pub struct Running {
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Running {
    /// How many packets the first device has taken.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Ends it, and gives how many packets the first device took.
    pub fn stop(mut self) -> Result<u64> {
        self.halt()?;
        Ok(self.taken())
    }

    fn halt(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take();
        thread.map_or(Ok(()), |thread| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.halt();
    }
}

/// A socket that sends frames past the interface's queue, and receives none.
fn open(index: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.bind(&link_address(index, 0))?;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, &1_i32.to_ne_bytes())?;
    Ok(socket)
}

/// Frames, and what sendmmsg(2) needs to know of them.
struct Batch {
    frames: Vec<Frame>,
    _vectors: Vec<libc::iovec>,
    messages: Vec<libc::mmsghdr>,
}

impl Batch {
    fn new(frames: impl Iterator<Item = Frame>) -> Self {
        let mut frames: Vec<Frame> = frames.collect();
        let mut vectors: Vec<libc::iovec> = frames.iter_mut().map(Frame::vector).collect();
        let message = |vector: &mut libc::iovec| {
            // SAFETY: all zeros are a valid message header.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            message
        };
        let messages = vectors.iter_mut().map(message).collect();
        Self { frames, _vectors: vectors, messages }
    }

    /// Sends all frames; how many the device took.
    fn send(&mut self, socket: &Socket) -> io::Result<u64> {
        let (mut next, mut taken) = (0, 0);
        while let Some(rest) = self.messages.get_mut(next..)
            && !rest.is_empty()
        {
            // SAFETY: the messages lead to vectors and frames that live as long as this batch, and do not move in it.
            let sent = unsafe {
                libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0)
            };
            match usize::try_from(sent) {
                Ok(sent) => {
                    next += sent;
                    taken += sent as u64;
                }
                Err(_) => {
                    let error = io::Error::last_os_error();
                    if error.raw_os_error() != Some(libc::ENOBUFS) {
                        return Err(error);
                    }
                    // A queue is full: this one is lost, as on any wire.
                    next += 1;
                }
            }
        }
        Ok(taken)
    }
}
