//! Promise: whatever keeps neti from starting is said in one line that names what and where, the exit code is not 0, and
//! nothing is half-attached.

use std::{fs, net::Ipv4Addr};

use anyhow::{Context, ensure};
use harness::{
    PATIENCE,
    footprint::{difference, files, footprint},
    host::{Fleet, Host, HostOptions},
    stage::pair_stage,
    topology::{Pair, pair},
};
use serde_json::{Value, json};

type Result = anyhow::Result<()>;

/// Starts neti, which must fail with code 1, say each of `words` in one line, and leave nothing.
fn fails(host: &mut Host, words: &[&str]) -> Result {
    let before = footprint(&host.site.netns)?;
    let (code, text) = host.fail()?;
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("neti: ")).collect();
    ensure!(code == Some(1), "exit code {code:?}:\n{text}");
    ensure!(lines.len() == 1, "one line says why:\n{text}");
    for word in words {
        ensure!(lines[0].contains(word), "{word:?} is not in: {}", lines[0]);
    }
    ensure!(!text.contains("panicked"), "{text}");
    let left = difference(&before, &footprint(&host.site.netns)?);
    ensure!(left.is_empty(), "a failed start leaves: {left:#?}");
    // The lock's file may stay: to remove a lock file is a race with whoever takes it.
    let kept: Vec<String> = files(host).into_iter().filter(|f| !f.ends_with(".lock")).collect();
    ensure!(kept.is_empty(), "a failed start leaves: {kept:?}");
    Ok(())
}

/// Where the checks of this file start from: a site, and a fleet that would work.
fn healthy() -> anyhow::Result<(Pair, Fleet)> {
    Ok((pair()?, Fleet::new(json!({ "mode": "enforce" }))?))
}

/// Replaces a piece of the host's configuration, which must be there.
fn reconfigure(host: &Host, from: &str, to: &str) -> Result {
    let text = fs::read_to_string(&host.config)?;
    ensure!(text.contains(from), "{from:?} is not in the configuration:\n{text}");
    fs::write(&host.config, text.replacen(from, to, 1))?;
    Ok(())
}

#[test]
fn bad_configuration() -> Result {
    let (pair, fleet) = healthy()?;
    let cases: &[(&str, &str, &[&str])] = &[
        // (what is replaced, with what, what the error names)
        ("uplink = \"eth0\"", "uplink = \"eth7\"", &["eth7", "uplink"]),
        ("uplink = \"eth0\"", "", &["left.toml", "uplink"]),
        ("network = \"ec2\"", "", &["left.toml", "network"]),
        ("network = \"ec2\"", "network = 7", &["left.toml", "network"]),
        ("host = \"left\"", "host = \"le ft\"", &["left.toml", "host", "le ft"]),
        ("host = \"left\"", "host = \"left\"\ncolour = \"red\"", &["left.toml", "colour"]),
        ("host = \"left\"", "host = \"left\"\nprivate = \"10.0.0\"", &["left.toml", "private"]),
        ("host = \"left\"", "host = \"left\"\nattach = \"hub\"", &["left.toml", "attach", "hub"]),
        ("instance = \"", "instance = \"../", &["left.toml", "instance"]),
        ("kind = \"directory\"", "kind = \"carrier-pigeon\"", &["left.toml", "carrier-pigeon"]),
        ("ttl = 60.0", "ttl = 0.1", &["left.toml", "ttl", "0.1"]),
        ("ttl = 60.0", "tll = 60.0", &["left.toml", "tll"]),
        ("[registry]", "[registry", &["left.toml"]),
        ("/registry\"", "/nowhere\"", &["nowhere"]),
    ];
    for (from, to, words) in cases {
        let mut host = fleet.host("left", &pair.left)?;
        reconfigure(&host, from, to)?;
        fails(&mut host, words).with_context(|| format!("{from:?} replaced by {to:?}"))?;
        // What `run` refuses for the file's own sake, `check` refuses too.
        if words.contains(&"left.toml") {
            let check = host.run_neti(&["check", "--config", &host.config.to_string_lossy()])?;
            ensure!(check.status.code() == Some(1), "neti check accepts {to:?}");
        }
    }
    Ok(())
}

#[test]
fn bad_fleet_settings() -> Result {
    let (pair, fleet) = healthy()?;
    let settings: &[(Value, &[&str])] = &[
        (json!({ "overlay": ["100.64.0.0/16"], "mod": "observe" }), &["fleet", "mod"]),
        (json!({ "overlay": ["100.64.0.0/16"], "mode": "strict" }), &["fleet", "mode", "strict"]),
        (json!({ "overlay": [] }), &["fleet", "overlay"]),
        (json!({ "overlay": ["100.64.0.0/31"] }), &["fleet", "overlay", "100.64.0.0/31"]),
        (json!({ "overlay": ["100.64.0.0/16", "100.64.9.0/24"] }), &["fleet", "100.64.9.0/24"]),
        (json!({ "overlay": ["127.0.0.0/8"] }), &["fleet", "127.0.0.0/8"]),
        (json!({ "overlay": ["fd00::/64"] }), &["fleet", "fd00::/64"]),
        (json!({ "twin_ports": "65535-1" }), &["fleet", "twin_ports", "65535-1"]),
        (json!({ "open": ["tcp/http"] }), &["fleet", "open", "tcp/http"]),
        (json!({ "allow": [{ "from": "all" }] }), &["fleet", "allow", "all"]),
    ];
    for (settings, words) in settings {
        fleet.set(settings.clone())?;
        let mut host = fleet.host("left", &pair.left)?;
        fails(&mut host, words).with_context(|| settings.to_string())?;
    }
    fleet.put("fleet", "{")?;
    fails(&mut fleet.host("left", &pair.left)?, &["fleet"]).context("broken JSON")?;
    fs::remove_file(fleet.registry().join("fleet"))?;
    fails(&mut fleet.host("left", &pair.left)?, &["fleet"]).context("no settings")
}

