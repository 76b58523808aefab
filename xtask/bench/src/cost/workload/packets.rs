//! Small datagrams, as many as one thread can send: how many arrive.

use std::{
    io::{IoSlice, IoSliceMut},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use harness::{family::Family, interrupt, netns::Netns, socket::set_option};
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg,
};

use super::SILENCE;

/// Bytes of each. With IPv4 it is in Ethernet's smallest frame, of 64 bytes with its checksum.
const SIZE: usize = 18;
/// Nobody else's here.
const PORT: u16 = 9;
/// How many the kernel takes, or gives, in one call.
const BATCH: usize = 64;
/// Bytes of the receiver's queue, so that what is lost is not lost there while it waits for a processor.
const QUEUE: i32 = 8 << 20;

/// Datagrams per second that arrive at `server`, which has all these addresses; they are sent to in turn.
pub fn measure(client: &Netns, server: &Netns, to: &[IpAddr], time: Duration) -> Result<f64> {
    let any = to.first().map(|to| Family::of(*to).any()).context("nobody to send to")?;
    let bind = |netns: &Netns, port| netns.run(|| UdpSocket::bind((any, port)));
    let (sender, receiver) = (bind(client, 0)?, bind(server, PORT)?);
    receiver.set_read_timeout(Some(SILENCE))?;
    set_option(&receiver, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &QUEUE.to_ne_bytes())?;
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let sending = scope.spawn(|| send(&sender, to, &stop));
        let received = receive(&receiver, to.len(), time);
        stop.store(true, Ordering::Relaxed);
        sending.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        received
    })
}

fn send(socket: &UdpSocket, to: &[IpAddr], stop: &AtomicBool) -> Result<()> {
    let addresses: Vec<Option<SockaddrStorage>> = match to {
        // As one who sends to one server does: the kernel looks for the way once.
        [only] => {
            socket.connect((*only, PORT)).with_context(|| format!("connect to {only}"))?;
            vec![None; BATCH]
        }
        all => all.iter().map(|to| Some(SocketAddr::new(*to, PORT).into())).collect(),
    };
    let message = [0; SIZE];
    let message = [IoSlice::new(&message)];
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    let nothing: [ControlMessage<'_>; 0] = [];
    for addresses in addresses.chunks(BATCH).cycle() {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let messages = vec![&message; addresses.len()];
        let flags = MsgFlags::empty();
        sendmmsg(socket.as_raw_fd(), &mut headers, messages, addresses, nothing, flags)
            .context("send datagrams")?;
    }
    Ok(())
}

/// From then on that so many have come: a flow that begins may cost more than it does later.
fn receive(socket: &UdpSocket, first: usize, time: Duration) -> Result<f64> {
    let mut buffers = [[0; SIZE]; BATCH];
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let mut batch = || -> Result<usize> {
        let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let flags = MsgFlags::MSG_WAITFORONE;
        let received = recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, flags, None);
        Ok(received.context("receive datagrams")?.count())
    };
    let mut all = 0;
    while all < first {
        all += batch()?;
    }
    let (begun, first) = (Instant::now(), all);
    while begun.elapsed() < time {
        all += batch()?;
        interrupt::go_on()?;
    }
    Ok((all - first) as f64 / begun.elapsed().as_secs_f64())
}
