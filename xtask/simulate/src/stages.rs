//! What is measured, one after the other.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use harness::{
    figures::{memory, processor_time},
    interrupt,
    progress::Progress,
};
use neti_simulate::{arrival, lab::Lab, synthetic::Member};

use crate::{
    Arguments,
    churn::{self, Plan},
    report::{Report, Times},
};

/// What a start leaves behind is done by then.
const SETTLING: Duration = Duration::from_secs(5);
/// For how long the daemon is looked at while nothing changes.
const IDLE: Duration = Duration::from_secs(10);

pub fn all(arguments: &Arguments, progress: &mut Progress, mut lab: Lab) -> Result<Report> {
    let mut members: Vec<Member> = (1..=arguments.members).map(Member::new).collect();
    progress.step(&format!("writing {} members", members.len()));
    let filling = fill(&lab, &members, progress)?;

    progress.step("starting neti");
    let times = Times { filling, ..start(&mut lab, &members)? };
    let pid = lab.host.pid().context("neti has ended")?;
    let after_sync = memory(pid)?;

    progress.step("nothing changes");
    pause(progress, SETTLING)?;
    let before = processor_time(pid)?;
    pause(progress, IDLE)?;
    let idle = share(processor_time(pid)? - before, IDLE);

    let plan = Plan { rate: arguments.churn, seconds: arguments.seconds };
    progress.step(&format!("{} changes per second, for {} s", plan.rate, plan.seconds));
    progress.show("");
    let (before, begun) = (processor_time(pid)?, Instant::now());
    let outcome = churn::run(&lab, &mut members, plan)?;
    let busy = share(processor_time(pid)? - before, begun.elapsed());
    Ok(Report {
        registry: arguments.registry,
        members: arguments.members,
        plan,
        times,
        latencies: outcome.latencies,
        lost: outcome.lost,
        lasted: outcome.lasted,
        idle,
        busy,
        after_sync,
        after_churn: memory(pid)?,
        maps: arrival::map_memory(&lab.host)?,
    })
}

/// Writes all members; how long it took.
fn fill(lab: &Lab, members: &[Member], progress: &mut Progress) -> Result<Duration> {
    let begun = Instant::now();
    lab.operator.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let writer = lab.server.writer().await?;
            let tell = |done| {
                progress.show(&format!("{done}"));
                interrupt::go_on()
            };
            writer.fill(members, tell).await
        })
    })?;
    Ok(begun.elapsed())
}

/// Starts neti and waits until it is ready and has all members in its maps.
fn start(lab: &mut Lab, members: &[Member]) -> Result<Times> {
    let instance = lab.host.instance.clone();
    let ended = AtomicBool::new(false);
    let begun = Instant::now();
    lab.host.launch()?;
    thread::scope(|scope| {
        let arrival = scope.spawn(|| arrival::of_all(&instance, members, &ended));
        let ready = lab.host.wait_ready().map(|()| begun.elapsed());
        ended.store(ready.is_err(), Ordering::Relaxed);
        let synced = arrival.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let ready = ready?;
        Ok(Times { filling: Duration::ZERO, ready, synced: synced?.duration_since(begun) })
    })
}

/// Percent of one processor.
fn share(spent: Duration, of: Duration) -> f64 {
    spent.as_secs_f64() / of.as_secs_f64() * 100.0
}

fn pause(progress: &mut Progress, length: Duration) -> Result<()> {
    let end = Instant::now() + length;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        interrupt::go_on()?;
        progress.show(&format!("{:.0} s left", left.as_secs_f64().ceil()));
        sleep(left.min(Duration::from_millis(200)));
    }
    Ok(())
}
