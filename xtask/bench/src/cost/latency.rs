//! Round trips, one after the other, each timed by itself.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use harness::{family::Family, interrupt, statistics::percentile};

use super::workload::{SILENCE, WARM_UP, connect, ping};

/// A byte there and back over a connection to each of these, in turn; p50 and p99 in microseconds.
pub fn round_trips(to: &[SocketAddr], time: Duration) -> Result<Vec<f64>> {
    let mut streams = to.iter().map(|to| connect(*to)).collect::<Result<Vec<_>>>()?;
    let mut turn = 0;
    ping_pong(time, || {
        turn = (turn + 1) % streams.len();
        ping(&mut streams[turn])
    })
}

/// A byte there and back in datagrams of one socket; p50 and p99 in microseconds.
pub fn datagrams(to: SocketAddr, time: Duration) -> Result<Vec<f64>> {
    let socket = UdpSocket::bind((Family::of(to.ip()).any(), 0))?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.connect(to)?;
    ping_pong(time, || {
        let mut byte = [0];
        socket.send(&byte)?;
        socket.recv(&mut byte).map(drop)
    })
}

fn ping_pong(time: Duration, mut ping: impl FnMut() -> io::Result<()>) -> Result<Vec<f64>> {
    for _ in 0..WARM_UP {
        ping().context("no answer")?;
    }
    let mut trips = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < time {
        let sent = Instant::now();
        ping().with_context(|| format!("no answer after {} round trips", trips.len()))?;
        trips.push(sent.elapsed().as_secs_f64() * 1e6);
        interrupt::go_on()?;
    }
    trips.sort_by(f64::total_cmp);
    Ok(vec![percentile(&trips, 50), percentile(&trips, 99)])
}
