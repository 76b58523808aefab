//! Promise: what an operator writes wrongly, in a host's configuration or in the fleet settings, is said in one line that
//! names the file, the key, the value and what would be right.

use std::fs;

use anyhow::{Context, ensure};
use harness::{
    family::Family,
    footprint::fails,
    host::{Fleet, Host},
    topology::{Pair, pair},
};
use serde_json::{Value, json};

type Result = anyhow::Result<()>;

/// Where the checks of this file start from: a dual-stack site, and a fleet that would work.
fn healthy() -> anyhow::Result<(Pair, Fleet)> {
    Ok((pair(Family::ALL)?, Fleet::new(Family::ALL, json!({ "mode": "enforce" }))?))
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
    let uplink = "uplink = \"eth0\"";
    let private = |value: &str| format!("{uplink}\nprivate = {value}");
    let public = |value: &str| format!("{uplink}\npublic = {value}");
    let cases: &[(&str, &str, &[&str])] = &[
        // (what is replaced, with what, what the error names)
        (uplink, "uplink = \"eth7\"", &["eth7", "uplink"]),
        (uplink, "", &["left.toml", "uplink"]),
        ("network = \"ec2\"", "", &["left.toml", "network"]),
        ("network = \"ec2\"", "network = 7", &["left.toml", "network"]),
        ("host = \"left\"", "host = \"le ft\"", &["left.toml", "host", "le ft"]),
        ("host = \"left\"", "host = \"left\"\ncolour = \"red\"", &["left.toml", "colour"]),
        ("host = \"left\"", "host = \"left\"\nattach = \"hub\"", &["left.toml", "attach", "hub"]),
        (uplink, &private("\"10.0.0\""), &["left.toml", "private"]),
        (uplink, &private("\"fe80::10\""), &["left.toml", "private", "fe80::10", "link-local"]),
        (uplink, &private("\"ff02::10\""), &["left.toml", "private", "ff02::10", "multicast"]),
        (uplink, &private("\"::1\""), &["left.toml", "private", "::1", "loopback"]),
        (uplink, &private("\"::\""), &["left.toml", "private", "::", "unspecified"]),
        (uplink, &private("\"169.254.0.10\""), &["left.toml", "169.254.0.10", "link-local"]),
        (uplink, &private("\"224.0.0.10\""), &["left.toml", "224.0.0.10", "multicast"]),
        (
            uplink,
            &private("\"::ffff:10.0.0.10\""),
            &["left.toml", "private", "v4-mapped", "write 10.0.0.10"],
        ),
        (
            uplink,
            &private("[\"10.0.0.10\", \"10.0.0.11\"]"),
            &["left.toml", "private", "10.0.0.10", "10.0.0.11", "IPv4"],
        ),
        (
            uplink,
            &private("[\"10.0.0.10\", \"fd00:0:0:1::77\"]"),
            &["private", "fd00:0:0:1::77", "eth0"],
        ),
        (uplink, &public("\"fe80::10\""), &["left.toml", "public", "fe80::10", "link-local"]),
        (
            uplink,
            &public("[\"2001:db8:203::10\", \"2001:db8:203::11\"]"),
            &["left.toml", "public", "2001:db8:203::11", "IPv6"],
        ),
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
    let overlay = |range: &str| json!({ "overlay": [range] });
    let allow =
        |from: Value, protocol: &str| json!({ "allow": [{ "from": from, "protocol": protocol }] });
    let settings: &[(Value, &[&str])] = &[
        (json!({ "mod": "observe" }), &["fleet", "mod"]),
        (json!({ "mode": "strict" }), &["fleet", "mode", "strict"]),
        (json!({ "overlay": [] }), &["fleet", "overlay"]),
        (overlay("100.64.0.0/31"), &["fleet", "overlay", "100.64.0.0/31", "too small"]),
        (overlay("fd64::/113"), &["fleet", "overlay", "fd64::/113", "too small"]),
        (overlay("fd64::/128"), &["fleet", "overlay", "fd64::/128", "too small"]),
        (overlay("fd64::/31"), &["fleet", "overlay", "fd64::/31", "too large", "/32"]),
        (overlay("fd64::1/64"), &["fleet", "fd64::1/64", "host bits", "fd64::/64"]),
        (overlay("fe80::/64"), &["fleet", "fe80::/64", "link-local"]),
        (overlay("ff05::/64"), &["fleet", "ff05::/64", "multicast"]),
        (overlay("::ffff:100.64.0.0/112"), &["fleet", "v4-mapped", "write 100.64.0.0/16"]),
        (overlay("4000::/64"), &["fleet", "4000::/64", "fc00::/7", "2000::/3"]),
        (overlay("127.0.0.0/8"), &["fleet", "127.0.0.0/8", "loopback"]),
        (overlay("169.254.0.0/16"), &["fleet", "169.254.0.0/16", "link-local"]),
        (json!({ "overlay": ["100.64.0.0/16", "100.64.9.0/24"] }), &["fleet", "100.64.9.0/24"]),
        (json!({ "overlay": ["fd64::/48", "fd64:0:0:9::/64"] }), &["fleet", "fd64:0:0:9::/64"]),
        (json!({ "twin_ports": "65535-1" }), &["fleet", "twin_ports", "65535-1"]),
        (json!({ "open": ["tcp/http"] }), &["fleet", "open", "tcp/http"]),
        (
            json!({ "failsafe": ["::ffff:10.0.0.0/104"] }),
            &["fleet", "failsafe", "write 10.0.0.0/8"],
        ),
        (allow(json!("all"), "tcp"), &["fleet", "allow", "all"]),
        (allow(json!(["10.0.0.0/8", "fd00::/8"]), "tcp"), &["allow", "fd00::/8", "one family"]),
        (allow(json!("::ffff:10.0.0.0/104"), "tcp"), &["allow", "v4-mapped", "write 10.0.0.0/8"]),
        (allow(json!("10.0.0.0/8"), "icmpv6"), &["allow", "icmpv6", "IPv6"]),
        (allow(json!("fd00::1/8"), "tcp"), &["allow", "fd00::1/8", "host bits"]),
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
