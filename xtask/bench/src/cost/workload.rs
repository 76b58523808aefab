//! What is measured in every round: real sockets, one client, one thread.

mod http;
mod packets;
mod stream;

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use harness::{interrupt, process::on_one_processor};
use socket2::{Domain, Socket, Type};

use super::{
    Plan, SECONDS,
    lab::Way,
    latency::{Trips, datagrams, round_trips},
    server::PORT,
};

/// A figure that a workload gives.
pub struct Metric {
    /// Key in the JSON.
    pub key: &'static str,
    pub name: &'static str,
    pub unit: &'static str,
    /// Digits after the point that mean something.
    pub digits: usize,
}

/// What a workload gives, each time.
pub struct Measured {
    /// Of each of its metrics.
    pub figures: Vec<f64>,
    /// If it is one of round trips.
    pub trips: Option<Trips>,
}

/// Something that a client does with its server.
#[derive(Clone, Copy)]
pub enum Workload {
    Stream,
    Streams,
    LargeStream,
    LargeStreams,
    RoundTrip,
    Connections,
    Datagrams,
    Packets,
    Http,
    /// Over a connection to each of the peers, in turn.
    SpreadRoundTrip,
    /// To the peers in turn.
    SpreadConnections,
    /// To the peers in turn, from one socket.
    SpreadPackets,
}

impl Workload {
    pub const ALL: [Self; 12] = [
        Self::Stream,
        Self::Streams,
        Self::LargeStream,
        Self::LargeStreams,
        Self::RoundTrip,
        Self::Connections,
        Self::Datagrams,
        Self::Packets,
        Self::Http,
        Self::SpreadRoundTrip,
        Self::SpreadConnections,
        Self::SpreadPackets,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Stream => "TCP stream",
            Self::Streams => "8 TCP streams",
            Self::LargeStream => "TCP stream, MTU 9000",
            Self::LargeStreams => "8 TCP streams, MTU 9000",
            Self::RoundTrip => "TCP round trips",
            Self::Connections => "TCP connections",
            Self::Datagrams => "UDP round trips",
            Self::Packets => "small UDP packets",
            Self::Http => "HTTP requests",
            Self::SpreadRoundTrip => "TCP round trips with many",
            Self::SpreadConnections => "TCP connections to many",
            Self::SpreadPackets => "small UDP packets to many",
        }
    }

    /// What [`Workload::run`] gives, in its order.
    pub fn metrics(self) -> &'static [Metric] {
        const fn metric(
            key: &'static str,
            name: &'static str,
            unit: &'static str,
            digits: usize,
        ) -> Metric {
            Metric { key, name, unit, digits }
        }
        match self {
            Self::Stream => const { &[metric("tcp_stream", "TCP stream", "Gbit/s", 2)] },
            Self::Streams => const { &[metric("tcp_streams_8", "8 TCP streams", "Gbit/s", 2)] },
            Self::LargeStream => {
                const { &[metric("tcp_stream_mtu_9000", "stream, MTU 9000", "Gbit/s", 2)] }
            }
            Self::LargeStreams => {
                const { &[metric("tcp_streams_8_mtu_9000", "8 of MTU 9000", "Gbit/s", 2)] }
            }
            Self::RoundTrip => {
                const {
                    &[
                        metric("tcp_round_trip_p50", "TCP round trip p50", "µs", 1),
                        metric("tcp_round_trip_p99", "TCP round trip p99", "µs", 1),
                        metric("tcp_round_trip_p999", "TCP round trip p99.9", "µs", 1),
                    ]
                }
            }
            Self::Connections => {
                const { &[metric("tcp_connections", "TCP connections", "new ones/s", 0)] }
            }
            Self::Datagrams => {
                const {
                    &[
                        metric("udp_round_trip_p50", "UDP round trip p50", "µs", 1),
                        metric("udp_round_trip_p99", "UDP round trip p99", "µs", 1),
                        metric("udp_round_trip_p999", "UDP round trip p99.9", "µs", 1),
                    ]
                }
            }
            Self::Packets => const { &[metric("udp_packets", "64-byte UDP", "packets/s", 0)] },
            Self::Http => const { &[metric("http_requests", "HTTP, kept alive", "requests/s", 0)] },
            Self::SpreadRoundTrip => {
                const {
                    &[
                        metric("many_round_trip_p50", "RTT with many p50", "µs", 1),
                        metric("many_round_trip_p99", "RTT with many p99", "µs", 1),
                        metric("many_round_trip_p999", "RTT with many p99.9", "µs", 1),
                    ]
                }
            }
            Self::SpreadConnections => {
                const { &[metric("many_connections", "connections to many", "new ones/s", 0)] }
            }
            Self::SpreadPackets => {
                const { &[metric("many_udp_packets", "UDP to many", "packets/s", 0)] }
            }
        }
    }

    /// Whether it meets many members, and so may depend on how many there are.
    pub fn meets_many(self) -> bool {
        matches!(self, Self::SpreadRoundTrip | Self::SpreadConnections | Self::SpreadPackets)
    }

    /// Into how many slices a round of it is cut: of those that take [`Plan::slice`], by how long each takes to begin.
    pub fn slices(self) -> u32 {
        match self {
            Self::Stream | Self::Streams | Self::LargeStream | Self::LargeStreams | Self::Http => 1,
            Self::SpreadRoundTrip => 2,
            Self::RoundTrip
            | Self::Connections
            | Self::Datagrams
            | Self::Packets
            | Self::SpreadConnections
            | Self::SpreadPackets => 5,
        }
    }

    /// Whether others that are like it, on both sides, tell nearly the same.
    pub fn is_between(self) -> bool {
        matches!(self, Self::Streams | Self::LargeStream)
    }

    /// Does it once.
    pub fn run(self, way: &Way, plan: &Plan) -> Result<Measured> {
        let mut trips = None;
        let to = SocketAddr::new(way.address, PORT);
        let peers =
            || -> Vec<_> { way.peers.iter().map(|peer| SocketAddr::new(*peer, PORT)).collect() };
        let measured = match self {
            Self::Stream => stream::measure(way, 1, stream::USUAL, SECONDS),
            Self::Streams => stream::measure(way, 8, stream::USUAL, SECONDS),
            Self::LargeStream => stream::measure(way, 1, stream::LARGE, SECONDS),
            Self::LargeStreams => stream::measure(way, 8, stream::LARGE, SECONDS),
            Self::RoundTrip => client(way, || round_trips(&[to], plan.slice))
                .map(|all| trips.insert(all).figures()),
            Self::Connections => {
                client(way, || connections(&[to], plan.slice)).map(|rate| vec![rate])
            }
            Self::Datagrams => {
                client(way, || datagrams(to, plan.slice)).map(|all| trips.insert(all).figures())
            }
            Self::Packets => packets::measure(&way.client, &way.server, &[way.address], plan.slice)
                .map(|rate| vec![rate]),
            Self::Http => http::measure(way, SECONDS).map(|rate| vec![rate]),
            Self::SpreadRoundTrip => client(way, || round_trips(&peers(), plan.slice))
                .map(|all| trips.insert(all).figures()),
            Self::SpreadConnections => {
                client(way, || connections(&peers(), plan.slice)).map(|rate| vec![rate])
            }
            Self::SpreadPackets => {
                packets::measure(&way.client, &way.crowd, &way.peers, plan.slice)
                    .map(|rate| vec![rate])
            }
        };
        let figures = measured.with_context(|| format!("{}, {}", self.name(), way.name))?;
        Ok(Measured { figures, trips })
    }
}

