//! Frames: put on a wire, taken off a wire, and built.

mod addresses;
mod fragments;
mod link;

use std::{
    io::{self, Read},
    mem::{MaybeUninit, size_of, zeroed},
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use etherparse::{NetSlice, SlicedPacket};
use socket2::{Domain, SockAddr, Socket, Type};

pub use self::{
    addresses::{addresses, carries_overlay},
    fragments::{atomic, cut},
    link::Link,
};
use crate::netns::Netns;

/// An interface opened for whole frames (`AF_PACKET`).
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
}

impl Wire {
    /// Opens `interface` of `netns`.
    pub fn open(netns: &Netns, interface: &str) -> Result<Self> {
        let index = netns.index(interface)?;
        let open = || -> io::Result<Socket> {
            // Protocol 0 receives nothing until bind, so no frame of another interface gets in between.
            let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
            socket.bind(&link_address(index, libc::ETH_P_ALL as u16))?;
            // Room for a burst of large frames while the reader waits for a processor.
            let _ = socket.set_recv_buffer_size(16 << 20);
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            Ok(socket)
        };
        let socket =
            netns.run(open).with_context(|| format!("open {interface} of {}", netns.name()))?;
        Ok(Self { socket })
    }

    /// Puts a frame on the wire.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        self.socket
            .send(frame)
            .with_context(|| format!("send a frame of {} bytes", frame.len()))?;
        Ok(())
    }

    /// The next frame, in either direction; nothing if none comes for 50 ms.
    pub fn receive(&mut self) -> Option<Bytes> {
        let mut buffer = vec![0; 1 << 17];
        match self.socket.read(&mut buffer) {
            // A copy: the buffer has room for the largest frame, and captures keep many.
            Ok(length) => Some(Bytes::copy_from_slice(&buffer[..length])),
            Err(_) => None,
        }
    }

    /// Reads the next frame, in either direction, into a buffer; its length, or nothing if none is there.
    pub fn try_receive(&self, buffer: &mut [u8]) -> Option<usize> {
        // SAFETY: bytes that are initialised stay so, whatever is read into them.
        let buffer = unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) };
        self.socket.recv_with_flags(buffer, libc::MSG_DONTWAIT).ok()
    }

    /// Collects frames beside the test until [`Capture::finish`].
    pub fn capture(mut self) -> Capture {
        let frames = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (into, stopped) = (Arc::clone(&frames), Arc::clone(&stop));
        let collect = move || {
            // Once stopped, what was on the wire by then is still taken, but not what never ends.
            let mut rest = AFTERWARDS;
            while rest > 0 {
                let last = stopped.load(Ordering::Acquire);
                match self.receive() {
                    Some(frame) => into.lock().unwrap_or_else(|e| e.into_inner()).push(frame),
                    None if last => return,
                    None => {}
                }
                rest -= usize::from(last);
            }
        };
        Capture { frames, stop, thread: Some(std::thread::spawn(collect)) }
    }
}

/// Frames that a capture takes after it was stopped: more than a socket's buffer holds.
const AFTERWARDS: usize = 10_000;

/// Frames being collected.
#[derive(Debug)]
pub struct Capture {
    frames: Arc<Mutex<Vec<Bytes>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// What has come so far.
    pub fn frames(&self) -> Vec<Bytes> {
        self.frames.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Everything that came.
    pub fn finish(mut self) -> Vec<Bytes> {
        self.halt();
        self.frames()
    }

    fn halt(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.halt();
    }
}

/// Source and destination of an IP frame.
pub fn ends(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match SlicedPacket::from_ethernet(frame).ok()?.net? {
        NetSlice::Ipv4(ip) => {
            Some((ip.header().source_addr().into(), ip.header().destination_addr().into()))
        }
        NetSlice::Ipv6(ip) => {
            Some((ip.header().source_addr().into(), ip.header().destination_addr().into()))
        }
        _ => None,
    }
}

/// Destination hardware address of a frame.
pub fn destination_mac(frame: &[u8]) -> Option<[u8; 6]> {
    frame.get(..6)?.try_into().ok()
}

/// `frame` with VLAN tags (TPID 0x8100) of these ids between its addresses and its EtherType.
pub fn tagged(frame: &[u8], ids: &[u16]) -> Vec<u8> {
    let mut out = frame[..12].to_vec();
    for id in ids {
        out.extend([0x81, 0x00]);
        out.extend(id.to_be_bytes());
    }
    out.extend(&frame[12..]);
    out
}

/// An interface, for a socket that receives frames of this protocol there; of none if it is 0.
pub(crate) fn link_address(index: u32, protocol: u16) -> SockAddr {
    // SAFETY: all zeros are a valid sockaddr_storage.
    let mut storage: socket2::SockAddrStorage = unsafe { zeroed() };
    let link = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET.cast_unsigned() as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: sockaddr_storage is large enough and aligned for every socket address.
    unsafe { std::ptr::write((&raw mut storage).cast::<libc::sockaddr_ll>(), link) };
    // SAFETY: the storage holds a sockaddr_ll, and the length is its length.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) }
}
