//! A flood of spoofed sources against a host: what it leaves of a TCP stream between members, by what stands in its way.
//!
//! On one machine the generator, the sender, the receiver and the filter share the processors, so the rate of the stream
//! tells what a packet of the flood costs all of them. The flood has a rate of its own, which must be the same
//! whatever stands in its way, or the streams cannot be compared; the report has it.

mod lab;
mod report;

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::Result;
use clap::Args;
use harness::{
    flood::{Flood, Kind, SOURCES},
    interrupt,
    progress::Progress,
};

use self::{
    lab::{Arm, Lab},
    report::{Report, Row},
};
use crate::{Common, iperf::Streams, lab::within};

/// Of `flood`.
#[derive(Args)]
pub struct Options {
    /// Packets of the flood per second.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
    rate: u32,
    /// How often everything is measured [default: 5].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Three short rounds, for a first look; the flood then has fewer sources.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    pub common: Common,
}

/// What floods, under the name that it has in the report.
const FLOODS: [(&str, &[Kind]); 4] = [
    ("no flood", &[]),
    ("SYN", &[Kind::Syn]),
    ("UDP", &[Kind::Udp]),
    ("SYN, ACK and UDP", &[Kind::Syn, Kind::Ack, Kind::Udp]),
];

/// The flood lasts so long before the stream begins.
const SETTLING: Duration = Duration::from_millis(200);

pub fn run(options: &Options, progress: &mut Progress) -> Result<Report> {
    let (rounds, seconds) = if options.quick { (3, 2) } else { (5, 5) };
    let rounds = options.rounds.unwrap_or(rounds);
    progress.show("starting the hosts");
    let lab = Lab::new(options.common.family)?;
    within(lab, |lab| {
        let before = lab.memory()?;
        let mut rows = Vec::new();
        for (name, kinds) in FLOODS {
            rows.push(Row::new(name, lab.arms.iter().map(|arm| arm.name)));
            let Some(row) = rows.last_mut() else { continue };
            for round in 0..rounds as usize {
                progress.step(&format!("{name}, round {} of {rounds}", round + 1));
                // Another one begins in every round: whoever is first may meet a colder machine.
                for turn in 0..lab.arms.len() {
                    let index = (round + turn) % lab.arms.len();
                    progress.show(lab.arms[index].name);
                    interrupt::go_on()?;
                    let figures = measure(&mut lab.arms[index], kinds, options.rate, seconds)?;
                    row.push(index, figures);
                }
            }
        }
        let sources = u64::from(SOURCES).min(u64::from(options.rate) * u64::from(seconds));
        Ok(Report {
            family: options.common.family,
            rate: options.rate,
            rounds,
            seconds,
            sources,
            rows,
            memory: [before, lab.memory()?],
        })
    })
}

/// What one stream came to.
pub struct Figures {
    /// Gbit/s that arrived.
    pub stream: f64,
    /// Packets of the flood per second meanwhile: that were put on the wire, and that were dropped by the filter.
    pub offered: f64,
    pub dropped: f64,
}

fn measure(arm: &mut Arm, kinds: &[Kind], rate: u32, seconds: u32) -> Result<Figures> {
    let (client, server, to) = (arm.client.clone(), arm.server.clone(), arm.to);
    let streams = Streams { client: &client, server: &server, to, number: 1, seconds };
    if kinds.is_empty() {
        let stream = streams.rate()?;
        return Ok(Figures { stream, offered: 0.0, dropped: 0.0 });
    }
    let flood = Flood { kinds: kinds.to_vec(), rate: Some(rate), ..arm.flood.clone() }.start();
    sleep(SETTLING);
    let (before, begun) = ((flood.taken(), arm.dropped()?), Instant::now());
    let stream = streams.rate()?;
    let (after, lasted) = ((flood.taken(), arm.dropped()?), begun.elapsed().as_secs_f64());
    flood.stop()?;
    let per_second = |before: u64, after: u64| (after - before) as f64 / lasted;
    Ok(Figures {
        stream,
        offered: per_second(before.0, after.0),
        dropped: per_second(before.1, after.1),
    })
}
