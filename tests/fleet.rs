//! Promise: an operator sees and changes the fleet from anywhere, while it runs, and takes nothing from a live host
//! by mistake.

use std::process::Output;

use anyhow::ensure;
use harness::{
    PATIENCE, binary, eventually,
    family::Family,
    host::{Host, counted},
    stage::pair_stage,
    traffic::{BRIEFLY, ping},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

type Result = anyhow::Result<()>;

/// What `neti fleet` on a host prints, and whether it succeeds.
fn fleet(host: &Host, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let config = host.config.to_string_lossy();
    let arguments = [&["fleet"], arguments, &["--config", &config]].concat();
    let Output { status, stdout, stderr } = host.run_neti(&arguments)?;
    let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Ok((status.success(), text))
}

#[test]
fn settings_are_changed_under_a_live_fleet_and_broken_ones_never_arrive() -> Result {
    let stage = pair_stage(Family::V4, json!({ "mode": "observe" }))?;
    let (left, stranger) = (&stage.left, &stage.pair.stranger);
    let reaches = |patience| ping(&stranger.netns, left.real(Family::V4), "", patience);
    ensure!(reaches(PATIENCE)?);
    let (done, said) = fleet(left, &["set", "mode=enforce"])?;
    ensure!(done && said == "mode: \"observe\" -> \"enforce\"\n", "{said}");
    // Silence alone may be a slow machine's.
    eventually("the stranger is refused", || {
        let _ = reaches(BRIEFLY);
        left.arrived("stranger", "drop").is_ok_and(|dropped| dropped > 0)
    });
    let (done, said) = fleet(left, &["set", "mode=observe", "echo=maybe"])?;
    ensure!(!done && said.contains("echo = \"maybe\": must be true or false"), "{said}");
    counted(left, "stranger", "drop", || {
        ensure!(!reaches(BRIEFLY)?, "half of it was written");
        Ok(())
    })?;
    let (done, said) = fleet(left, &["set", "networks={\"elsewhere\": {}}"])?;
    ensure!(!done && said.contains("would leave out 2 members: left (ec2), right (ec2)"), "{said}");
    left.await_members(&["right"]);
    Ok(())
}

#[test]
fn who_is_cut_off_by_a_policy_is_said_before_it_is_set() -> Result {
    let stage = pair_stage(Family::V4, json!({ "mode": "observe" }))?;
    let (left, stranger) = (&stage.left, stage.pair.stranger.real(Family::V4));
    let settings =
        || -> anyhow::Result<Value> { Ok(serde_json::from_str(&fleet(left, &["settings"])?.1)?) };
    let before = settings()?;
    let rules = "member_rules=[\"from role web to host right tcp/80\"]";
    let cases: &[(&[&str], &str)] = &[
        (
            &["mode=enforce", "failsafe=[]"],
            "failsafe = []: would cut off ssh where hosts enforce, by `mode`",
        ),
        (
            &["mode=enforce", rules],
            "member_rules: would cut off from all other members 1 host: right",
        ),
    ];
    for (changes, cut) in cases {
        let changed = |flags: &[&str]| fleet(left, &[&["set"], *changes, flags].concat());
        let (done, said) = changed(&[])?;
        let line = format!("neti: fleet settings: {cut}; ");
        ensure!(!done && said.lines().any(|said| said.starts_with(&line)), "{said}");
        ensure!(settings()? == before, "a policy is set that is refused");
        let (done, said) = changed(&["--force", "--dry-run"])?;
        let line = format!("neti: forced: fleet settings: {cut}");
        ensure!(done && said.lines().any(|said| said == line), "{said}");
        ensure!(settings()? == before, "a policy is set that was to be looked at alone");
    }
    let warning = "neti: warning: fleet settings: member_rules[0] = \"from role web to host right tcp/80\": no \
                   member has role web";
    let (done, said) = fleet(left, &["set", rules])?;
    ensure!(done && said.contains(warning), "{said}");
    let (done, said) = fleet(left, &["set", "member_rules="])?;
    ensure!(done, "{said}");

    // The operator's own session, by sudo, which tells nothing of it.
    let session = format!("SSH_CONNECTION={stranger} 50022 {} 2222", left.real(Family::V4));
    let set = |change: &str| -> anyhow::Result<(bool, String)> {
        let mut shell = left.site.netns.command("sh");
        let script = "env -u SSH_CONNECTION \"$0\" fleet set \"$1\" --config \"$2\" 2>&1; exit $?";
        shell.args(["-c", script]).arg(binary::neti()?).arg(change).arg(&left.config);
        let (key, value) = session.split_once('=').unwrap_or_default();
        let output = shell.env(key, value).env("NO_COLOR", "1").output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    };
    let (done, said) = set("mode=enforce")?;
    let cut =
        format!("mode: would cut off your own ssh session, from {stranger} to port 2222 of left; ");
    ensure!(!done && said.contains(&cut), "{said}");
    let (done, said) = set("hosts={\"left\": {\"open\": [\"tcp/2222\"]}}")?;
    ensure!(done, "{said}");
    let (done, said) = set("mode=enforce")?;
    ensure!(done && said == "mode: \"observe\" -> \"enforce\"\n", "{said}");
    Ok(())
}

#[test]
fn a_live_host_keeps_its_address_and_a_gone_one_is_released() -> Result {
    let mut stage = pair_stage(Family::V4, json!({}))?;
    let overlay = stage.right.overlay(Family::V4).to_string();
    let (_, said) = fleet(&stage.left, &["list", "-j"])?;
    let listed: Value = serde_json::from_str(&said)?;
    ensure!(listed[1]["id"] == "right" && listed[1]["overlays"] == json!([overlay]), "{said}");
    let (done, said) = fleet(&stage.left, &["release", "right"])?;
    ensure!(!done && said.contains("host right is a member of the fleet"), "{said}");
    let (_, said) = fleet(&stage.left, &["claim", "right"])?;
    assert_eq!(said.trim(), overlay);
    stage.right.stop(Signal::SIGTERM)?;
    let (done, said) = fleet(&stage.left, &["release", "right"])?;
    ensure!(done && said == format!("released {overlay} of host right\n"), "{said}");
    Ok(())
}
