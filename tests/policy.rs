//! Promise: members reach what the rules about their roles say, and who would be refused is seen before anybody is; an
//! overlay address may stand for somebody who is no member, and lets nobody in.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE, eventually,
    family::Family,
    host::{Host, HostOptions, counted},
    in_each_family,
    stage::{PairStage, pair_stage_with},
    traffic::{TcpEcho, UdpClient, UdpEcho, ping, tcp, tcp_silent, udp},
};
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
