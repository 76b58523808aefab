//! Policies that fill the maps, and such that the maps have no room for.

use serde_json::{Value, json};

use super::*;

/// `count` TCP ports from `first` on, every other one, so that none joins another.
fn ports(first: usize, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("tcp/{}", first + 2 * n)).collect()
}

/// A rule for each of these services, so that they are all told apart.
fn rules(to: &str, services: &[String]) -> Vec<String> {
    services
        .iter()
        .map(|service| format!("from role r-{} to {to} {service}", service.replace('/', "-")))
        .collect()
}

/// An allow rule for each of these ports, from an address of its own.
fn allow(first: usize, count: usize) -> Value {
    let rule = |n: usize| {
        let port = first + 2 * n;
        let from = format!("10.0.{}.{}/32", port >> 8, port & 0xff);
        json!({"from": from, "protocol": "tcp", "ports": [port.to_string()]})
    };
    (0..count).map(rule).collect()
}

fn with(keys: Value) -> Result<FleetSettings, String> {
    let mut settings = json!({"overlay": ["100.64.0.0/16"]});
    settings.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    parse(&settings.to_string()).map_err(|error| error.to_string())
}

#[test]
fn there_is_room_for_all_classes_but_no_more() {
    const MOST: usize = CLASSES - 1;
    for keys in
        [json!({"allow": allow(1, MOST)}), json!({"member_rules": rules("any", &ports(1, MOST))})]
    {
        let fleet = with(keys).unwrap();
        let rules = compile(&fleet, &id("hudson"), "");
        assert_eq!(rules.classes.iter().max(), Some(&(MOST as u16)));
        assert!(is_sound(&rules).is_ok());
    }
    for (keys, error) in [
        (
            json!({"allow": allow(1, MOST + 1)}),
            "fleet: allow = 2048 services that rules tell apart: must be at most 2047 on one host; \
             name wider ranges of ports",
        ),
        (
            json!({"member_rules": rules("any", &ports(1, MOST + 1))}),
            "fleet: member_rules = 2048 services that rules tell apart: must be at most 2047",
        ),
        (
            json!({"member_rules": rules("role db", &ports(1, MOST + 1))}),
            "fleet: member_rules = 2048 services that rules tell apart, the fleet's among them: must",
        ),
        (
            json!({"member_rules": rules("host pg1", &ports(1, MOST + 1))}),
            "fleet: member_rules = 2048 services that rules tell apart, the fleet's among them: must",
        ),
        (
            json!({"allow": allow(1, 1500), "roles": {"db": {"allow": allow(4001, 1000)}, "web": {}}}),
            "fleet: roles.db = 2500 services that rules tell apart, the fleet's among them: must",
        ),
        (
            json!({"allow": allow(1, 1500), "hosts": {"pg1": {"allow": allow(4001, 1000)}}}),
            "fleet: hosts.pg1 = 2500 services that rules tell apart, the fleet's among them: must",
        ),
        (
            json!({"allow": allow(1, 1000), "roles": {"db": {"allow": allow(4001, 1000)}},
                   "hosts": {"pg1": {"allow": allow(8001, 1000)}}}),
            "fleet: hosts.pg1 = 3000 services that rules tell apart in role db, the fleet's among \
             them: must",
        ),
    ] {
        let found = with(keys).map(|fleet| fleet.overlay).unwrap_err();
        assert!(found.starts_with(error), "{found}");
    }
}

