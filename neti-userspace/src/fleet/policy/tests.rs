use super::*;
use crate::{
    fleet::FleetSettings,
    membership::sample::{id, ip},
    rules::services::{COUNT, number},
};

mod said;

fn parse(keys: &str) -> Result<FleetSettings, FleetError> {
    let text = format!(r#"{{"overlay": ["100.64.0.0/16", "fd64::/64"], {keys}}}"#);
    FleetSettings::parse("fleet", text.as_bytes())
}

#[test]
fn reads_every_key() {
    let fleet = parse(
        r#""mode": "observe", "echo": true, "open": ["tcp/80"],
        "allow": [{"from": "198.51.100.0/24"}],
        "roles": {"web": {}, "db": {"mode": "enforce", "echo": false, "open": ["udp/53"],
                                    "allow": [{"from": "192.0.2.0/24"}]}},
        "hosts": {"hudson": {"mode": "observe"}},
        "member_rules": ["from role web to role db tcp/5432", "from any to host pg1"],
        "nat_overrides": {"100.64.9.9": "203.0.113.7", "fd64::9": "2001:db8::7"}"#,
    );
    let policy = fleet.unwrap().policy;
    assert_eq!((policy.allow.len(), policy.open.len(), policy.member_rules.len()), (1, 1, 2));
    assert_eq!(policy.roles(), ["db", "web"].into());
    assert_eq!(policy.hosts(), [&id("hudson"), &id("pg1")].into());
    let (hudson, walden) = (id("hudson"), id("walden"));
    let modes = |id, role| policy.overrides(Some(id), role).map(|own| own.mode).collect::<Vec<_>>();
    assert_eq!(modes(&hudson, "db"), [Some(Mode::Enforce), Some(Mode::Observe)]);
    assert_eq!(modes(&walden, "db"), [Some(Mode::Enforce)]);
    assert_eq!(modes(&walden, "other"), []);
    let db = policy.overrides(None, "db").next().unwrap();
    assert_eq!((db.echo, db.allow.len(), db.open.len()), (Some(false), 1, 1));
    let rules = |id, role| policy.rules_to(Some(id), role).count();
    assert_eq!((rules(&walden, "db"), rules(&id("pg1"), "db"), rules(&walden, "web")), (1, 2, 0));
    let leads = |from: &str| policy.nat_overrides.get(&ip(from)).copied();
    assert_eq!(leads("100.64.9.9"), Some(ip("203.0.113.7")));
    assert_eq!(leads("fd64::9"), Some(ip("2001:db8::7")));
}

#[test]
fn nothing_is_required() {
    let policy = parse(r#""open": [], "member_rules": []"#).unwrap().policy;
    assert_eq!(policy, Policy::default());
}

/// Each line: a rule, from whom and to whom it is, and the numbers of its services.
#[test]
fn rules_about_members_are_read() {
    let role = |name: &str| Who::Role(name.to_owned());
    let all = vec![(0, COUNT - 1)];
    for (text, from, to, services) in [
        ("from any to any", Who::Any, Who::Any, all.clone()),
        ("from role web to role db tcp/5432", role("web"), role("db"), vec![(5432, 5432)]),
        ("from role to to host any", role("to"), Who::Host(id("any")), all),
        (
            "  from any\tto  role cache tcp/6379, tcp/6380-6390 ,udp",
            Who::Any,
            role("cache"),
            vec![(6379, 6390), (65_536, 131_071)],
        ),
        (
            "from any to host pg1.example.com icmp,47",
            Who::Any,
            Who::Host(id("pg1.example.com")),
            [1, 47, 58].map(|protocol| (number(protocol, 0), number(protocol, 0))).to_vec(),
        ),
        ("from any to any icmpv6", Who::Any, Who::Any, vec![(number(58, 0), number(58, 0))]),
        ("from any to any 6/22,17/53", Who::Any, Who::Any, vec![(22, 22), (65_589, 65_589)]),
        ("from any to any tcp", Who::Any, Who::Any, vec![(0, 65_535)]),
    ] {
        let rule: MemberRule = text.parse().unwrap();
        assert_eq!((&rule.from, &rule.to), (&from, &to), "{text}");
        assert_eq!(rule.services.ranges(), services, "{text}");
        assert_eq!(rule.to_string(), text);
    }
}

/// Each line: what follows good overlay ranges, and the error.
#[test]
fn errors_name_key_value_and_what_is_right() {
    let rule = |text: &str, error: &str| {
        (
            format!(r#""member_rules": ["from any to any", "{text}"]"#),
            format!("member_rules[1] = \"{text}\": {error}"),
        )
    };
    let mut cases = vec![
        rule("", "it ends where from must be; must be like \"from role web to role db"),
        rule("allow any", "allow where from must be; must be like"),
        rule("from any", "it ends where to must be; must be like"),
        rule("from", "nothing after from, which must be any, role NAME or host ID"),
        rule("from rule web to any", "rule after from, which must be any, role NAME or host ID"),
        rule("from any to role", "\"\" after to role must be 1 to 64 of A-Z a-z 0-9 . _ -"),
        rule("from role w/b to any", "\"w/b\" after from role must be 1 to 64 of"),
        rule("from host .a to any", "\".a\" after from host must be 1 to 64 of"),
        rule("from any to any tcp/", "\"tcp/\" must be tcp, udp, icmp, icmpv6 or a protocol's"),
        rule("from any to any tcp/0", "\"tcp/0\" must be tcp, udp, icmp,"),
        rule("from any to any http", "\"http\" must be tcp, udp, icmp,"),
        rule("from any to any 255", "\"255\" must be tcp, udp, icmp,"),
        rule("from any to any tcp/1,", "\"\" must be tcp, udp, icmp,"),
        rule("from any to any tcp/1 udp/2", "\"tcp/1 udp/2\" must be tcp, udp, icmp,"),
        rule("from any to any tcp/9-8", "tcp/9-8 is inverted; write tcp/8-9"),
        rule("from any to any icmp/8", "\"icmp/8\" has ports, which tcp and udp have only; write"),
        rule("from any to any tcp/80,tcp", "tcp/80 overlaps tcp; must be apart from it, or left"),
        rule("from any to any tcp/80-90,udp,tcp/90", "tcp/90 overlaps tcp/80-90; must be apart"),
        rule("from any to any icmp,icmpv6", "icmpv6 overlaps icmp; must be apart"),
    ];
    let others = [
        (
            r#""member_rules": "from any to any""#,
            "member_rules = \"from any to any\": must be a list",
        ),
        (r#""member_rules": [1]"#, "member_rules[0] = 1: must be a text like \"from role web"),
        (
            r#""roles": {"db": {}, "web": {}}, "member_rules": ["from role wbe to role db"]"#,
            "member_rules[0] = \"from role wbe to role db\": role wbe must be one that `roles` \
             lists: db, web",
        ),
        (
            r#""roles": {"db": {}}, "member_rules": ["from any to role pg"]"#,
            "member_rules[0] = \"from any to role pg\": role pg must be one that `roles` lists: db",
        ),
        (r#""roles": {}"#, "roles = {}: must list at least one role"),
        (r#""roles": ["web"]"#, "roles = [\"web\"]: must be a table of tables by role, like {"),
        (r#""roles": {"": {}}"#, "roles. = {}: the role's name must be 1 to 64 of"),
        (r#""roles": {"w b": {}}"#, "roles.w b = {}: the role's name must be 1 to 64 of"),
        (r#""roles": {"db": 1}"#, "roles.db = 1: must be a table"),
        (r#""roles": {"db": {"mod": 1}}"#, "roles.db.mod = 1: unknown key; known are mode, echo,"),
        (
            r#""roles": {"db": {"failsafe": []}}"#,
            "roles.db.failsafe = []: unknown key; known are mode, echo, allow, open",
        ),
        (r#""roles": {"db": {"mode": 1}}"#, "roles.db.mode = 1: must be observe or enforce"),
        (r#""hosts": {"a b": {}}"#, "hosts.a b = {}: the host's id must be 1 to 64 of"),
        (r#""hosts": {"a": {"echo": 1}}"#, "hosts.a.echo = 1: must be true or false"),
        (
            r#""hosts": {"a.b": {"allow": [{"from": "10.0.0.0/8", "protocol": "tcp", "ports": ["1", "5-3"]}]}}"#,
            "hosts.a.b.allow[0].ports[1] = \"5-3\": inverted; write 3-5",
        ),
        (
            r#""allow": [{"from": "10.0.0.0/8", "protocol": "tcp", "ports": []}]"#,
            "allow[0].ports = []: must be a list of at least one; without this key it is all ports",
        ),
        (
            r#""allow": [{"from": "10.0.0.0/8", "protocol": "tcp", "ports": ["80-90", "1", "85"]}]"#,
            "allow[0].ports[2] = \"85\": overlaps 80-90; must be apart from it, or left out",
        ),
        (
            r#""allow": [{"from": ["10.1.0.0/16", "11.0.0.0/8", "10.0.0.0/8"]}]"#,
            "allow[0].from[0] = \"10.1.0.0/16\": lies inside 10.0.0.0/8; must be apart from it",
        ),
        (
            r#""allow": [{"from": ["fd00::/16", "fe00::/16", "fd00::/16"]}]"#,
            "allow[0].from[2] = \"fd00::/16\": is from[0] again; must be there once",
        ),
        (
            r#""failsafe": ["10.0.0.0/8", "10.9.0.0/16"]"#,
            "failsafe[1] = \"10.9.0.0/16\": lies inside 10.0.0.0/8; must be apart from it",
        ),
        (
            r#""open": ["tcp/80", "udp/1", "tcp/70-90"]"#,
            "open[0] = \"tcp/80\": overlaps tcp/70-90; must be apart from it, or left out",
        ),
        (r#""open": ["tcp/90-80"]"#, "open[0] = \"tcp/90-80\": inverted; write tcp/80-90"),
        (
            r#""nat_overrides": {"100.65.0.1": "203.0.113.7"}"#,
            "nat_overrides.100.65.0.1 = \"203.0.113.7\": the key must be an address in an overlay \
             range of the fleet: 100.64.0.0/16, fd64::/64",
        ),
        (
            r#""nat_overrides": {"a": "203.0.113.7"}"#,
            "nat_overrides.a = \"203.0.113.7\": the key must",
        ),
        (r#""nat_overrides": []"#, "nat_overrides = []: must be a table of addresses, like {"),
        (
            r#""nat_overrides": {"100.64.9.9": "example.com"}"#,
            "nat_overrides.100.64.9.9 = \"example.com\": must be the IPv4 address that it stands",
        ),
        (
            r#""nat_overrides": {"100.64.9.9": "127.0.0.1"}"#,
            "nat_overrides.100.64.9.9 = \"127.0.0.1\": is loopback; must be an address that other",
        ),
        (
            r#""nat_overrides": {"100.64.9.9": "2001:db8::7"}"#,
            "nat_overrides.100.64.9.9 = \"2001:db8::7\": must be an IPv4 address, as 100.64.9.9 is",
        ),
        (
            r#""nat_overrides": {"100.64.9.9": "100.64.9.8"}"#,
            "nat_overrides.100.64.9.9 = \"100.64.9.8\": is in an overlay range itself; must be outside",
        ),
        (
            r#""nat_overrides": {"100.64.9.9": "203.0.113.7", "100.64.9.8": "203.0.113.7"}"#,
            "nat_overrides.100.64.9.8 = \"203.0.113.7\": is where 100.64.9.9 leads already; must be",
        ),
        (
            r#""nat_overrides": {"fd64::9": "2001:db8::7", "fd64:0::9": "2001:db8::8"}"#,
            "nat_overrides.fd64:0::9 = \"2001:db8::8\": fd64::9 is there twice; must be there once",
        ),
        // Words that are known to have one FNV-1a of 32 bits.
        (
            r#""roles": {"costarring": {}, "liquid": {}}"#,
            "roles.liquid = {}: liquid has the same number as costarring, 0x5e4daa9d; one must be",
        ),
        (
            r#""member_rules": ["from role costarring to host liquid", "from role liquid to any"]"#,
            "member_rules[1] = \"from role liquid to any\": liquid has the same number as costarring",
        ),
        (
            r#""member_rules": ["from host altarage to host zinke"]"#,
            "member_rules[0] = \"from host altarage to host zinke\": zinke has the same number as",
        ),
    ];
    cases.extend(others.map(|(text, error)| (text.to_owned(), error.to_owned())));
    for (text, message) in cases {
        let error = parse(&text).map(|fleet| fleet.policy).unwrap_err().to_string();
        assert!(error.starts_with(&format!("fleet: {message}")), "{text}: {error}");
    }
}

#[test]
fn errors_tell_the_line() {
    let text = r#"{
  "overlay": ["100.64.0.0/16"],
  "allow": [
    {"from": "10.0.0.0/8"},
    {"from": "11.0.0.0/8", "protocol": "tcp", "ports": [
      "80",
      "8010-8000"]}
  ]
}"#;
    let told = "7: allow[1].ports[1] = \"8010-8000\": inverted; write 8000-8010";
    let error = FleetSettings::parse("fleet.json", text.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), format!("fleet.json:{told}"));

    // A single line is told of in a file alone.
    let text = b"{\"overlay\": [], \"mode\": 1}\n";
    let error = "overlay = []: must be a list of at least one range";
    let of_value = FleetSettings::parse("fleet", text).unwrap_err().to_string();
    assert_eq!(of_value, format!("fleet: {error}"));
    let of_file = FleetSettings::parse_file("fleet.json", text).unwrap_err().to_string();
    assert_eq!(of_file, format!("fleet.json:1: {error}"));
}
