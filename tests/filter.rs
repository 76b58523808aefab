//! Promise: under `enforce` a host hears members and what the rules admit, and no other stranger; under `observe` it hears
//! everyone and counts whom it would have refused.

use std::net::{SocketAddr, UdpSocket};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE, eventually,
    family::Family,
    host::{Host, counted},
    in_both_families, in_each_family,
    stage::{PairStage, enforcing_pair, pair_stage},
    topology::{INTERNET, Site},
    traffic::{BRIEFLY, TcpEcho, UdpClient, UdpEcho, dial, ping, tcp, tcp_silent, udp},
};
use ipnet::IpNet;
use serde_json::{Value, json};

type Result = anyhow::Result<()>;

in_each_family!(rules_admit_what_they_say,);

in_both_families!(
    enforce_refuses_strangers on enforcing_pair(),
    observe_lets_strangers_in_and_counts_them
        on pair_stage(Family::ALL, json!({ "mode": "observe" })),
    the_mode_is_changed_in_the_registry
        on pair_stage(Family::ALL, json!({ "mode": "observe" })),
    ssh_from_the_failsafe_ranges_is_never_refused on enforcing_pair(),
    strangers_may_ping_where_the_fleet_says_so
        on pair_stage(Family::ALL, json!({ "mode": "enforce", "echo": true })),
);

const PORT: u16 = 7000;
const CLIENT: UdpClient = UdpClient { connected: false, from: None };

fn to(host: &Host, family: Family, port: u16) -> SocketAddr {
    SocketAddr::new(host.real(family), port)
}

fn enforce_refuses_strangers(stage: &PairStage, family: Family) -> Result {
    let right = &stage.right;
    let tcp_echo = TcpEcho::on(&right.site.netns, (family.any(), PORT))?;
    let udp_echo = UdpEcho::on(&right.site.netns, (family.any(), PORT))?;
    for stranger in [&stage.pair.stranger, &stage.pair.neighbour] {
        let netns = &stranger.netns;
        counted(right, "stranger", "drop", || {
            ensure!(tcp_silent(netns, to(right, family, PORT)), "a stranger's SYN is answered");
            ensure!(
                tcp_silent(netns, to(right, family, 9)),
                "a closed port tells a stranger that it is"
            );
            Ok(())
        })?;
        counted(right, "stranger", "drop", || {
            ensure!(udp(netns, CLIENT, to(right, family, PORT), 10, BRIEFLY).is_err(), "answered");
            Ok(())
        })?;
        counted(right, "stranger", "drop", || {
            ensure!(
                !ping(netns, right.real(family), "", BRIEFLY)?,
                "a stranger's ping is answered"
            );
            Ok(())
        })?;
    }
    assert_eq!(tcp_echo.try_seen(), None);
    assert_eq!(udp_echo.try_seen(), None);
    Ok(())
}

fn observe_lets_strangers_in_and_counts_them(stage: &PairStage, family: Family) -> Result {
    let right = &stage.right;
    let _tcp = TcpEcho::on(&right.site.netns, (family.any(), PORT))?;
    let _udp = UdpEcho::on(&right.site.netns, (family.any(), PORT))?;
    let netns = &stage.pair.stranger.netns;
    counted(right, "stranger", "would-drop", || {
        tcp(netns, None, to(right, family, PORT)).map(drop)
    })?;
    counted(right, "stranger", "would-drop", || {
        let answer = udp(netns, CLIENT, to(right, family, PORT), 10, PATIENCE)?;
        ensure!(answer == to(right, family, PORT), "answered by {answer}");
        Ok(())
    })?;
    counted(right, "stranger", "would-drop", || {
        ensure!(ping(netns, right.real(family), "", PATIENCE)?, "observe must not refuse a ping");
        Ok(())
    })?;
    // Whoever is answered has not been asked.
    let client = netns.run(|| UdpSocket::bind((family.any(), 0)))?;
    client.set_read_timeout(Some(PATIENCE))?;
    for _ in 0..3 {
        counted(right, "stranger", "would-drop", || {
            client.send_to(b"again", to(right, family, PORT))?;
            Ok(client.recv_from(&mut [0; 100]).map(drop)?)
        })?;
    }
    assert_eq!(right.arrived("stranger", "drop")?, 0);
    Ok(())
}

fn the_mode_is_changed_in_the_registry(stage: &PairStage, family: Family) -> Result {
    let right = &stage.right;
    let _echo = UdpEcho::on(&right.site.netns, (family.any(), PORT))?;
    let netns = &stage.pair.stranger.netns;
    udp(netns, CLIENT, to(right, family, PORT), 10, PATIENCE).context("observe")?;
    let before = right.arrived("stranger", "drop")?;
    stage.fleet.set(json!({ "mode": "enforce" }))?;
    // Silence alone may be a slow machine's.
    eventually("strangers are refused", || {
        let answered = udp(netns, CLIENT, to(right, family, PORT), 10, BRIEFLY).is_ok();
        !answered && right.arrived("stranger", "drop").is_ok_and(|dropped| dropped > before)
    });
    stage.fleet.set(json!({ "mode": "observe" }))?;
    eventually("strangers are heard", || {
        udp(netns, CLIENT, to(right, family, PORT), 10, BRIEFLY).is_ok()
    });
    Ok(())
}

