//! What is said of a policy that hardly means what it says.

use std::sync::Arc;

use super::*;
use crate::membership::{MemberRecord, Members, sample::record};

/// Two hosts of role `web`, and one of role `db`.
fn members() -> Members {
    let role = |name: &str, overlay: &str, role: &str| MemberRecord {
        role: role.to_owned(),
        ..record(name, overlay, "ec2").private(&overlay.replace("100.64.0", "10.0.0"))
    };
    let records = [
        role("hudson", "100.64.0.1", "web"),
        role("sierra", "100.64.0.2", "web"),
        role("pg1", "100.64.0.3", "db"),
    ];
    records.into_iter().map(|record| (record.id.clone(), Arc::new(record))).collect()
}

fn check(keys: &str, members: &Members, expected: &[&str]) {
    let fleet = parse(keys).unwrap();
    assert_eq!(warnings(&fleet, members), expected, "{keys}");
}

#[test]
fn what_concerns_no_member_is_told() {
    let keys = r#""member_rules": ["from role web to role db", "from role web to role dc",
        "from host hudson to any tcp", "from any to host pg2"]"#;
    check(
        keys,
        &members(),
        &[
            "member_rules[1] = \"from role web to role dc\": no member has role dc",
            "member_rules[3] = \"from any to host pg2\": no member is pg2",
        ],
    );
    check(keys, &Members::new(), &[]);
    let keys = r#""roles": {"db": {}, "cache": {}}, "hosts": {"pg1": {}, "pg2": {"echo": true}}"#;
    check(
        keys,
        &members(),
        &[
            "roles.cache: no member has role cache",
            "hosts.pg2: no member is pg2",
            "roles: does not list web, the role of 2 members: hudson, sierra",
        ],
    );
    check(keys, &Members::new(), &[]);
}

#[test]
fn rules_that_add_nothing_are_told() {
    for (keys, expected) in [
        (
            r#""allow": [{"from": "10.0.0.0/8"}, {"from": "10.1.0.0/16", "protocol": "tcp"},
                         {"from": "11.0.0.0/8", "protocol": "udp"}, {"from": "10.0.0.0/8"}]"#,
            &["allow[1]: adds nothing to allow[0]", "allow[3]: adds nothing to allow[0]"][..],
        ),
        (
            r#""allow": [{"from": "fd00::/8", "protocol": "tcp", "ports": ["80"]},
                         {"from": "fd00::/8", "protocol": "tcp", "ports": ["70-90"]}]"#,
            &["allow[0]: adds nothing to allow[1]"],
        ),
        // A prefix that adds something is enough.
        (r#""allow": [{"from": "10.0.0.0/8"}, {"from": ["10.1.0.0/16", "11.0.0.0/8"]}]"#, &[]),
        (r#""allow": [{"from": "10.0.0.0/8", "protocol": "tcp"}, {"from": "10.1.0.0/16"}]"#, &[]),
        (
            r#""allow": [{"from": "10.0.0.0/8", "protocol": "tcp"},
                         {"from": "10.0.0.0/12", "protocol": "udp"},
                         {"from": "10.1.0.0/16", "protocol": "tcp", "ports": ["1-65535"]},
                         {"from": ["10.1.0.0/24", "11.0.0.0/8"], "protocol": "udp"},
                         {"from": ["11.0.0.0/16", "10.2.0.0/24"], "protocol": "udp", "ports": ["5"]}]"#,
            &["allow[2]: adds nothing to allow[0]", "allow[4]: adds nothing to other rules"],
        ),
        (
            r#""open": ["tcp/80", "udp/53"],
               "allow": [{"from": "10.0.0.0/8", "protocol": "tcp", "ports": ["80"]},
                         {"from": "10.0.0.0/8", "protocol": "udp", "ports": ["53-54"]}]"#,
            &["allow[0]: adds nothing to `open`"],
        ),
        (
            r#""open": ["tcp/70-90"], "allow": [{"from": "10.0.0.0/8", "protocol": "tcp"}],
               "roles": {"db": {"open": ["tcp/1", "tcp/80"], "allow": [
                   {"from": "10.0.0.0/16", "protocol": "tcp", "ports": ["99"]},
                   {"from": "11.0.0.0/16", "protocol": "tcp", "ports": ["1"]},
                   {"from": "11.0.0.0/16", "protocol": "tcp", "ports": ["99"]}]},
                         "web": {}},
               "hosts": {"pg1": {"allow": [{"from": "12.0.0.0/8"}, {"from": "12.0.0.0/8"}]}}"#,
            &[
                "roles.db.open[1]: adds nothing to the fleet's `open`",
                "roles.db.allow[0]: adds nothing to the fleet's `allow`",
                "roles.db.allow[1]: adds nothing to `open`",
                "hosts.pg1.allow[1]: adds nothing to hosts.pg1.allow[0]",
            ],
        ),
        (
            r#""member_rules": ["from role web to role db tcp/1-10", "from role web to role db tcp/5",
                "from any to role db tcp/1-10", "from role web to any tcp/1-10",
                "from role web to any tcp/1-10", "from role web to role db tcp/11"]"#,
            &[
                "member_rules[0]: adds nothing to member_rules[2]",
                "member_rules[1]: adds nothing to member_rules[0]",
                "member_rules[4]: adds nothing to member_rules[3]",
            ],
        ),
    ] {
        check(keys, &members(), expected);
    }
}

#[test]
fn what_meets_members_by_name_or_address_is_told() {
    let mut members = members();
    let record = record("altarage", "100.64.0.9", "ec2").private("10.0.0.9");
    let record = MemberRecord { role: "liquid".to_owned(), ..record };
    members.insert(record.id.clone(), Arc::new(record));
    check(
        r#""member_rules": ["from host hudson to any icmp", "from host zinke to any tcp",
                            "from role costarring to any udp"],
           "nat_overrides": {"100.64.0.1": "203.0.113.7", "100.64.7.7": "10.0.0.3"},
           "allow": [{"from": "100.64.7.0/24"}]"#,
        &members,
        &[
            "member_rules[1]: altarage has the same number as zinke, so that no rule knows 1 member: \
             altarage by it; one must be renamed",
            "member_rules[2]: liquid has the same number as costarring, so that no rule knows 1 \
             member: altarage by it; one must be renamed",
            "nat_overrides.100.64.0.1: is the overlay address of member hudson",
            "nat_overrides: leads to 10.0.0.3, which is member pg1's and has its overlay address",
            "member_rules[1] = \"from host zinke to any tcp\": no member is zinke",
            "member_rules[2] = \"from role costarring to any udp\": no member has role costarring",
            "allow[0]: lets in nobody from 100.64.7.0/24, for packets come from real addresses; \
             rules about members are `member_rules`",
        ],
    );
}

#[test]
fn of_many_only_the_first_are_told() {
    let rules: Vec<String> = (0..200).map(|n| format!("\"from host h{n} to any tcp/1\"")).collect();
    let fleet = parse(&format!("\"member_rules\": [{}]", rules.join(", "))).unwrap();
    let warnings = warnings(&fleet, &members());
    assert_eq!(warnings.len(), 51);
    assert_eq!(warnings[49], "member_rules[49] = \"from host h49 to any tcp/1\": no member is h49");
    assert_eq!(warnings[50], "and 150 more");
}