#[test]
fn there_is_room_for_all_sets_but_no_more() {
    // Each address may reach another combination of 13 ports.
    let rule = |n: usize| {
        let ports: Vec<String> =
            (0..13).filter(|bit| n >> bit & 1 == 1).map(|bit| (2 * bit + 1).to_string()).collect();
        let from = format!("10.0.{}.{}/32", n >> 8, n & 0xff);
        json!({"from": from, "protocol": "tcp", "ports": ports})
    };
    let allow = |most: usize| (1..=most).map(rule).collect::<Value>();
    // Beside them stands the empty set of what is open to anyone.
    let fleet = with(json!({"allow": allow(SETS - 1)})).unwrap();
    let rules = compile(&fleet, &id("hudson"), "");
    assert_eq!((rules.sets.len(), rules.classes.iter().max()), (SETS, Some(&12)));
    for (keys, error) in [
        (
            json!({"allow": allow(SETS)}),
            "fleet: allow = 4097 different sets of services: must be at most 4096 on one host; let \
             more sources reach the same services",
        ),
        (json!({"allow": allow(SETS - 1), "roles": {"db": {"open": ["tcp/1000"]}}}), ""),
        (
            json!({"allow": allow(SETS - 1), "hosts": {"db": {"allow": [{"from": "10.0.0.0/8"}]}}}),
            "",
        ),
        (
            json!({"allow": allow(SETS - 1),
                   "hosts": {"db": {"allow": [{"from": "fd00::/8", "protocol": "udp"}]}}}),
            "fleet: hosts.db = 4097 different sets of services, the fleet's among them: must",
        ),
        (
            json!({"allow": allow(SETS - 1), "member_rules": ["from role web to role db udp"]}),
            "fleet: member_rules = 4097 different sets of services, the fleet's among them: must",
        ),
    ] {
        match with(keys) {
            Ok(_) => assert_eq!(error, ""),
            Err(found) => assert!(!error.is_empty() && found.starts_with(error), "{found}"),
        }
    }
}

#[test]
fn what_no_host_has_together_needs_no_room_together() {
    let roles = (0..4).map(|n| {
        let role = json!({"allow": allow(1 + 4000 * n, 1500)});
        (format!("role-{n}"), role)
    });
    let roles: serde_json::Map<_, _> = roles.collect();
    assert!(with(json!({"roles": roles})).is_ok());
}

#[test]
fn many_prefixes_share_few_sets() {
    let from: Vec<String> =
        (0..20_000u32).map(|n| format!("10.{}.{}.0/24", n >> 8, n & 0xff)).collect();
    let entries: Vec<Value> = from
        .iter()
        .map(|from| json!({"from": from, "protocol": "tcp", "ports": ["443"]}))
        .collect();
    for allow in [json!([{"from": from, "protocol": "tcp", "ports": ["443"]}]), json!(entries)] {
        let fleet = with(json!({"allow": allow, "roles": {"db": {"allow": allow}}})).unwrap();
        let rules = compile(&fleet, &id("hudson"), "db");
        assert_eq!((rules.allow.len(), rules.sets.len()), (20_000, 2));
    }
}

#[test]
fn there_is_room_for_many_ranges_and_subjects_but_not_for_more() {
    let room = maps::RANGES_KEPT;
    let policy = |ranges: u32| {
        let from = (0..ranges).map(|n| IpNet::from(IpAddr::from((0x0b00_0000 + n).to_be_bytes())));
        let rule = AllowRule { from: from.collect(), protocol: None, ports: Vec::new() };
        let mut policy = with(json!({})).unwrap().policy;
        policy.allow.push(rule);
        policy
    };
    let mut thrice = policy(100_000);
    thrice.allow = [&thrice.allow[..]; 3].concat();
    assert_eq!(check(&thrice), Ok(()));
    let TooMany { key, value, .. } = check(&policy(room + 1)).unwrap_err();
    assert_eq!(key, "allow");
    let ranges = format!("{} IPv4 ranges of 1 prefix lengths", room + 1);
    assert!(value.starts_with(&ranges), "{value}");

    let hosts = maps::SUBJECTS_KEPT as usize + 1;
    let rules: Vec<String> = (0..hosts).map(|n| format!("from host h-{n} to any tcp/22")).collect();
    let error = with(json!({ "member_rules": rules })).unwrap_err();
    let text =
        format!("fleet: member_rules = rules from {hosts} roles and hosts: must be from at most");
    assert!(error.starts_with(&text), "{error}");
}
