//! What the kernel tells of changes to the network configuration, by rtnetlink(7)'s multicast groups.
//!
//! The kernel drops what finds no room in the socket's buffer and says that it did. Whoever only has to
//! know that something has changed may therefore let it fill, at no cost but the buffer's.

use std::io;

use anyhow::{Context, Result};
use netlink_packet_core::NetlinkBuffer;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rtnetlink::MulticastGroup;
use tokio::io::{Interest, unix::AsyncFd};

use super::messages;

/// Datagrams that are read at a time, so that a flood of them holds nobody up.
const AT_ONCE: usize = 4_096;
/// As large as a datagram of the kernel's gets (`NLMSG_GOODSIZE` and the limit of a dump's).
const DATAGRAM: usize = 32_768;

/// A subscription, from when it is made.
pub struct Notifications {
    socket: AsyncFd<Socket>,
    buffer: Vec<u8>,
}

impl Notifications {
    /// Subscribes to groups of this network namespace. Must run inside a tokio runtime. A group that
    /// the kernel does not know has nothing to tell.
    pub fn subscribe(groups: &[MulticastGroup]) -> Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.set_non_blocking(true)?;
            let (by_membership, by_bit): (Vec<MulticastGroup>, Vec<_>) =
                groups.iter().partition(|group| group.need_via_add_membership());
            let bits = by_bit.iter().map(|group| 1 << (*group as u32 - 1));
            socket.bind(&SocketAddr::new(0, bits.fold(0, |all, bit| all | bit)))?;
            for group in by_membership {
                if let Err(error) = socket.add_membership(group as u32) {
                    tracing::debug!("rtnetlink group {group:?}: {error}");
                }
            }
            Ok(socket)
        };
        let socket = open().context("subscribing to rtnetlink")?;
        // SAFETY: the descriptor is the socket's own for as long as it lives.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        Ok(Self { socket: socket.context("polling rtnetlink")?, buffer: Vec::new() })
    }

    /// Waits until there is something to [`take`](Self::take).
    pub async fn arrive(&self) -> io::Result<()> {
        self.socket.readable().await?.retain_ready();
        Ok(())
    }

    /// After [`arrive`](Self::arrive), takes what there is, each message by its type and what follows its
    /// header; `false` if some were lost.
    pub fn take(&mut self, mut each: impl FnMut(u16, &[u8])) -> io::Result<bool> {
        let mut whole = true;
        for _ in 0..AT_ONCE {
            self.buffer.clear();
            self.buffer.reserve(DATAGRAM);
            let buffer = &mut self.buffer;
            match self.socket.try_io(Interest::READABLE, |socket| socket.recv(buffer, 0)) {
                Ok(_) => {
                    let messages = messages(&self.buffer).filter_map(|message| {
                        let message = NetlinkBuffer::new_checked(message).ok()?;
                        Some((message.message_type(), message.payload()))
                    });
                    messages.for_each(|(kind, payload)| each(kind, payload));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => whole = false,
                Err(error) => return Err(error),
            }
        }
        Ok(whole)
    }
}
