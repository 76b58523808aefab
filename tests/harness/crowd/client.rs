//! The end that dials.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    sync::atomic::Ordering,
    time::Duration,
};

use anyhow::Result;
use socket2::{Domain, Socket, Type};

use super::{Lane, Patience, Shared, Stage, lock, received};

/// Opens a lane's connections, and has a byte sent back over each.
pub(super) fn run(shared: &Shared, lane: &Lane) -> Result<()> {
    shared.await_stage(Stage::Dial)?;
    let open = dial(shared, lane);
    shared.await_stage(Stage::Talk)?;
    talk(shared, &open);
    shared.await_stage(Stage::End)
}

/// Those that open.
fn dial(shared: &Shared, lane: &Lane) -> Vec<Socket> {
    let mut dialled = Vec::with_capacity(lane.size);
    for _ in 0..lane.size {
        if shared.ends() {
            break;
        }
        match begin(lane.to) {
            Ok(socket) => dialled.push(socket),
            Err(error) => note(shared, &error),
        }
        shared.tried.fetch_add(1, Ordering::Relaxed);
    }
    let mut patience = Patience::new();
    dialled.retain(|socket| {
        let connected = || match socket.peer_addr() {
            Ok(_) => Some(Ok(())),
            // While it may still come there is neither an address nor an error.
            Err(_) => socket.take_error().ok().flatten().map(Err),
        };
        let opened = match patience.wait(shared, connected) {
            Some(Err(error)) => {
                note(shared, &error);
                false
            }
            opened => opened.is_some(),
        };
        if opened {
            lane.open.fetch_add(1, Ordering::Relaxed);
            shared.open.fetch_add(1, Ordering::Relaxed);
        }
        opened
    });
    dialled
}

fn begin(to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_linger(Some(Duration::ZERO))?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(socket),
    }
}

fn note(shared: &Shared, error: &io::Error) {
    lock(&shared.fault).get_or_insert_with(|| error.to_string());
}

/// Every connection carries a byte that its neighbours do not.
fn byte(index: usize) -> u8 {
    (index % 251) as u8
}

fn talk(shared: &Shared, open: &[Socket]) {
    for (index, mut socket) in open.iter().enumerate() {
        if let Err(error) = socket.write_all(&[byte(index)]) {
            note(shared, &error);
        }
    }
    let mut patience = Patience::new();
    for (index, socket) in open.iter().enumerate() {
        match patience.wait(shared, || received(socket)) {
            Some(Ok(back)) if back == byte(index) => {
                shared.talked.fetch_add(1, Ordering::Relaxed);
            }
            Some(Ok(_)) => note(shared, &io::Error::other("another byte came back than was sent")),
            Some(Err(error)) => note(shared, &error),
            None => {}
        }
    }
}
