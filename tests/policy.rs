//! Promise: members reach what the rules about their roles say, and who would be refused is seen before anybody is; an
//! overlay address may stand for somebody who is no member, and lets nobody in; what the settings say of a role or of a
//! host holds there and nowhere else.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE, eventually,
    family::Family,
    host::{Fleet, Host, HostOptions, counted, start_all},
    in_each_family,
    stage::{PairStage, pair_stage_with},
    topology::{Pair, Site, pair},
    traffic::{BRIEFLY, TcpEcho, UdpClient, UdpEcho, dial, ping, tcp, tcp_silent, udp},
};
use ipnet::IpNet;
use serde_json::{Value, json};

type Result = anyhow::Result<()>;

in_each_family!(who_may_talk_to_whom_is_seen_and_then_enforced,);

const OPEN: u16 = 7000;
const CLOSED: u16 = 7001;
const ASKED: u16 = 7002;

fn who_may_talk_to_whom_is_seen_and_then_enforced(family: Family) -> Result {
    let rules = ["from role web to role web tcp/7000", "from host right to host left udp/7002"];
    let settings = |mode: &str, rules: &[&str], overrides: Value| {
        json!({
            "roles": { "web": { "mode": mode } }, "member_rules": rules,
            "nat_overrides": overrides,
        })
    };
    let options = HostOptions { extra: "role = \"web\"\n".to_owned(), ..HostOptions::default() };
    let stage = pair_stage_with(family, settings("observe", &rules, json!({})), &options)?;
    let right = &stage.right.site.netns;
    let _open = TcpEcho::on(right, (family.any(), OPEN))?;
    let _closed = TcpEcho::on(right, (family.any(), CLOSED))?;
    let _asked = UdpEcho::on(&stage.left.site.netns, (family.any(), ASKED))?;

    let rule = seen_before_it_is_enforced(&stage, family)?;
    stage.fleet.set(settings("enforce", &rules, json!({})))?;
    enforces(&stage.left);
    enforces(&stage.right);
    roles_are_enforced(&stage, family)?;

    // What was told admits what was refused.
    stage.fleet.set(settings("enforce", &[rules[0], rules[1], &rule], json!({})))?;
    eventually("the rule is in force", || {
        tcp(&stage.left.site.netns, None, at(&stage.right, family, CLOSED)).is_ok()
    });

    let overlay = family.ghost(9);
    let stranger = &stage.pair.stranger;
    let overrides = json!({ overlay.to_string(): stranger.real(family) });
    let _there = TcpEcho::on(&stranger.netns, (family.any(), OPEN))?;
    stage.fleet.set(settings("enforce", &rules, overrides))?;
    let left = &stage.left.site.netns;
    eventually("the address leads there", || {
        ping(left, overlay, "", Duration::from_secs(1)).unwrap_or(false)
    });
    tcp(left, None, SocketAddr::new(overlay, OPEN))?;
    counted(&stage.right, "stranger", "drop", || {
        ensure!(tcp_silent(&stranger.netns, (stage.right.real(family), OPEN).into()), "let in");
        Ok(())
    })
}

/// By overlay address.
fn at(host: &Host, family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(host.overlay(family), port)
}

fn enforces(host: &Host) {
    eventually(&format!("{} enforces", host.name), || {
        host.show("status").is_ok_and(|status| status["mode"] == "enforce")
    });
}

/// Nothing is refused, and what would be is told; the rule that would help.
fn seen_before_it_is_enforced(stage: &PairStage, family: Family) -> anyhow::Result<String> {
    let left = &stage.left.site.netns;
    for port in [OPEN, CLOSED] {
        tcp(left, None, at(&stage.right, family, port))?;
    }
    let drops = stage.right.show("drops --would")?;
    let drops = drops.as_array().context("a list")?;
    let [drop] = &drops[..] else { anyhow::bail!("one service of one source, not {drops:?}") };
    ensure!(drop["source"] == json!(stage.left.real(family)), "{drop}");
    ensure!(drop["member"] == "left" && drop["reason"] == "role", "{drop}");
    ensure!(drop["service"] == format!("tcp/{CLOSED}"), "{drop}");
    ensure!(
        drop["would_drop"].as_u64() > Some(0) && drop["packets"] == drop["would_drop"],
        "{drop}"
    );
    let rule = drop["admitted_by"].as_str().and_then(|rule| rule.strip_prefix("member_rules: "));
    Ok(serde_json::from_str(rule.context("a rule about members")?)?)
}

fn roles_are_enforced(stage: &PairStage, family: Family) -> Result {
    let (left, right) = (&stage.left.site.netns, &stage.right.site.netns);
    tcp(left, None, at(&stage.right, family, OPEN))?;
    for address in [stage.right.overlay(family), stage.right.real(family)] {
        counted(&stage.right, "role", "drop", || {
            ensure!(tcp_silent(left, (address, CLOSED).into()), "answered");
            Ok(())
        })?;
    }
    ensure!(ping(left, stage.right.overlay(family), "", PATIENCE)?, "a member's ping is refused");
    // Nobody may send to the port that it asks from, and the answer comes back.
    for connected in [true, false] {
        let client = UdpClient { connected, from: None };
        udp(right, client, at(&stage.left, family, ASKED), 100, PATIENCE)?;
    }
    Ok(())
}

