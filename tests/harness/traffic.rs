//! Servers that answer and say whom they saw, and clients that ask.

mod pinging;

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

pub use self::pinging::{ping, without_loss};
use crate::{PATIENCE, family::Family, netns::Netns, within};

/// How long to wait for what must *not* arrive, where no counter tells that it was refused.
pub const BRIEFLY: Duration = Duration::from_millis(300);

/// The ends of a connection or a question, as the server's socket names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub peer: SocketAddr,
    pub local: SocketAddr,
}

/// Sends back whatever it is sent, on every connection, until dropped.
#[derive(Debug)]
pub struct TcpEcho {
    listener: TcpListener,
    seen: mpsc::Receiver<Seen>,
}

impl TcpEcho {
    /// Listens in `netns`.
    pub fn on(netns: &Netns, address: impl Into<SocketAddr>) -> Result<Self> {
        let listener = listen(netns, address.into())?;
        let (report, seen) = mpsc::channel();
        let acceptor = listener.try_clone()?;
        thread::spawn(move || {
            // Ends when the owner shuts the listener down.
            while let Ok((stream, peer)) = acceptor.accept() {
                if let Ok(local) = stream.local_addr() {
                    let _ = report.send(Seen { peer, local });
                }
                let _ = thread::Builder::new().stack_size(128 << 10).spawn(move || echo(stream));
            }
        });
        Ok(Self { listener, seen })
    }

    /// The ends of the next connection accepted.
    ///
    /// # Panics
    /// If none comes.
    pub fn seen(&self) -> Seen {
        self.seen.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no connection was accepted"))
    }

    /// The ends of the next connection, if one has been accepted.
    pub fn try_seen(&self) -> Option<Seen> {
        self.seen.try_recv().ok()
    }
}

impl Drop for TcpEcho {
    fn drop(&mut self) {
        // Linux wakes accept(2) with EINVAL.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }
}

fn echo(mut stream: TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Sends back every datagram to where it came from, until dropped.
#[derive(Debug)]
pub struct UdpEcho {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
    seen: mpsc::Receiver<SocketAddr>,
}

impl UdpEcho {
    /// An unconnected socket in `netns`, which learns nothing of the address that was dialled.
    pub fn on(netns: &Netns, address: impl Into<SocketAddr>) -> Result<Self> {
        let address = address.into();
        let bind = || -> io::Result<UdpSocket> {
            let socket = of_one_family(address, Type::DGRAM)?;
            socket.bind(&address.into())?;
            Ok(socket.into())
        };
        let socket =
            netns.run(bind).with_context(|| format!("bind udp {address} in {}", netns.name()))?;
        Self::with(socket)
    }

    /// On a socket made elsewhere.
    pub fn with(socket: UdpSocket) -> Result<Self> {
        Self::answering(socket, <[u8]>::to_vec)
    }

    /// Sends back what `answer` makes of a datagram.
    pub fn answering(
        socket: UdpSocket,
        answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static,
    ) -> Result<Self> {
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (report, seen) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while !stopped.load(Ordering::Acquire) {
                if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                    let _ = report.send(peer);
                    let _ = socket.send_to(&answer(&buffer[..length]), peer);
                }
            }
        });
        Ok(Self { stop, thread: Some(thread), seen })
    }

    /// Who sent the next datagram.
    ///
    /// # Panics
    /// If none comes.
    pub fn seen(&self) -> SocketAddr {
        self.seen.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no datagram arrived"))
    }

    /// Who sent the next datagram, if one has arrived.
    pub fn try_seen(&self) -> Option<SocketAddr> {
        self.seen.try_recv().ok()
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Its port is free once the thread has ended.
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A listener in `netns` that leaves the other family's port to another one.
pub fn listen(netns: &Netns, address: SocketAddr) -> Result<TcpListener> {
    let listen = || -> io::Result<TcpListener> {
        let socket = of_one_family(address, Type::STREAM)?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        Ok(socket.into())
    };
    let mut listener = netns.run(listen);
    // Whoever listened there before may not be closed yet: between fork and exec a child of another test has all our files.
    within(PATIENCE, || {
        let is_used = matches!(&listener, Err(error) if error.kind() == ErrorKind::AddrInUse);
        if is_used {
            listener = netns.run(listen);
        }
        !is_used
    });
    listener.with_context(|| format!("listen on tcp {address} in {}", netns.name()))
}

/// A socket that leaves the other family's port to another one.
fn of_one_family(address: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// A TCP connection from `netns`, from a given address if one is given (port 0: any).
pub fn dial(
    netns: &Netns,
    from: Option<SocketAddr>,
    to: SocketAddr,
    patience: Duration,
) -> io::Result<TcpStream> {
    netns.run(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(from) = from {
            socket.set_reuse_address(true)?;
            socket.bind(&from.into())?;
        }
        socket.connect_timeout(&to.into(), patience)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    })
}

/// Sends `length` bytes to an echo server and compares what comes back.
pub fn exchange(stream: &TcpStream, length: usize) -> Result<()> {
    let sent: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
    let mut back = vec![0; length];
    thread::scope(|scope| -> Result<()> {
        let mut out = stream;
        let sent = &sent;
        let writer = scope.spawn(move || out.write_all(sent));
        let mut from = stream;
        from.read_exact(&mut back).context("read what the server sends back")?;
        writer.join().unwrap_or_else(|_| panic!("the writer panicked")).context("send")?;
        Ok(())
    })?;
    ensure!(back == sent, "other bytes came back than were sent");
    Ok(())
}

/// Dials, exchanges 200,000 bytes each way, and gives the connection.
pub fn tcp(netns: &Netns, from: Option<SocketAddr>, to: SocketAddr) -> Result<TcpStream> {
    let what = || format!("tcp from {from:?} to {to} in {}", netns.name());
    let stream = dial(netns, from, to, PATIENCE).with_context(what)?;
    exchange(&stream, 200_000).with_context(what)?;
    Ok(stream)
}

/// Whether a TCP connection is refused by silence.
pub fn tcp_silent(netns: &Netns, to: SocketAddr) -> bool {
    matches!(dial(netns, None, to, BRIEFLY), Err(error) if error.kind() == ErrorKind::TimedOut)
}

/// How a UDP client makes its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpClient {
    /// Whether it calls connect(2).
    pub connected: bool,
    /// The address it binds to.
    pub from: Option<IpAddr>,
}

/// Asks an echo server with one datagram of `length` bytes and gives the address the answer came from.
///
/// # Errors
/// [`ErrorKind::WouldBlock`] if no answer comes within `patience`; what the socket reports otherwise.
pub fn udp(
    netns: &Netns,
    client: UdpClient,
    to: SocketAddr,
    length: usize,
    patience: Duration,
) -> io::Result<SocketAddr> {
    let from = client.from.unwrap_or(Family::of(to.ip()).any());
    let socket = netns.run(|| UdpSocket::bind((from, 0)))?;
    socket.set_read_timeout(Some(patience))?;
    let question: Vec<u8> = (0..length).map(|i| (i % 253) as u8).collect();
    if client.connected {
        socket.connect(to)?;
        socket.send(&question)?;
    } else {
        socket.send_to(&question, to)?;
    }
    let mut answer = vec![0; 64 << 10];
    let (length, peer) = socket.recv_from(&mut answer)?;
    if answer[..length] != question {
        return Err(io::Error::new(ErrorKind::InvalidData, "another datagram than was sent"));
    }
    Ok(peer)
}
