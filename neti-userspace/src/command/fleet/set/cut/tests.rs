use std::{net::SocketAddr, sync::Arc};

use super::*;
use crate::membership::sample::{id, ip, record};

/// In `ec2`: `web` and `etcd`, in `vpc`: `db`; each has its name as its role. `plain` has none.
fn members() -> Members {
    let role = |record: MemberRecord, role: &str| MemberRecord { role: role.to_owned(), ..record };
    let records = [
        role(record("web", "100.64.0.1", "ec2").private("10.0.0.1").public("203.0.113.1"), "web"),
        role(record("etcd", "100.64.0.2", "ec2").private("10.0.0.2").public("203.0.113.2"), "etcd"),
        role(record("db", "100.64.0.3", "vpc").private("10.0.0.3").public("203.0.113.3"), "db"),
        record("plain", "100.64.0.4", "vpc").private("10.0.0.4").public("203.0.113.4"),
    ];
    records.into_iter().map(|record| (record.id.clone(), Arc::new(record))).collect()
}

/// What settings with these keys would cut off, seen from `web`.
fn cut(keys: &str, ssh: Option<(&str, u16)>, endpoints: &[&str]) -> Vec<String> {
    let text = format!(r#"{{"overlay": ["100.64.0.0/16"], {keys}}}"#);
    let fleet = FleetSettings::parse("fleet", text.as_bytes()).unwrap();
    let endpoints = endpoints.iter().map(|server| server.parse::<SocketAddr>().unwrap()).collect();
    let ssh = ssh.map(|(client, port)| Session { client: ip(client), port });
    let here = Here { host: id("web"), network: "ec2".to_owned(), endpoints, ssh };
    off(&fleet, &members(), &here).into_iter().map(|cut| cut.refusal.to_string()).collect()
}

/// Each line: settings, and how what they would cut off begins, if they do.
fn check(cases: &[(&str, Option<&str>)], ssh: Option<(&str, u16)>, endpoints: &[&str]) {
    for (keys, expected) in cases {
        let found = cut(keys, ssh, endpoints);
        let as_expected = match expected {
            None => found.is_empty(),
            Some(text) => found.len() == 1 && found[0].starts_with(text),
        };
        assert!(as_expected, "{keys}: {found:#?}");
        assert!(found.iter().all(|cut| cut.ends_with("or cut off with --force")), "{found:#?}");
    }
}

#[test]
fn a_failsafe_must_have_a_range_where_anybody_enforces() {
    const CUT: &str = "failsafe = []: would cut off ssh where hosts enforce, by";
    check(
        &[
            (r#""failsafe": []"#, None),
            (r#""mode": "enforce""#, None),
            (r#""failsafe": [], "mode": "enforce""#, Some(&format!("{CUT} `mode`"))),
            (
                r#""failsafe": [], "roles": {"db": {"mode": "enforce"}}"#,
                Some(&format!("{CUT} `roles.db.mode`")),
            ),
            (
                r#""failsafe": ["fd00::/8"], "mode": "enforce""#,
                Some(
                    "failsafe: has no IPv4 range: would cut off ssh where hosts enforce, by `mode`",
                ),
            ),
            (
                r#""failsafe": [], "roles": {"db": {}}, "hosts": {"x": {"mode": "enforce"}}"#,
                Some(&format!("{CUT} `hosts.x.mode`")),
            ),
        ],
        None,
        &[],
    );
}

#[test]
fn the_operators_own_session_goes_on() {
    const STRANGER: Option<(&str, u16)> = Some(("198.51.100.7", 22));
    let by = |key: &str| {
        format!("{key}: would cut off your own ssh session, from 198.51.100.7 to port 22 of web;")
    };
    check(
        &[
            (r#""mode": "observe""#, None),
            (r#""mode": "enforce""#, Some(&by("mode"))),
            (r#""mode": "enforce", "roles": {"web": {"mode": "observe"}}"#, None),
            (r#""mode": "enforce", "hosts": {"db": {"mode": "observe"}}"#, Some(&by("mode"))),
            (r#""roles": {"web": {"mode": "enforce"}}"#, Some(&by("roles.web.mode"))),
            (r#""hosts": {"web": {"mode": "enforce"}}"#, Some(&by("hosts.web.mode"))),
            (r#""mode": "enforce", "failsafe": ["198.51.100.0/24"]"#, None),
            (r#""mode": "enforce", "open": ["tcp/22"]"#, None),
            (r#""mode": "enforce", "open": ["udp/22"]"#, Some(&by("mode"))),
            (r#""mode": "enforce", "allow": [{"from": "198.51.100.7/32"}]"#, None),
            (r#""mode": "enforce", "hosts": {"web": {"open": ["tcp/20-30"]}}"#, None),
            (r#""mode": "enforce", "roles": {"db": {"open": ["tcp/22"]}}"#, Some(&by("mode"))),
        ],
        STRANGER,
        &[],
    );
    // The failsafe is about one port.
    const ELSEWHERE: &str = "mode: would cut off your own ssh session, from 10.9.9.9 to port 2222 of \
                             web; let it in by `allow`, or cut off";
    check(&[(r#""mode": "enforce""#, None)], Some(("10.9.9.9", 22)), &[]);
    check(&[(r#""mode": "enforce""#, Some(ELSEWHERE))], Some(("10.9.9.9", 2222)), &[]);
    // A member, which comes by any of its addresses.
    for client in ["203.0.113.3", "100.64.0.3"] {
        check(
            &[
                (r#""mode": "enforce""#, None),
                (r#""mode": "enforce", "member_rules": ["from role db to role web tcp"]"#, None),
                (
                    r#""mode": "enforce", "member_rules": ["from role db to role web tcp/80"]"#,
                    Some("mode: would cut off your own ssh session, from"),
                ),
                (r#""mode": "enforce", "member_rules": ["from role web to role db tcp/80"]"#, None),
            ],
            Some((client, 22)),
            &[],
        );
    }
}

#[test]
fn a_session_into_a_host_that_is_no_member_is_no_matter() {
    let text = br#"{"overlay": ["100.64.0.0/16"], "mode": "enforce"}"#;
    let fleet = FleetSettings::parse("fleet", text).unwrap();
    let ssh = Some(Session { client: ip("198.51.100.7"), port: 22 });
    let network = "ec2".to_owned();
    let here = Here { host: id("bastion"), network, endpoints: Vec::new(), ssh };
    assert_eq!(off(&fleet, &members(), &here), []);
}

#[test]
fn hosts_reach_the_registry_whether_they_are_members_or_not() {
    let enforce = |rest: &str| format!(r#""mode": "enforce"{rest}"#);
    const CUT: &str = "mode: the registry's server 203.0.113.2:2379, which is etcd, would be cut off from \
                       3 hosts: db, plain, web, whenever they are no members; `allow` their networks there, or \
                       hosts.etcd.open+=tcp/2379, and";
    // Those of another network have no way to it, allowed or not.
    let near =
        CUT.replace("203.0.113.2", "10.0.0.2").replace("3 hosts: db, plain, web", "1 host: web");
    let one = CUT.replace("3 hosts: db, plain, web", "1 host: web");
    let of_role = CUT.replacen("mode", "roles.etcd.mode", 1);
    for (server, cases) in [
        (
            "203.0.113.2:2379",
            vec![
                (r#""mode": "observe""#.to_owned(), None),
                (enforce(""), Some(CUT)),
                // Members are what they may be no more.
                (enforce(r#", "member_rules": ["from any to host etcd tcp/2379"]"#), Some(CUT)),
                (enforce(r#", "open": ["tcp/2379"]"#), None),
                (enforce(r#", "open": ["tcp/2380"]"#), Some(CUT)),
                (enforce(r#", "hosts": {"etcd": {"open": ["tcp/2379"]}}"#), None),
                (enforce(r#", "hosts": {"etcd": {"mode": "observe"}}"#), None),
                (r#""roles": {"etcd": {"mode": "enforce"}}"#.to_owned(), Some(of_role.as_str())),
                (
                    // `web` comes from its private address, which is near, and not from its public one.
                    enforce(r#", "allow": [{"from": "203.0.113.0/24"}]"#),
                    Some(one.as_str()),
                ),
                (enforce(r#", "allow": [{"from": ["203.0.113.0/24", "10.0.0.0/8"]}]"#), None),
            ],
        ),
        ("10.0.0.2:2379", vec![(enforce(""), Some(near.as_str()))]),
        // A member of another network has that address there.
        ("10.0.0.3:2379", vec![(enforce(""), None)]),
        ("10.0.0.9:2379", vec![(enforce(""), None)]),
    ] {
        for (keys, expected) in cases {
            check(&[(&keys, expected)], None, &[server]);
        }
    }
}

#[test]
fn no_more_servers_of_the_registry_than_there_is_room_for() {
    let servers: Vec<String> =
        (1..=ENDPOINTS + 1).map(|host| format!("192.0.2.{host}:2379")).collect();
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    const ENFORCE: &str = r#""roles": {"db": {"mode": "enforce"}}"#;
    let cut = format!(
        "roles.db.mode: would cut off servers of the registry, for only {ENDPOINTS} of its {} IPv4 \
         addresses",
        ENDPOINTS + 1
    );
    check(&[(r#""mode": "observe""#, None), (ENFORCE, Some(&cut))], None, &servers);
    check(&[(ENFORCE, None)], None, &servers[1..]);
    let dual = [&servers[1..], &["[2001:db8::7]:2379"]].concat();
    check(&[(ENFORCE, None)], None, &dual);
}

#[test]
fn no_host_is_cut_off_from_all_others() {
    let enforce = |rest: &str| format!(r#""mode": "enforce", "member_rules": {rest}"#);
    const DB: &str = "member_rules: would cut off from all other members 1 host: db; add";
    for (keys, expected) in [
        (enforce(r#"["from role web to role db tcp/5432"]"#), None),
        (enforce(r#"["from role nobody to role db tcp/5432"]"#), Some(DB)),
        (enforce(r#"["from host db to role db"]"#), Some(DB)),
        (enforce(r#"["from role db to role db", "from host plain to host db"]"#), None),
        (enforce(r#"["from role db to role db"], "open": ["tcp/80"]"#), None),
        (enforce(r#"["from role db to role db"], "allow": [{"from": "10.0.0.1/32"}]"#), None),
        (enforce(r#"["from role db to role db"], "allow": [{"from": "10.9.9.9/32"}]"#), Some(DB)),
        (enforce(r#"["from role x to role db"], "hosts": {"db": {"mode": "observe"}}"#), None),
        (
            enforce(r#"["from role nobody to any"]"#),
            Some("member_rules: would cut off all members from each other; add"),
        ),
        (r#""member_rules": ["from role nobody to any"]"#.to_owned(), None),
        (
            enforce(r#"["from role x to role db", "from role x to host web"]"#),
            Some("member_rules: would cut off from all other members 2 hosts: db, web; add"),
        ),
    ] {
        check(&[(&keys, expected)], None, &[]);
    }
    let text = br#"{"overlay": ["100.64.0.0/16"], "mode": "enforce",
                    "member_rules": ["from role nobody to any"]}"#;
    let fleet = FleetSettings::parse("fleet", text).unwrap();
    let alone: Members = members().into_iter().take(1).collect();
    assert_eq!(hosts(&fleet, &alone), None);
}
