//! Members move to other addresses, and somebody looks when the host's maps know.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::{interrupt, progress::Progress};
use neti_simulate::{
    arrival::{Maps, PATIENCE},
    lab::Lab,
    registry::Writer,
    synthetic::Member,
};
use tokio::runtime;

use super::said::Said;

/// How often something is changed.
#[derive(Clone, Copy)]
pub struct Counts {
    /// One member.
    pub one: u32,
    /// [`MANY`] of them.
    pub many: u32,
}

/// Members that change at once.
pub const MANY: usize = 1_000;

/// Of each kind of change.
pub struct Latencies {
    pub one: Changes,
    pub many: Changes,
}

/// Changes of one kind.
pub struct Changes {
    /// How many members each is of.
    pub members: usize,
    /// Milliseconds from the daemon's hearing of a change until it was in the kernel's maps, in order of size. Of what
    /// the daemon brings into the maps in several steps, those of the slowest.
    pub heard: Vec<f64>,
    /// Milliseconds from the registry's acknowledgement until it was seen in the kernel's maps, in order of size.
    pub acknowledged: Vec<f64>,
}

const PRIME: usize = 7919;

/// What a start leaves to do, the files of a large fleet, is done by then; none of the changes waits for that.
const SETTLING: Duration = Duration::from_secs(5);
/// Between two changes, so that none waits for the one before.
const PAUSE: Duration = Duration::from_millis(50);
/// Between two looks into the maps: what the figures are exact to.
const PERIOD: Duration = Duration::from_micros(50);

pub fn measure(
    lab: &Lab,
    members: &mut [Member],
    counts: Counts,
    progress: &mut Progress,
) -> Result<Latencies> {
    let count = members.len();
    // Addresses that nobody has had.
    let mut serial = 0;
    let mut here: Vec<&mut Member> = members.iter_mut().filter(|member| member.is_here()).collect();
    let mut kind = |times: u32, at_once: usize, what: &str| {
        progress.step(&format!("{count} members: {what}"));
        sleep(SETTLING);
        let mut changes = Changes { members: at_once, heard: Vec::new(), acknowledged: Vec::new() };
        for number in 0..times {
            progress.show(&format!("{} of {times}", number + 1));
            sleep(PAUSE);
            // All over the fleet, and others each time.
            let (count, first) = (here.len(), number as usize * PRIME);
            let mut moved = Vec::new();
            for index in 0..at_once {
                let member = &mut here[(first + index * (count / at_once)) % count];
                serial += 1;
                member.move_to(serial);
                moved.push(member.clone());
            }
            changes.add(lab, &moved)?;
        }
        changes.heard.sort_by(f64::total_cmp);
        changes.acknowledged.sort_by(f64::total_cmp);
        Ok::<_, anyhow::Error>(changes)
    };
    let many = MANY.min(count / 2);
    Ok(Latencies {
        one: kind(counts.one, 1, "one changes")?,
        many: kind(counts.many, many, &format!("{many} change at once"))?,
    })
}

impl Changes {
    /// Writes these, of which none is in the maps as it is, and waits until all are.
    fn add(&mut self, lab: &Lab, moved: &[Member]) -> Result<()> {
        let before = lab.host.log().len();
        let mut maps = Maps::open(&lab.host.instance)?;
        let acknowledged = lab.operator.run(|| {
            runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(async { write(&lab.server.writer().await?, moved).await })
        })?;
        for member in moved {
            while !maps.has_real(member.private())? {
                interrupt::go_on()?;
                let waited = acknowledged.elapsed();
                ensure!(waited < PATIENCE, "{} is not in the maps after {waited:?}", member.id());
                sleep(PERIOD);
            }
        }
        self.acknowledged.push(acknowledged.elapsed().as_secs_f64() * 1e3);
        self.heard.push(slowest(lab, before, moved.len())?);
        Ok(())
    }
}

/// Gives the moment when the last was acknowledged.
async fn write(writer: &Writer, moved: &[Member]) -> Result<Instant> {
    match moved {
        [one] => writer.change(one).await?,
        many => writer.change_all(many).await?,
    }
    Ok(Instant::now())
}

/// Milliseconds from the daemon's hearing of so many changes until they were in force, which it says after that.
fn slowest(lab: &Lab, before: usize, count: usize) -> Result<f64> {
    let begun = Instant::now();
    loop {
        let log = lab.host.log();
        let said = Said::all(log.get(before..).unwrap_or_default(), "maps changed");
        let put: f64 = said.iter().filter_map(|line| line.number("put")).sum();
        if put >= count as f64 {
            let heard = said.iter().filter_map(|line| line.number("heard_ms"));
            return heard.reduce(f64::max).context("neti has not heard of a change, but found it");
        }
        ensure!(begun.elapsed() < PATIENCE, "neti says of {put} changes, not of {count}");
        sleep(PERIOD);
    }
}