#[test]
fn an_overlay_range_that_overlaps_a_local_route() -> Result {
    let (pair, fleet) = healthy()?;
    let cases = [
        ("10.0.0.0/16", "10.0.0.0/24", "the uplink's own network"),
        ("100.64.0.0/16", "100.64.5.0/24", "a route that somebody set"),
        ("172.20.0.0/16", "172.20.1.1", "an address of another interface"),
    ];
    pair.left.netns.ip_batch(
        "route add 100.64.5.0/24 via 10.0.0.1\n\
         link add other type veth peer name rehto\n\
         addr add 172.20.1.1/32 dev other\n\
         link set other up\n",
    )?;
    for (range, clash, why) in cases {
        fleet.set(json!({ "overlay": [range] }))?;
        fails(&mut fleet.host("left", &pair.left)?, &[range, clash]).context(why)?;
    }
    Ok(())
}

#[test]
fn a_full_overlay_range() -> Result {
    let (pair, fleet) = healthy()?;
    // A /30 has two addresses for hosts.
    fleet.set(json!({ "overlay": ["100.64.0.0/30"] }))?;
    for last in [1, 2] {
        let id = format!("other-{last}");
        fleet.add_member(
            &id,
            Ipv4Addr::new(100, 64, 0, last),
            "ec2",
            [10, 0, 0, 60 + last].into(),
        )?;
    }
    fails(&mut fleet.host("left", &pair.left)?, &["100.64.0.0/30"])
}

#[test]
fn a_second_neti_on_the_same_uplink() -> Result {
    let stage = pair_stage(json!({ "mode": "enforce" }))?;
    let pid = stage.left.pid().context("neti runs on left")?.to_string();
    let mut second = stage.fleet.host("second", &stage.left.site)?;
    fails(&mut second, &["eth0", &pid])?;
    // The same instance elsewhere would take over the pins of the first.
    let instance = Some(stage.left.instance.clone());
    let options = HostOptions { instance, ..HostOptions::default() };
    let before = footprint(&stage.pair.neighbour.netns)?;
    let mut thief = stage.fleet.host_with("thief", &stage.pair.neighbour, &options)?;
    let (code, text) = thief.fail()?;
    ensure!(code == Some(1) && text.contains(&stage.left.instance), "{code:?}: {text}");
    let left = difference(&before, &footprint(&stage.pair.neighbour.netns)?);
    ensure!(left.is_empty(), "a failed start leaves: {left:#?}");
    // Dropping it would run `neti down` on an instance that is not its own.
    std::mem::forget(thief);
    stage.left.await_members(&["right"]);
    ensure!(harness::traffic::ping(&stage.left.site.netns, stage.right.overlay(), "", PATIENCE)?);
    Ok(())
}

#[test]
fn no_permission() -> Result {
    let (pair, fleet) = healthy()?;
    let host = fleet.host("left", &pair.left)?;
    let neti = harness::binary::neti()?;
    // Root without capabilities: who it is does not matter, what it may do does.
    let output = pair.left.netns.output(&format!(
        "setpriv --bounding-set -all --inh-caps -all {} run --config {}",
        neti.display(),
        host.config.display()
    ))?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1), "{:?}: {text}", output.status);
    let line = text.lines().find(|line| line.starts_with("neti: ")).context("one line says why")?;
    let told = ["CAP_", "root", "ermission"].iter().any(|word| line.contains(word));
    ensure!(told, "the line tells what is missing: {line}");
    Ok(())
}

#[test]
fn no_bpf_filesystem() -> Result {
    let (pair, fleet) = healthy()?;
    let host = fleet.host("left", &pair.left)?;
    let neti = harness::binary::neti()?;
    let log = fleet.dir().join("unmounted.log");
    // In a mount namespace of its own, where bpffs is missing: neti mounts it there.
    let mut command = pair.left.netns.command("unshare");
    command.args(["--mount", "sh", "-c"]).arg(format!(
        "while umount /sys/fs/bpf 2>/dev/null; do :; done; exec {} run --config {} 2>{}",
        neti.display(),
        host.config.display(),
        log.display()
    ));
    let mut daemon = pair.left.netns.spawn(command)?;
    let mut text = String::new();
    harness::within(harness::PATIENCE, || {
        text = fs::read_to_string(&log).unwrap_or_default();
        text.contains("ready: overlay") || daemon.ended().is_some()
    });
    ensure!(text.contains("ready: overlay"), "{text}");
    daemon.signal(nix::sys::signal::Signal::SIGTERM);
    ensure!(daemon.wait(harness::PATIENCE).success());
    Ok(())
}

#[test]
fn wrong_usage_is_told_apart_from_failure() -> Result {
    let (pair, fleet) = healthy()?;
    let host = fleet.host("left", &pair.left)?;
    for arguments in [&["frobnicate"][..], &["run", "--frobnicate"], &["show", "nothing"]] {
        let output = host.run_neti(arguments)?;
        ensure!(output.status.code() == Some(2), "{arguments:?}: {}", output.status);
    }
    let missing = fleet.dir().join("missing.toml");
    let output = host.run_neti(&["run", "--config", &missing.to_string_lossy()])?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && text.contains("missing.toml"), "{text}");
    let output = host.run_neti(&["show", "members", "--instance", "nobody"])?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(1) && text.contains("nobody"), "{text}");
    let output = host.run_neti(&["check", "--config", &host.config.to_string_lossy()])?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "a good configuration is accepted: {text}");
    Ok(())
}
