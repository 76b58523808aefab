//! Promise: while the policy is changed again and again, each packet is judged by the whole of one policy: what all of
//! them admit is never dropped, what none of them admits never passes, and what goes on goes on.

mod policies;
mod probe;

use std::{
    net::SocketAddr,
    panic::resume_unwind,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context, ensure};
use harness::{
    eventually,
    family::Family,
    host::Host,
    stage::{PairStage, pair_stage},
    traffic::{TcpEcho, exchange, tcp, without_loss},
};

use self::{
    policies::{POLICIES, SERVED, only, settings},
    probe::Probe,
};

type Result = anyhow::Result<()>;

const RELOADS: usize = 100;

#[test]
fn no_packet_meets_half_of_a_policy() -> Result {
    let stage = pair_stage(Family::ALL, settings(0))?;
    let (left, right, neighbour) = (&stage.left, &stage.right, &stage.pair.neighbour);
    let before = [dropped(left)?, dropped(right)?];
    let probes = [
        Probe::start(neighbour, &right.site, Family::V4)?,
        Probe::start(neighbour, &right.site, Family::V6)?,
    ];
    let answers = |policy| probes.each_ref().map(|probe| probe.answered(only(policy)));
    undisturbed(&stage, || {
        for number in 1..=RELOADS {
            let policy = number % POLICIES;
            let before = answers(policy);
            stage.fleet.set(settings(policy))?;
            eventually(&format!("policy {policy} is in force"), || {
                answers(policy).iter().zip(before).all(|(answers, before)| *answers > before)
            });
        }
        Ok(())
    })?;
    let mut refused = 0;
    for probe in probes {
        refused += probe.finish()?;
    }
    // Everything that was dropped is what all policies, or the one of that moment, refuse.
    let after = [dropped(left)?, dropped(right)?];
    ensure!(after == [before[0], before[1] + refused], "{before:?} {after:?}, {refused} refused");
    Ok(())
}

/// Packets that a host has dropped.
fn dropped(host: &Host) -> anyhow::Result<u64> {
    host.count_where(|counter| counter["action"] == "drop")
}

/// Runs `work` while members and a stranger whom every policy lets in talk to a host, over connections that are there and
/// over others, and members ping it, in both families.
///
/// # Errors
/// If anything of that fails.
fn undisturbed(stage: &PairStage, work: impl FnOnce() -> Result) -> Result {
    let PairStage { left, right, pair, .. } = stage;
    let ended = AtomicBool::new(false);
    let until_ended = |talk: &dyn Fn() -> Result| -> Result {
        let mut times = 0;
        while !ended.load(Ordering::Relaxed) {
            talk().with_context(|| format!("after {times} times"))?;
            times += 1;
        }
        ensure!(times > 0, "not once");
        Ok(())
    };
    let mut connections = Vec::new();
    let mut servers = Vec::new();
    for family in Family::ALL {
        servers.push(TcpEcho::on(&right.site.netns, (family.any(), SERVED))?);
        for (from, to) in
            [(&left.site.netns, right.overlay(family)), (&pair.stranger.netns, right.real(family))]
        {
            let to = SocketAddr::new(to, SERVED);
            connections.push((from, to, tcp(from, None, to)?));
        }
    }
    thread::scope(|scope| {
        let mut talks = Vec::new();
        for (from, to, old) in &connections {
            let again = || until_ended(&|| exchange(old, 10_000)).context("an old connection");
            let anew =
                || until_ended(&|| tcp(from, None, *to).map(drop)).context("new connections");
            talks.push((to, [scope.spawn(again), scope.spawn(anew)]));
        }
        let [v4, v6] = Family::ALL.map(|family| right.overlay(family));
        let pinged = &left.site.netns;
        let worked = without_loss(pinged, v4, || without_loss(pinged, v6, work));
        ended.store(true, Ordering::Relaxed);
        let mut talked = Ok(());
        for (to, threads) in talks {
            for thread in threads {
                let done = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
                talked = talked.and(done.with_context(|| to.to_string()));
            }
        }
        worked.and(talked)
    })
}
