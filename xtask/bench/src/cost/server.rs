//! Servers that send back what they are sent, each on one thread, so that a client measures the way and little else.

use std::{
    io::{Read, Write},
    net::{IpAddr, Shutdown, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use harness::{family::Family, netns::Netns};
use socket2::SockRef;

/// Where the TCP and the UDP server are.
pub const PORT: u16 = 7;

/// A TCP and a UDP server, until dropped.
pub struct Servers {
    listener: TcpListener,
    stop: Arc<AtomicBool>,
}

impl Servers {
    /// On all addresses of `netns` in a family. Of several, UDP would answer from the first, whichever was asked.
    pub fn start(netns: &Netns, family: Family) -> Result<Self> {
        Self::at(netns, family.any())
    }

    /// On one address.
    pub fn at(netns: &Netns, address: IpAddr) -> Result<Self> {
        let at = (address, PORT);
        let (listener, socket) = netns
            .run(|| Ok::<_, std::io::Error>((TcpListener::bind(at)?, UdpSocket::bind(at)?)))
            .with_context(|| format!("listen on {address}:{PORT} in {}", netns.name()))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (acceptor, stopped) = (listener.try_clone()?, Arc::clone(&stop));
        thread::spawn(move || {
            // Ends when the owner shuts the listener down.
            while let Ok((stream, _)) = acceptor.accept() {
                echo(stream);
            }
        });
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::Acquire) {
                if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                    let _ = socket.send_to(&buffer[..length], peer);
                }
            }
        });
        Ok(Self { listener, stop })
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Linux wakes accept(2) with EINVAL.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
    }
}

/// One connection after the other, each to its end: clients here have one at a time.
fn echo(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut buffer = [0; 2048];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}