/// How somebody fares on a port.
type Fare = (&'static str, &'static str);
const REFUSED: Fare = ("stranger", "drop");
const TOLD: Fare = ("stranger", "would-drop");
const ALLOWED: Fare = ("allowed", "pass");
const OPENED: Fare = ("open-port", "pass");

/// Two hosts, `left` of role web and `right` of role db, on which strangers dial [`OPEN`] and [`CLOSED`].
struct Scopes {
    left: Host,
    right: Host,
    fleet: Fleet,
    pair: Pair,
    _echoes: Vec<TcpEcho>,
}

impl Scopes {
    fn new(settings: Value) -> anyhow::Result<Self> {
        let pair = pair(Family::ALL)?;
        let fleet = Fleet::new(Family::ALL, settings)?;
        let host = |name, site, role| {
            let extra = format!("role = \"{role}\"\n");
            fleet.host_with(name, site, &HostOptions { extra, ..HostOptions::default() })
        };
        let mut left = host("left", &pair.left, "web")?;
        let mut right = host("right", &pair.right, "db")?;
        start_all(&mut [&mut left, &mut right])?;
        let mut echoes = Vec::new();
        for netns in [&pair.left.netns, &pair.right.netns] {
            for family in Family::ALL {
                echoes.push(TcpEcho::on(netns, (family.any(), OPEN))?);
                echoes.push(TcpEcho::on(netns, (family.any(), CLOSED))?);
            }
        }
        Ok(Self { left, right, fleet, pair, _echoes: echoes })
    }

    /// Whether somebody's connection to a port comes to this end.
    fn fares(&self, from: &Site, to: &Host, family: Family, port: u16, fare: Fare) -> bool {
        let (reason, action) = fare;
        let count = || to.arrived(reason, action).unwrap_or_default();
        let (before, to) = (count(), SocketAddr::new(to.real(family), port));
        let connected = dial(&from.netns, None, to, BRIEFLY).is_ok();
        connected == (action != "drop") && count() > before
    }

    /// Sets these settings, after which everybody is to fare so.
    fn set(&self, settings: Value, fares: &[(&str, &Site, &Host, u16, Fare)]) -> Result {
        self.fleet.set(settings)?;
        for (who, from, to, port, fare) in fares {
            for family in Family::ALL {
                eventually(
                    &format!("{who} on port {port} of {}: {family}: {fare:?}", to.name),
                    || self.fares(from, to, family, *port, *fare),
                );
            }
        }
        Ok(())
    }
}

#[test]
fn what_is_said_of_a_role_or_a_host_holds_there_alone() -> Result {
    let overrides = |mode: &str, db: Value, hosts: Value| json!({ "mode": mode, "roles": { "web": {}, "db": db }, "hosts": hosts });
    let enforce = || json!({ "mode": "enforce" });
    let stage = Scopes::new(overrides("observe", json!({}), json!({})))?;
    let Scopes { left, right, .. } = &stage;
    let (stranger, neighbour) = (&stage.pair.stranger, &stage.pair.neighbour);

    // A role's mode, and that of one host.
    let seen = [
        ("a stranger", stranger, right, OPEN, REFUSED),
        ("a stranger", stranger, left, OPEN, TOLD),
    ];
    stage.set(overrides("observe", enforce(), json!({})), &seen)?;
    assert_eq!(left.arrived("stranger", "drop")?, 0);
    for family in Family::ALL {
        ensure!(ping(&stranger.netns, left.real(family), "", PATIENCE)?, "observe refuses a ping");
        ensure!(!ping(&stranger.netns, right.real(family), "", BRIEFLY)?, "enforce answers one");
    }
    let turned = [
        ("a stranger", stranger, right, OPEN, TOLD),
        ("a stranger", stranger, left, OPEN, REFUSED),
    ];
    let hosts = json!({ "left": enforce(), "right": { "mode": "observe" } });
    stage.set(overrides("observe", enforce(), hosts), &turned)?;

    // A role's rules.
    let ranges = Family::ALL.map(|family| stranger.real(family));
    let allow: Vec<Value> = ranges
        .iter()
        .map(|from| json!({ "from": IpNet::from(*from), "protocol": "tcp", "ports": [OPEN.to_string()] }))
        .collect();
    let db = json!({ "echo": true, "allow": allow, "open": [format!("tcp/{CLOSED}")] });
    let fares = [
        ("the allowed one", stranger, right, OPEN, ALLOWED),
        ("another", neighbour, right, OPEN, REFUSED),
        ("another", neighbour, right, CLOSED, OPENED),
        ("the allowed one", stranger, left, OPEN, REFUSED),
        ("another", neighbour, left, CLOSED, REFUSED),
    ];
    stage.set(overrides("enforce", db, json!({})), &fares)?;
    for family in Family::ALL {
        ensure!(ping(&neighbour.netns, right.real(family), "", PATIENCE)?, "echo is on");
        ensure!(!ping(&neighbour.netns, left.real(family), "", BRIEFLY)?, "echo is off");
    }

    // A host's.
    let hosts = json!({ "left": { "allow": allow, "open": [format!("tcp/{CLOSED}")] } });
    let fares = [
        ("the allowed one", stranger, left, OPEN, ALLOWED),
        ("another", neighbour, left, OPEN, REFUSED),
        ("another", neighbour, left, CLOSED, OPENED),
        ("the allowed one", stranger, right, OPEN, REFUSED),
        ("another", neighbour, right, CLOSED, REFUSED),
    ];
    stage.set(overrides("enforce", json!({}), hosts), &fares)
}
