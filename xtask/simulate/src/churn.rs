//! Members move, leave and come back at a steady rate, and somebody looks when the host's maps know.
//!
//! Of ten changes eight are of a private address; one is a member that says that it leaves, and one its return, so that
//! never more than one is away and nothing looks like a registry that has lost its fleet.

use std::{
    net::Ipv4Addr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use harness::interrupt;
use neti_simulate::{arrival::Maps, lab::Lab, registry::Writer, synthetic::Member};
use tokio::time::sleep_until;

/// Between two looks into the maps: what the figures are exact to.
const PERIOD: Duration = Duration::from_micros(100);
/// How long the last changes may take.
const PATIENCE: Duration = Duration::from_secs(30);

const PRIME: usize = 7919;

/// How much is changed.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Changes per second.
    pub rate: u32,
    pub seconds: u32,
}

/// What it came to.
pub struct Outcome {
    /// Milliseconds from the acknowledgement of each change that arrived until it was seen, in order of size.
    pub latencies: Vec<f64>,
    /// Changes that did not arrive.
    pub lost: usize,
    /// How long it took to make them.
    pub lasted: Duration,
}

/// A change, which is known by whether an address is in the map of members.
struct Change {
    address: Ipv4Addr,
    present: bool,
    acknowledged: Option<Instant>,
    seen: Option<Instant>,
}

/// Makes changes to `members`, which the host knows.
pub fn run(lab: &Lab, members: &mut [Member], plan: Plan) -> Result<Outcome> {
    let maps = Maps::open(&lab.host.instance)?;
    let changes = Mutex::new(Vec::new());
    let made = AtomicBool::new(false);
    let lasted = thread::scope(|scope| {
        let looking = scope.spawn(|| look(maps, &changes, &made));
        let lasted = lab.operator.run(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let writer = lab.server.writer().await?;
                make(&writer, members, plan, &changes).await
            })
        });
        made.store(true, Ordering::Relaxed);
        let looked = looking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        lasted.and_then(|lasted| looked.map(|()| lasted))
    })?;
    let changes = changes.into_inner().unwrap_or_else(PoisonError::into_inner);
    let latency = |change: &Change| {
        // It may be in the maps before the registry's answer is here.
        let latency = change.seen?.saturating_duration_since(change.acknowledged?);
        Some(latency.as_secs_f64() * 1e3)
    };
    let mut latencies: Vec<f64> = changes.iter().filter_map(latency).collect();
    latencies.sort_by(f64::total_cmp);
    Ok(Outcome { lost: changes.len() - latencies.len(), latencies, lasted })
}

/// Makes the changes, one after the other, and gives how long that took.
async fn make(
    writer: &Writer,
    members: &mut [Member],
    plan: Plan,
    changes: &Mutex<Vec<Change>>,
) -> Result<Duration> {
    let begun = Instant::now();
    let mut here: Vec<&mut Member> = members.iter_mut().filter(|member| member.is_here()).collect();
    let count = here.len();
    // Neighbours in the registry do not change together.
    let step = if count.is_multiple_of(PRIME) { 1 } else { PRIME };
    for number in 0..plan.rate * plan.seconds {
        interrupt::go_on()?;
        sleep_until((begun + Duration::from_secs(1) * number / plan.rate).into()).await;
        // Who has left comes back five changes later.
        let turn = if number % 10 == 9 { number - 5 } else { number };
        let member = &mut here[turn as usize * step % count];
        let leaves = number % 10 == 4;
        match leaves {
            true => member.leave(),
            false => member.move_to(number),
        }
        let change =
            Change { address: member.private(), present: !leaves, acknowledged: None, seen: None };
        let index = {
            let mut changes = changes.lock().unwrap_or_else(PoisonError::into_inner);
            changes.push(change);
            changes.len() - 1
        };
        writer.change(member).await.with_context(|| format!("change {number}"))?;
        let acknowledged = Instant::now();
        let mut changes = changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes[index].acknowledged = Some(acknowledged);
    }
    Ok(begun.elapsed())
}

/// Notes when changes are seen, until all that were made are, or patience is over.
fn look(mut maps: Maps, changes: &Mutex<Vec<Change>>, made: &AtomicBool) -> Result<()> {
    let (mut known, mut open) = (0, Vec::new());
    let mut deadline = None;
    loop {
        interrupt::go_on()?;
        // Asked first: whatever was made before is then among the changes.
        let ended = made.load(Ordering::Relaxed);
        {
            let changes = changes.lock().unwrap_or_else(PoisonError::into_inner);
            let arrived = changes.iter().enumerate().skip(known);
            open.extend(arrived.map(|(index, change)| (index, change.address, change.present)));
            known = changes.len();
        }
        let mut seen = Vec::new();
        let mut still = Vec::new();
        for (index, address, present) in open.drain(..) {
            match maps.has_real(address)? == present {
                true => seen.push(index),
                false => still.push((index, address, present)),
            }
        }
        open = still;
        if !seen.is_empty() {
            let now = Instant::now();
            let mut changes = changes.lock().unwrap_or_else(PoisonError::into_inner);
            seen.into_iter().for_each(|index| changes[index].seen = Some(now));
        }
        if ended
            && (open.is_empty()
                || *deadline.get_or_insert(Instant::now() + PATIENCE) < Instant::now())
        {
            return Ok(());
        }
        thread::sleep(PERIOD);
    }
}