/// Runs a client of servers that are on the same processor: a packet that wakes another one waits longer for that than for
/// all else, and whether there is one to wake the scheduler decides anew from time to time.
fn client<T: Send>(way: &Way, run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_one_processor(|| way.client.run(run)).context("stay on one processor")?
}

/// After so long a peer that says nothing is gone. Where nothing is lost, only a broken way comes to this.
pub const SILENCE: Duration = Duration::from_secs(3);
/// What a connection or a socket does before it is measured.
pub const WARM_UP: usize = 200;

/// Connections that are made, used for a byte there and back, and closed, one after the other, to these in turn; per second.
pub fn connections(to: &[SocketAddr], time: Duration) -> Result<f64> {
    let mut turns = to.iter().cycle();
    let mut next = || turns.next().context("nobody to connect to").and_then(|to| converse(*to));
    for _ in 0..WARM_UP {
        next()?;
    }
    let mut made = 0_u32;
    let begun = Instant::now();
    while begun.elapsed() < time {
        next().with_context(|| format!("after {made} connections"))?;
        made += 1;
        interrupt::go_on()?;
    }
    Ok(f64::from(made) / begun.elapsed().as_secs_f64())
}

/// Connects, and has an answer.
pub fn converse(to: SocketAddr) -> Result<()> {
    ping(&mut connect(to)?).context("no answer")
}

/// A connection that is reset when dropped: ports in TIME_WAIT would run out within one measurement.
pub fn connect(to: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_read_timeout(Some(SILENCE))?;
    // For connect(2) too.
    socket.set_write_timeout(Some(SILENCE))?;
    socket.connect(&to.into()).with_context(|| format!("connect to {to}"))?;
    Ok(socket.into())
}

/// A byte there and back.
pub fn ping(stream: &mut TcpStream) -> io::Result<()> {
    let mut byte = [0];
    stream.write_all(&byte)?;
    stream.read_exact(&mut byte)
}
