//! Frames: put on a wire, taken off a wire, and built.

use std::{
    io::{self, Read},
    mem::{size_of, zeroed},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use bytes::Bytes;
use etherparse::{IpHeaders, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket};
use ipnet::IpNet;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::{family::Family, netns::Netns};

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
            socket.bind(&link_address(index))?;
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

/// Whether an address inside `range` stands anywhere in the frame's headers: in ARP and neighbour discovery, IPv4 and
/// IPv6, the packet inside an ICMP error, IP options and extension headers. Payload is not looked at: random data holds
/// any four bytes.
pub fn carries_overlay(frame: &[u8], range: IpNet) -> bool {
    addresses(frame).iter().any(|address| range.contains(address))
}

/// Every address in the frame's headers.
pub fn addresses(frame: &[u8]) -> Vec<IpAddr> {
    let mut at = 12;
    while frame.get(at..at + 2).is_some_and(|kind| matches!(kind, [0x81, 0] | [0x88, 0xa8])) {
        at += 4;
    }
    let Some(body) = frame.get(at + 2..) else { return Vec::new() };
    match frame.get(at..at + 2) {
        // RFC 826: sender's protocol address at 14, target's at 24.
        Some([0x08, 0x06]) => [14, 24].iter().filter_map(|&at| v4_at(body, at)).collect(),
        Some([0x08, 0x00] | [0x86, 0xdd]) => ip_addresses(body),
        _ => Vec::new(),
    }
}

fn ip_addresses(packet: &[u8]) -> Vec<IpAddr> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => ipv4_addresses(packet),
        Some(6) => ipv6_addresses(packet),
        _ => Vec::new(),
    }
}

fn ipv4_addresses(packet: &[u8]) -> Vec<IpAddr> {
    let header = usize::from(packet[0] & 0x0f) * 4;
    let mut found: Vec<IpAddr> = [12, 16].iter().filter_map(|&at| v4_at(packet, at)).collect();
    // An option may hold an address at any offset.
    for at in 20..header.saturating_sub(3) {
        found.extend(v4_at(packet, at));
    }
    let offset = packet.get(6..8).map_or(0, |f| u16::from_be_bytes([f[0] & 0x1f, f[1]]));
    let error = matches!(packet.get(header), Some(3 | 4 | 5 | 11 | 12));
    if packet.get(9) == Some(&1) && offset == 0 && error {
        found.extend(packet.get(header + 8..).map(ip_addresses).unwrap_or_default());
    }
    found
}

fn ipv6_addresses(packet: &[u8]) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = [8, 24].iter().filter_map(|&at| v6_at(packet, at)).collect();
    let Some(&(mut next)) = packet.get(6) else { return found };
    let mut at = 40;
    // RFC 8200: hop-by-hop options, routing, fragment, destination options.
    while matches!(next, 0 | 43 | 44 | 60) {
        let Some(&[following, size, high, low]) = packet.get(at..at + 4) else { return found };
        if next == 44 && u16::from_be_bytes([high, low]) & 0xfff8 != 0 {
            return found;
        }
        let end = at + if next == 44 { 8 } else { (usize::from(size) + 1) * 8 };
        // An option may hold an address at any offset.
        found.extend((at..end.saturating_sub(15)).filter_map(|at| v6_at(packet, at)));
        (next, at) = (following, end);
    }
    if let (58, Some(message)) = (next, packet.get(at..)) {
        found.extend(icmpv6_addresses(message));
    }
    found
}

fn icmpv6_addresses(message: &[u8]) -> Vec<IpAddr> {
    match message.first() {
        Some(1..=4) => message.get(8..).map(ip_addresses).unwrap_or_default(),
        // RFC 4861: a redirect names two addresses and quotes a packet in one of its options.
        Some(137) => {
            let mut found: Vec<IpAddr> =
                [8, 24].iter().filter_map(|&at| v6_at(message, at)).collect();
            let mut options = message.get(40..).unwrap_or_default();
            while let [kind, units, ..] = options
                && *units > 0
            {
                if *kind == 4 {
                    found.extend(options.get(8..).map(ip_addresses).unwrap_or_default());
                }
                options = options.get(usize::from(*units) * 8..).unwrap_or_default();
            }
            found
        }
        Some(135 | 136) => v6_at(message, 8).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn v4_at(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(bytes.into())
}

fn v6_at(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let bytes: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(bytes.into())
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

/// Frames with a broadcast destination or source cannot tell whose they are; the two ends on one link.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    pub from: [u8; 6],
    pub to: [u8; 6],
}

impl Link {
    /// A UDP datagram.
    pub fn udp(&self, source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
        let builder = self.ip(source.ip(), destination.ip());
        let builder = builder.udp(source.port(), destination.port());
        written(|frame| builder.write(frame, payload))
    }

    /// A TCP SYN.
    pub fn syn(&self, source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
        let builder = self.ip(source.ip(), destination.ip());
        let builder = builder.tcp(source.port(), destination.port(), 1, 64_000).syn();
        written(|frame| builder.write(frame, &[]))
    }

    /// An ICMP echo request.
    pub fn echo(&self, source: IpAddr, destination: IpAddr, id: u16) -> Vec<u8> {
        let kind = if source.is_ipv4() { 8 } else { 128 };
        let [high, low] = id.to_be_bytes();
        self.icmp((source, destination), [kind, 0], [high, low, 0, 1], b"neti")
    }

    /// An ICMP message of this type and code; `rest` is the rest of its header.
    pub fn icmp(
        &self,
        (source, destination): (IpAddr, IpAddr),
        [kind, code]: [u8; 2],
        rest: [u8; 4],
        payload: &[u8],
    ) -> Vec<u8> {
        let builder = self.ip(source, destination);
        written(|frame| match Family::of(source) {
            Family::V4 => builder.icmpv4_raw(kind, code, rest).write(frame, payload),
            Family::V6 => builder.icmpv6_raw(kind, code, rest).write(frame, payload),
        })
    }

    /// A packet with this protocol number and payload.
    pub fn raw(
        &self,
        (source, destination): (IpAddr, IpAddr),
        protocol: u8,
        payload: &[u8],
    ) -> Vec<u8> {
        let builder = self.ip(source, destination);
        written(|frame| builder.write(frame, protocol.into(), payload))
    }

    /// The headers in front of the transport.
    pub fn ip(&self, source: IpAddr, destination: IpAddr) -> PacketBuilderStep<IpHeaders> {
        let builder = PacketBuilder::ethernet2(self.from, self.to);
        match (source, destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => builder.ipv4(from.octets(), to.octets(), 64),
            (IpAddr::V6(from), IpAddr::V6(to)) => builder.ipv6(from.octets(), to.octets(), 64),
            _ => panic!("{source} to {destination}: two families"),
        }
    }
}

/// The frame that a builder writes.
fn written<E: std::fmt::Display>(
    write: impl FnOnce(&mut Vec<u8>) -> std::result::Result<(), E>,
) -> Vec<u8> {
    let mut frame = Vec::new();
    write(&mut frame).unwrap_or_else(|e| panic!("build a frame: {e}"));
    frame
}

fn link_address(index: u32) -> SockAddr {
    // SAFETY: all zeros are a valid sockaddr_storage.
    let mut storage: socket2::SockAddrStorage = unsafe { zeroed() };
    let link = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET.cast_unsigned() as u16,
        sll_protocol: (libc::ETH_P_ALL.cast_unsigned() as u16).to_be(),
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
