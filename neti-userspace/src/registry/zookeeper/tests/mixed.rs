//! A fleet of daemons of both kinds, the original's played by `daemon.py` with kazoo.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use super::*;
use crate::membership::sample::ip;

/// A daemon of the original Neti.
struct Daemon {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Daemon {
    fn start(server: &Server, args: [&str; 5]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/src/registry/zookeeper/tests/daemon.py");
        let mut child = Command::new("/usr/bin/python3")
            .args([script, &server.endpoint(), &server.servers().prefix])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = child.stdout.take().map(BufReader::new);
        Self { child, lines }
    }

    /// Waits until it would use these real addresses.
    async fn uses(&mut self, right: &[(&str, &str)]) {
        let right: BTreeMap<String, String> =
            right.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let mut lines = self.lines.take().unwrap();
        let read = tokio::task::spawn_blocking(move || {
            let mut last = String::new();
            loop {
                let mut line = String::new();
                assert_ne!(lines.read_line(&mut line).unwrap(), 0, "it ended after {last}");
                if serde_json::from_str::<BTreeMap<String, String>>(&line).unwrap() == right {
                    return lines;
                }
                last = line;
            }
        });
        self.lines = Some(timeout(Duration::from_secs(15), read).await.unwrap().unwrap());
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Of no effect on one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A member in a few words.
fn short(membership: &Membership) -> Vec<String> {
    let short = |record: &Arc<MemberRecord>| {
        let MemberRecord { id, private, public, network, overlays, .. } = &**record;
        format!("{id} {} {private} {public} {network}", overlays[0])
    };
    membership.members.values().map(short).collect()
}

fn own(name: &str, overlay: Addresses, network: &str, last: u8) -> MemberRecord {
    record(name, &overlay.to_string(), network)
        .private(&format!("10.0.0.{last}"))
        .public(&format!("54.0.0.{last}"))
}

#[tokio::test]
async fn old_and_new_daemons_share_a_fleet() {
    let server = Server::start().await;
    let vpc = server.classic();
    let ec2 = ZooKeeper::open(&server.servers(), Layout::Classic, "ec2").unwrap();
    fleet(&vpc).await;
    let mut watch = Watch::of(&vpc).await;
    let before = watch.0.borrow().revision;

    // Old is seen by new, with no stand-in while its address does not belong to it yet.
    let args = ["i-old", "54.0.0.8", "10.0.0.8", "100.64.0.8", "0"];
    let mut old = Daemon::start(&server, args);
    watch.until("somebody", |membership| !membership.members.is_empty()).await;
    watch.until_names(&["i-old"]).await;
    assert_eq!(watch.0.borrow().revision, before + 1);
    assert_eq!(short(&watch.0.borrow()), ["i-old 100.64.0.8 10.0.0.8 54.0.0.8 ec2"]);
    let claims = vpc.claims().await.unwrap();
    assert_eq!(claims, [(ip("100.64.0.8"), id("i-old"))].into());

    // New is seen by old, each way by the address that the original would choose.
    let settings = vpc.fleet().await.unwrap();
    let families = [IpFamily::V4];
    let first = vpc.claim(&id("i-vpc"), &settings, &families).await.unwrap();
    let second = ec2.claim(&id("i-ec2"), &settings, &families).await.unwrap();
    let in_vpc = vpc.register(&own("i-vpc", first, "vpc", 20)).await.unwrap();
    let in_ec2 = ec2.register(&own("i-ec2", second, "ec2", 21)).await.unwrap();
    let (first, second) = (first.to_string(), second.to_string());
    old.uses(&[("100.64.0.8", "10.0.0.8"), (&first, "54.0.0.20"), (&second, "10.0.0.21")]).await;
    watch.until_names(&["i-ec2", "i-old", "i-vpc"]).await;
    let all = short(&watch.0.borrow());
    assert_eq!(all[2], format!("i-vpc {first} 10.0.0.20 54.0.0.20 vpc"));

    // A first snapshot has the same.
    assert_eq!(short(&Watch::of(&ec2).await.0.borrow()), all);

    // Whoever goes is gone for both.
    in_vpc.withdraw().await.unwrap();
    old.uses(&[("100.64.0.8", "10.0.0.8"), (&second, "10.0.0.21")]).await;
    old.end();
    watch.until_names(&["i-ec2"]).await;
    let error = ec2.release(&id("i-ec2")).await.unwrap_err();
    assert!(error.to_string().contains("host i-ec2 is a member of the fleet"), "{error}");
    in_ec2.withdraw().await.unwrap();
    watch.until_names(&[]).await;
    assert_eq!(ec2.release(&id("i-ec2")).await.unwrap().to_string(), second);
    assert_eq!(vpc.release(&id("i-old")).await.unwrap().to_string(), "100.64.0.8");
    assert_eq!(vpc.claims().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_classic_layout_tells_what_it_cannot() {
    let server = Server::start().await;
    let error = ZooKeeper::open(&server.servers(), Layout::Classic, "dc").unwrap_err();
    assert!(error.to_string().contains("network = \"dc\": must be ec2 or vpc"), "{error}");

    let registry = server.classic();
    fleet(&registry).await;
    let settings = registry.fleet().await.unwrap();
    let error = registry.claim(&id("i-9"), &settings, &IpFamily::ALL).await.unwrap_err();
    assert!(error.to_string().contains("layout classic has IPv4 only"), "{error}");
    let lacks = record("i-9", "100.64.0.9", "vpc").private("10.0.0.9");
    let error = registry.register(&lacks).await.err().unwrap().to_string();
    assert!(error.contains("public: must be an IPv4 address"), "{error}");
}

#[tokio::test]
async fn what_the_original_left_half_done_is_finished_and_its_threshold_holds() {
    let server = Server::start().await;
    let registry = server.classic();
    fleet(&registry).await;
    let operator = client(&registry).await;
    let tree = &registry.place.tree;
    let options = tree.own(CreateMode::Persistent);

    let path = "/fleets/neti/id-to-ip/i-9";
    operator.create(path, b"100.64.0.9", &options).await.unwrap();
    let settings = registry.fleet().await.unwrap();
    let claimed = registry.claim(&id("i-9"), &settings, &[IpFamily::V4]).await.unwrap();
    assert_eq!(claimed.to_string(), "100.64.0.9");
    assert_eq!(registry.claims().await.unwrap(), [(ip("100.64.0.9"), id("i-9"))].into());

    let mut watch = Watch::of(&registry).await;
    assert_eq!(watch.0.borrow().fleet.max_removals, 20);
    let threshold = "/fleets/neti/maxchange";
    operator.set_data(threshold, b"35", None).await.unwrap();
    watch.until("35", |membership| membership.fleet.max_removals == 35).await;
    operator.set_data(threshold, b"many", None).await.unwrap();
    watch.until("a problem", |membership| !membership.problems.is_empty()).await;
    let problem = watch.0.borrow().problems[0].what.clone();
    assert!(problem.contains("/maxchange: \"many\": must be a number of hosts"), "{problem}");
    assert_eq!(watch.0.borrow().fleet.max_removals, 35);
    operator.set_data(threshold, b"36", None).await.unwrap();
    watch.until("36", |membership| membership.fleet.max_removals == 36).await;

    // What `neti fleet set` writes, daemons of the original read.
    let settings = registry.settings().await.unwrap().unwrap();
    let text = r#"{"overlay": ["100.64.0.0/16"], "max_removals": 40}"#;
    registry.set_settings(text, Some(settings.version)).await.unwrap();
    assert_eq!(operator.get_data(threshold).await.unwrap().0, b"40");
    watch.until("40", |membership| membership.fleet.max_removals == 40).await;

    let settings = registry.settings().await.unwrap().unwrap();
    registry.set_settings(SETTINGS, Some(settings.version)).await.unwrap();
    assert_eq!(operator.get_data(threshold).await.unwrap().0, b"20", "the default again");

    // What cannot be read is reported to who starts, and can be mended.
    operator.set_data(threshold, b"many", None).await.unwrap();
    let problem = Watch::of(&registry).await.0.borrow().problems[0].what.clone();
    assert!(problem.contains("/maxchange: \"many\": must be a number of hosts"), "{problem}");
    assert_eq!(registry.fleet().await.unwrap().max_removals, 20);
    let settings = registry.settings().await.unwrap().unwrap();
    let text = String::from_utf8(settings.text).unwrap();
    assert!(text.contains("\"max_removals\": \"many\""), "{text}");
    registry.set_settings(SETTINGS, Some(settings.version)).await.unwrap();
    assert_eq!(operator.get_data(threshold).await.unwrap().0, b"20");
    watch.until("mended", |membership| membership.problems.is_empty()).await;

    // A member whose address is nobody's is told all the same.
    let lonely = "00-54.0.0.7|10.0.0.7|100.64.0.7|1";
    operator.create(&tree.path(&format!("members/{lonely}")), b"", &options).await.unwrap();
    watch.until_names(&["classic-100.64.0.7"]).await;

    operator.create(&tree.path("members/lock"), b"", &options).await.unwrap();
    watch.until("a problem", |membership| !membership.problems.is_empty()).await;
    assert_eq!(watch.0.borrow().problems[0].key, "members/lock");
    let confirmation = Confirmation { id: "a".to_owned(), removals: 30 };
    registry.confirm(&confirmation).await.unwrap();
    watch.until("it", |membership| membership.confirmed == Some(confirmation.clone())).await;
    assert_eq!(operator.get_data("/fleets/neti/neti-confirmed").await.unwrap().1.version, 0);
}
