//! How long it takes from a policy's commit to the registry until a host's programs judge by it.

mod lab;
mod report;

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use harness::{PATIENCE, bpf::Map, host::Host, interrupt, process::prefer, progress::Progress};

use self::{
    lab::{Change, Lab},
    report::{Report, Row},
};
use crate::{Common, lab::within};

/// Of `reload`.
#[derive(Args)]
pub struct Options {
    /// How many members the fleet has.
    #[arg(long, default_value_t = 8_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    members: u32,
    /// How many allow rules the policy has.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rules: u32,
    /// How often the policy is changed, in each way.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    reloads: u32,
    #[command(flatten)]
    pub common: Common,
}

/// Between two looks at what is in force: what the figures are exact to.
const PERIOD: Duration = Duration::from_micros(50);
/// Between two changes, so that none waits for the one before.
const PAUSE: Duration = Duration::from_millis(100);

pub fn run(options: &Options, progress: &mut Progress) -> Result<Report> {
    // Whatever else this machine does stands back: it would be part of the figures.
    prefer(10).context("go before other programs")?;
    progress.step(&format!("a host among {} members", options.members));
    let lab = Lab::new(options.common.family, options.members, options.rules)?;
    within(lab, |lab| {
        let mut slot = Slot::of(&lab.host)?;
        let mut rows = Vec::new();
        for change in Change::ALL {
            progress.step(change.name());
            let mut latencies = Vec::new();
            for number in 1..=options.reloads {
                progress.show(&format!("{number} of {}", options.reloads));
                sleep(PAUSE);
                latencies.push(reload(lab, change, number, &mut slot)?);
            }
            latencies.sort_by(f64::total_cmp);
            rows.push(Row { change, latencies });
        }
        let Options { members, rules, .. } = *options;
        Ok(Report { family: options.common.family, members, rules, rows })
    })
}

/// Changes the policy; milliseconds until the host judges by it.
fn reload(lab: &Lab, change: Change, number: u32, slot: &mut Slot) -> Result<f64> {
    let before = slot.number()?;
    lab.set(change, number)?;
    let committed = Instant::now();
    while slot.number()? == before {
        interrupt::go_on()?;
        ensure!(
            committed.elapsed() < PATIENCE,
            "change {number} is not in force after {PATIENCE:?}"
        );
        sleep(PERIOD);
    }
    Ok(committed.elapsed().as_secs_f64() * 1e3)
}

/// What the programs go by: a packet reads which of two slots is in force, and finds all of a policy there.
struct Slot(Map);

impl Slot {
    fn of(host: &Host) -> Result<Self> {
        let path = host.pin("maps/settings_slot")?;
        Ok(Self(Map::open(&path).with_context(|| format!("open {}", path.display()))?))
    }

    fn number(&mut self) -> Result<u32> {
        let number = self.0.get(&[0; 4])?.and_then(|bytes| bytes.try_into().ok());
        number.map(u32::from_ne_bytes).context("settings_slot has a number")
    }
}