fn ssh_from_the_failsafe_ranges_is_never_refused(stage: &PairStage, family: Family) -> Result {
    let right = &stage.right;
    let _ssh = TcpEcho::on(&right.site.netns, (family.any(), 22))?;
    // Those of the other family may have been replaced.
    stage.fleet.set(json!({ "mode": "enforce" }))?;
    counted(right, "failsafe", "pass", || {
        tcp(&stage.pair.neighbour.netns, None, to(right, family, 22)).map(drop)
    })?;
    let refused = |from: &Site, why: &'static str| {
        counted(right, "stranger", "drop", || {
            ensure!(tcp_silent(&from.netns, to(right, family, 22)), why);
            Ok(())
        })
    };
    refused(&stage.pair.stranger, "it is in no range")?;
    stage
        .fleet
        .set(json!({ "mode": "enforce", "failsafe": [IpNet::from(INTERNET.host(family, 99))] }))?;
    eventually("the ranges follow the settings", || {
        dial(&stage.pair.stranger.netns, None, to(right, family, 22), BRIEFLY).is_ok()
    });
    refused(&stage.pair.neighbour, "the defaults are replaced")
}

/// Whether a TCP echo server on this port is reached.
fn tcp_open(from: &Site, host: &Host, family: Family, port: u16) -> anyhow::Result<bool> {
    let _echo = TcpEcho::on(&host.site.netns, (family.any(), port))?;
    // Whoever expects to be refused is refused by silence, so the patience may be brief only then; the caller says
    // what it expects by asking again.
    Ok(dial(&from.netns, None, to(host, family, port), BRIEFLY).is_ok())
}

/// Whether a UDP echo server on this port is reached.
fn udp_open(from: &Site, host: &Host, family: Family, port: u16) -> anyhow::Result<bool> {
    let _echo = UdpEcho::on(&host.site.netns, (family.any(), port))?;
    Ok(udp(&from.netns, CLIENT, to(host, family, port), 10, BRIEFLY).is_ok())
}

fn rules_admit_what_they_say(family: Family) -> Result {
    let rules: Value = json!({
        "mode": "enforce",
        "allow": [
            { "from": INTERNET.prefix(family), "protocol": "tcp", "ports": ["443", "8000-8010"] },
            { "from": IpNet::from(INTERNET.host(family, 99)), "protocol": "udp", "ports": ["53"] },
        ],
        "open": ["tcp/80", "udp/123"],
    });
    let PairStage { right, pair, .. } = &pair_stage(family, rules)?;
    let (stranger, neighbour) = (&pair.stranger, &pair.neighbour);
    let wanted = [
        // (who, protocol, port, whether let in, why)
        (stranger, "tcp", 443, true, "the wide rule, which the narrow one must not hide"),
        (stranger, "tcp", 7999, false, "below the range"),
        (stranger, "tcp", 8000, true, "the range's first port"),
        (stranger, "tcp", 8010, true, "the range's last port"),
        (stranger, "tcp", 8011, false, "above the range"),
        (stranger, "tcp", 53, false, "the rule is for udp"),
        (stranger, "udp", 53, true, "the narrow rule"),
        (stranger, "udp", 443, false, "the rule is for tcp"),
        (stranger, "tcp", 80, true, "open to anyone"),
        (stranger, "udp", 80, false, "open for tcp only"),
        (stranger, "udp", 123, true, "open to anyone"),
        (neighbour, "tcp", 443, false, "not in the rule's range"),
        (neighbour, "tcp", 80, true, "open to anyone"),
        (neighbour, "udp", 123, true, "open to anyone"),
    ];
    for (who, protocol, port, admitted, why) in wanted {
        let open = || match protocol {
            "tcp" => tcp_open(who, right, family, port),
            _ => udp_open(who, right, family, port),
        };
        let what = format!("{protocol}/{port} from {}: {why}", who.real(family));
        if admitted {
            eventually(&what, || open().is_ok_and(|open| open));
        } else {
            counted(right, "stranger", "drop", || {
                ensure!(!open()?, "{what}");
                Ok(())
            })
            .with_context(|| what.clone())?;
        }
    }
    assert!(right.arrived("allowed", "pass")? > 0);
    assert!(right.arrived("open-port", "pass")? > 0);
    Ok(())
}

fn strangers_may_ping_where_the_fleet_says_so(stage: &PairStage, family: Family) -> Result {
    counted(&stage.right, "echo", "pass", || {
        ensure!(
            ping(&stage.pair.stranger.netns, stage.right.real(family), "", PATIENCE)?,
            "refused"
        );
        Ok(())
    })
}
