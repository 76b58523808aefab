//! Promise: where the filter runs in XDP it refuses the same packets, before the stack sees them, and what it lets in is
//! translated as ever.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use harness::{
    PATIENCE, eventually,
    family::Family,
    host::{Host, HostOptions},
    in_both_families,
    packets::{Link, Wire, tagged},
    stage::{PairStage, pair_stage_with},
    topology::UPLINK,
    traffic::{BRIEFLY, TcpEcho, UdpClient, UdpEcho, ping, tcp, tcp_silent, udp},
};
use serde_json::{Value, json};

type Result = anyhow::Result<()>;

in_both_families!(
    members_talk_in_both_forms on stage("enforce"),
    strangers_are_refused_before_the_stack on stage("enforce"),
    observe_lets_strangers_in on stage("observe"),
);

const PORT: u16 = 7000;

fn stage(mode: &str) -> anyhow::Result<PairStage> {
    let options = HostOptions { extra: "attach = \"xdp\"\n".to_owned(), ..HostOptions::default() };
    let stage = pair_stage_with(Family::ALL, json!({ "mode": mode }), &options)?;
    let link = stage.right.site.netns.ip(&format!("-details link show dev {UPLINK}"))?;
    ensure!(link.contains("prog/xdp"), "the filter is in XDP: {link}");
    Ok(stage)
}

/// Packets with a reason that the XDP program has counted.
fn filtered(host: &Host, reason: &str) -> anyhow::Result<u64> {
    host.count("filter", reason)
}

fn members_talk_in_both_forms(stage: &PairStage, family: Family) -> Result {
    let (left, right) = (&stage.left, &stage.right);
    let (judged, translated) = (filtered(right, "member")?, left.count("ingress", "translated")?);
    let _tcp = TcpEcho::on(&right.site.netns, (family.any(), PORT))?;
    let _udp = UdpEcho::on(&right.site.netns, (family.any(), PORT))?;
    for dialled in [right.overlay(family), right.real(family)] {
        let to = SocketAddr::new(dialled, PORT);
        tcp(&left.site.netns, None, to)?;
        for connected in [true, false] {
            // Fragments: the filter's decision about the first one holds for all, in both programs.
            let client = UdpClient { connected, from: None };
            let answer = udp(&left.site.netns, client, to, 8000, PATIENCE)
                .with_context(|| format!("udp {to}, connected {connected}"))?;
            assert_eq!(answer, to);
        }
        ensure!(ping(&left.site.netns, dialled, "-s 4000", PATIENCE)?, "ping {dialled}");
    }
    ensure!(filtered(right, "member")? > judged);
    ensure!(
        left.count("ingress", "translated")? > translated,
        "the answers are translated after XDP"
    );
    Ok(())
}

fn strangers_are_refused_before_the_stack(stage: &PairStage, family: Family) -> Result {
    let right = &stage.right;
    let echo = UdpEcho::on(&right.site.netns, (family.any(), PORT))?;
    let _tcp = TcpEcho::on(&right.site.netns, (family.any(), PORT))?;
    let to = SocketAddr::new(right.real(family), PORT);
    let stranger = &stage.pair.stranger.netns;
    let before = filtered(right, "stranger")?;
    ensure!(tcp_silent(stranger, to));
    let client = UdpClient { connected: false, from: None };
    ensure!(udp(stranger, client, to, 3000, BRIEFLY).is_err());
    ensure!(!ping(stranger, right.real(family), "", BRIEFLY)?);
    eventually("all three are counted", || {
        filtered(right, "stranger").is_ok_and(|n| n >= before + 3)
    });
    assert_eq!(right.count("ingress", "stranger")?, 0, "tc does not see them");

    let neighbour = &stage.pair.neighbour;
    let link = Link { from: neighbour.netns.mac(UPLINK)?, to: right.site.netns.mac(UPLINK)? };
    let wire = Wire::open(&neighbour.netns, UPLINK)?;
    for (from, reason) in
        [(neighbour.real(family), "stranger"), (stage.left.overlay(family), "spoofed-overlay")]
    {
        let frame = link.udp((from, 4000).into(), to, b"injected");
        for tags in [&[][..], &[0], &[0, 0]] {
            let before = filtered(right, reason)?;
            wire.send(&tagged(&frame, tags))?;
            eventually(&format!("{reason} under tags {tags:?} is counted"), || {
                filtered(right, reason).is_ok_and(|after| after > before)
            });
        }
    }
    assert_eq!(echo.try_seen(), None, "none of them is delivered");
    Ok(())
}

fn observe_lets_strangers_in(stage: &PairStage, family: Family) -> Result {
    let would = || {
        let would =
            |counter: &Value| counter["hook"] == "filter" && counter["action"] == "would-drop";
        stage.right.count_where(would)
    };
    let before = would()?;
    let _echo = TcpEcho::on(&stage.right.site.netns, (family.any(), PORT))?;
    let to = SocketAddr::new(stage.right.real(family), PORT);
    tcp(&stage.pair.stranger.netns, None, to)?;
    ensure!(would()? > before);
    Ok(())
}
