//! The end that accepts.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    sync::atomic::Ordering,
};

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};

use super::{Lane, Patience, Shared, Stage, received};
use crate::family::Family;

/// Accepts a lane's connections, and sends back the byte that comes over each.
pub(super) fn run(shared: &Shared, lane: &Lane) -> Result<()> {
    let at = SocketAddr::new(Family::of(lane.to.ip()).any(), lane.to.port());
    let listener = listen(at, lane.size).with_context(|| format!("listen on tcp {at}"))?;
    shared.await_stage(Stage::Dial)?;
    // They wait in the listener's queue: what is open is for the client to say.
    shared.await_stage(Stage::Talk)?;
    let _open = serve(shared, &listener, lane.open.load(Ordering::Relaxed));
    shared.await_stage(Stage::End)
}

fn listen(address: SocketAddr, size: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(size.try_into().unwrap_or(i32::MAX))?;
    Ok(socket)
}

/// Serves `count` connections, if so many come, and gives them. What fails is counted by the client.
fn serve(shared: &Shared, listener: &Socket, count: usize) -> Vec<Socket> {
    let mut patience = Patience::new();
    let mut open = Vec::with_capacity(count);
    while open.len() < count
        && let Some(socket) = patience.wait(shared, || listener.accept().ok())
    {
        let (socket, _) = socket;
        let _ = socket.set_nonblocking(true);
        open.push(socket);
    }
    for mut socket in &open {
        if let Some(Ok(byte)) = patience.wait(shared, || received(socket)) {
            let _ = socket.write_all(&[byte]);
        }
    }
    open
}
