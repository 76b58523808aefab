//! Round trips, one after the other, each timed by itself.
//!
//! By a client of our own rather than by sockperf: Debian 12's (3.7) has no IPv6, and for a second of measuring, of
//! which it leaves out half, takes 3.3 s: six minutes more of a full run. Over the same veth pair both say nearly the
//! same of what is in the middle: 7.1 and 7.4 µs for half of a TCP round trip.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use harness::{family::Family, interrupt};
use hdrhistogram::Histogram;
use indexmap::IndexMap;

use super::workload::{SILENCE, WARM_UP, connect, ping};

/// Digits of each time that are kept: beyond them is what the machine does besides.
const DIGITS: u8 = 3;
/// What [`Trips::figures`] gives.
const FIGURES: [f64; 3] = [50.0, 99.0, 99.9];

/// How long round trips took.
pub struct Trips(Histogram<u64>);

impl Trips {
    pub fn new() -> Result<Self> {
        Ok(Self(Histogram::new(DIGITS).context("make a histogram")?))
    }

    fn push(&mut self, took: Duration) -> Result<()> {
        let nanoseconds = u64::try_from(took.as_nanos()).context("a round trip of centuries")?;
        self.0.record(nanoseconds).context("record a round trip")
    }

    /// Puts others beside these.
    pub fn add(&mut self, others: &Self) -> Result<()> {
        self.0.add(&others.0).context("add round trips")
    }

    /// What so many percent of them did not exceed, in microseconds.
    fn percentile(&self, percent: f64) -> f64 {
        self.0.value_at_percentile(percent) as f64 / 1e3
    }

    /// p50, p99 and p99.9 in microseconds.
    pub fn figures(&self) -> Vec<f64> {
        FIGURES.map(|percent| self.percentile(percent)).to_vec()
    }

    /// Microseconds by percent: each from 1 to 99, and then as far as there are at least ten round trips beyond. None if
    /// there were none.
    pub fn distribution(&self) -> IndexMap<String, f64> {
        let mut percents: Vec<String> = (1..100).map(|percent: u32| percent.to_string()).collect();
        for nines in ["99.", "99.9", "99.99", "99.999"] {
            percents.extend((1..10).map(|digit| format!("{nines}{digit}")));
        }
        let beyond = |percent: f64| ((100.0 - percent) * self.0.len() as f64 / 100.0).round();
        let of = |percent: String| {
            let number = percent.parse().ok().filter(|number| beyond(*number) >= 10.0)?;
            Some((percent, self.percentile(number)))
        };
        percents.into_iter().filter_map(of).collect()
    }
}

/// A byte there and back over a connection to each of these, in turn.
pub fn round_trips(to: &[SocketAddr], time: Duration) -> Result<Trips> {
    let mut streams = to.iter().map(|to| connect(*to)).collect::<Result<Vec<_>>>()?;
    let mut turn = 0;
    ping_pong(time, || {
        turn = (turn + 1) % streams.len();
        ping(&mut streams[turn])
    })
}

/// A byte there and back in datagrams of one socket.
pub fn datagrams(to: SocketAddr, time: Duration) -> Result<Trips> {
    let socket = UdpSocket::bind((Family::of(to.ip()).any(), 0))?;
    socket.set_read_timeout(Some(SILENCE))?;
    socket.connect(to)?;
    ping_pong(time, || {
        let mut byte = [0];
        socket.send(&byte)?;
        socket.recv(&mut byte).map(drop)
    })
}

fn ping_pong(time: Duration, mut ping: impl FnMut() -> io::Result<()>) -> Result<Trips> {
    for _ in 0..WARM_UP {
        ping().context("no answer")?;
    }
    let mut trips = Trips::new()?;
    let begun = Instant::now();
    while begun.elapsed() < time {
        let sent = Instant::now();
        ping().with_context(|| format!("no answer after {} round trips", trips.0.len()))?;
        trips.push(sent.elapsed())?;
        interrupt::go_on()?;
    }
    Ok(trips)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Round trips of 1 to `count` microseconds.
    fn trips(count: u64) -> Trips {
        let mut trips = Trips::new().unwrap();
        (1..=count).for_each(|micro| trips.push(Duration::from_micros(micro)).unwrap());
        trips
    }

    #[test]
    fn figures_are_exact_to_three_digits() {
        for (figure, expected) in
            trips(10_000).figures().into_iter().zip([5_000.0, 9_900.0, 9_990.0])
        {
            assert!((figure / expected - 1.0).abs() < 1e-3, "{figure} instead of {expected}");
        }
    }

    #[test]
    fn a_distribution_ends_where_too_few_are_left() {
        let distribution = trips(1_000).distribution();
        assert_eq!(distribution.keys().last().unwrap(), "99");
        assert_eq!(distribution.len(), 99);
        let mut both = trips(1_000);
        both.add(&trips(9_000)).unwrap();
        let distribution = both.distribution();
        assert_eq!(distribution.keys().last().unwrap(), "99.9");
        assert!(distribution.values().is_sorted(), "{distribution:?}");
        assert!(Trips::new().unwrap().distribution().is_empty());
    }
}
