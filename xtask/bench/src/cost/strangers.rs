//! What a policy costs those whom it is about: strangers that are refused, and strangers and members that a rule lets in.

mod gate;
mod policy;

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use harness::{
    flood::{Flood, Kind},
    interrupt,
    packets::Link,
    process::on_one_processor,
    progress::Progress,
    topology::UPLINK,
};

use self::gate::Gate;
use super::{
    Plan,
    lab::{Lab, RIGHT},
    rounds::Series,
    server::PORT,
    workload::{Metric, connections},
};

/// How many rules the policies have.
const RULES: [usize; 2] = [1, 1000];
/// A flood lasts so long before it is measured.
const SETTLING: Duration = Duration::from_millis(50);

/// Whom a policy is asked about.
#[derive(Clone, Copy)]
enum Case {
    /// A flood of strangers that no rule lets in.
    Refused,
    /// A stranger that the last rule lets in.
    Stranger,
    /// A member that the last rule lets in.
    Member,
}

impl Case {
    const ALL: [Self; 3] = [Self::Refused, Self::Stranger, Self::Member];

    /// By each number of [`RULES`].
    fn metrics(self) -> &'static [Metric; RULES.len()] {
        const fn metric(key: &'static str, name: &'static str, unit: &'static str) -> Metric {
            Metric { key, name, unit, digits: 0 }
        }
        const DROPPED: &str = "dropped/s, a core";
        const MADE: &str = "new ones/s";
        match self {
            Self::Refused => {
                &const {
                    [
                        metric("strangers_dropped", "strangers' SYNs", DROPPED),
                        metric("strangers_dropped_1000_rules", "SYNs, 1,000 rules", DROPPED),
                    ]
                }
            }
            Self::Stranger => {
                &const {
                    [
                        metric("stranger_connections", "stranger let in", MADE),
                        metric("stranger_connections_1000_rules", "stranger, 1,000 rules", MADE),
                    ]
                }
            }
            Self::Member => {
                &const {
                    [
                        metric("member_connections", "member let in", MADE),
                        metric("member_connections_1000_rules", "member, 1,000 rules", MADE),
                    ]
                }
            }
        }
    }

    /// Per second; `None` where it cannot be asked.
    fn measure(self, gate: &Gate<'_>, time: Duration) -> Result<Option<f64>> {
        let (client, address) = match self {
            Self::Refused if gate.refuses() => {
                let rate = gate.closed(|| dropped(gate, time));
                return rate.map(Some).with_context(|| format!("strangers at {}", gate.name));
            }
            Self::Stranger if gate.lets_in() => (&gate.pair.stranger, gate.real()),
            Self::Member if gate.lets_in() => (&gate.pair.left, gate.member),
            _ => return Ok(None),
        };
        let to = [(address, PORT).into()];
        let rate = on_one_processor(|| client.netns.run(|| connections(&to, time)))?;
        rate.map(Some).with_context(|| format!("whom rules let in, {}", gate.name))
    }
}

/// Measures all rounds, and leaves no rules.
pub fn measure(plan: &Plan, progress: &mut Progress, lab: &Lab) -> Result<Vec<Series>> {
    let mut gates = gate::all(lab)?;
    let mut all: Vec<Series> =
        Case::ALL.into_iter().flat_map(Case::metrics).map(Series::of).collect();
    for round in 0..plan.rounds as usize {
        progress.step(&format!("a policy, round {} of {}", round + 1, plan.rounds));
        for (size, rules) in RULES.into_iter().enumerate() {
            gates.iter_mut().try_for_each(|gate| gate.allow(rules))?;
            for turn in 0..gates.len() {
                let gate = &gates[(round + turn) % gates.len()];
                progress.show(&format!("{rules} rules, {}", gate.name));
                interrupt::go_on()?;
                for (case, series) in Case::ALL.into_iter().zip(all.chunks_mut(RULES.len())) {
                    if let Some(rate) = case.measure(gate, plan.policy)? {
                        series[size].push(gate.name, rate);
                    }
                }
            }
        }
    }
    gates.iter_mut().try_for_each(|gate| gate.allow(0))?;
    Ok(all)
}

/// SYNs of strangers that come to a server and go no further, per second. One processor sends them, as many as it can,
/// takes them in, and drops them.
fn dropped(gate: &Gate<'_>, time: Duration) -> Result<f64> {
    let (router, server) = (&gate.pair.lan.router, &gate.pair.right.netns);
    // From the other end of the server's link: nothing else is on their way.
    let interface = format!("port-{RIGHT}");
    let flood = Flood {
        from: router.clone(),
        link: Link { from: router.mac(&interface)?, to: server.mac(UPLINK)? },
        interface,
        to: gate.real(),
        kinds: vec![Kind::Syn],
        rate: None,
    };
    let flood = on_one_processor(|| flood.start()).context("stay on one processor")?;
    sleep(SETTLING);
    let counts = || anyhow::Ok((server.received(UPLINK)?, server.sent(UPLINK)?));
    let (before, begun) = (counts()?, Instant::now());
    sleep(time);
    let (after, lasted) = (counts()?, begun.elapsed().as_secs_f64());
    flood.stop()?;
    let (came, answered) = (after.0 - before.0, after.1 - before.1);
    // What else a host sends by itself is not much, whatever the rate.
    ensure!(answered * 10 < came, "{answered} of {came} strangers were answered");
    Ok((came - answered) as f64 / lasted)
}
