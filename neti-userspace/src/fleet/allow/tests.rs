use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::membership::sample::{ip, said};

fn used(allow: &Allow) -> &[AllowEntry] {
    &allow.entries[..allow.count as usize]
}

/// As the kernel does it: the longest prefix alone answers.
fn admits(merged: &BTreeMap<IpNet, Allow>, source: IpAddr, protocol: u8, port: u16) -> bool {
    let holding = merged.iter().filter(|(prefix, _)| prefix.contains(&source));
    let Some((_, allow)) = holding.max_by_key(|(prefix, _)| prefix.prefix_len()) else {
        return false;
    };
    used(allow).iter().any(|entry| {
        [AllowEntry::ANY_PROTOCOL, protocol].contains(&entry.protocol)
            && (entry.first..=entry.last).contains(&port)
    })
}

/// As the operator means it: any rule admits.
fn meant(rules: &[AllowRule], source: IpAddr, protocol: u8, port: u16) -> bool {
    rules.iter().any(|rule| {
        rule.from.iter().any(|from| from.contains(&source))
            && rule.protocol.is_none_or(|p| p == protocol)
            && (rule.ports.is_empty()
                || rule.ports.iter().any(|range| (range.first..=range.last).contains(&port)))
    })
}

/// Few addresses and ports, so that prefixes nest and ranges touch.
fn rules() -> impl Strategy<Value = Vec<AllowRule>> {
    let from = (0u32..4, 28u8..=32, families()).prop_map(|(low, length, family)| {
        let range = format!("10.0.0.{low}/{length}");
        said(family, &range).parse::<IpNet>().unwrap().trunc()
    });
    let from = prop::collection::vec(from, 1..3);
    let ports = (1u16..20, 0u16..6).prop_map(|(first, n)| PortRange { first, last: first + n });
    let what = prop_oneof![
        Just((None, Vec::new())),
        Just((Some(1), Vec::new())),
        (prop_oneof![Just(TCP), Just(UDP)], prop::collection::vec(ports, 0..3))
            .prop_map(|(protocol, ports)| (Some(protocol), ports)),
    ];
    let rule =
        (from, what).prop_map(|(from, (protocol, ports))| AllowRule { from, protocol, ports });
    prop::collection::vec(rule, 0..6)
}

fn families() -> impl Strategy<Value = IpFamily> {
    prop::sample::select(&IpFamily::ALL)
}

proptest! {
    #[test]
    fn the_longest_match_answers_for_all_rules(rules in rules(), family in families()) {
        let Ok(merged) = merge(&rules) else { return Ok(()) };
        for source in (0..20).map(|low| ip(&said(family, &format!("10.0.0.{low}")))) {
            for protocol in [1, TCP, UDP, 47] {
                for port in 0..30 {
                    prop_assert_eq!(
                        admits(&merged, source, protocol, port),
                        meant(&rules, source, protocol, port),
                        "{} {} {}", source, protocol, port
                    );
                }
            }
        }
    }
}

#[test]
fn ranges_that_touch_become_one() {
    let range = |first, last| PortRange { first, last };
    let ports = vec![range(80, 80), range(81, 90), range(85, 95), range(97, 65_535)];
    let rule = AllowRule { from: vec!["10.0.0.0/8".parse().unwrap()], protocol: Some(TCP), ports };
    let merged = merge(&[rule]).unwrap();
    let entry = |first, last| AllowEntry { first, last, protocol: TCP, _pad: 0 };
    let (_, allow) = merged.first_key_value().unwrap();
    assert_eq!(used(allow), [entry(80, 95), entry(97, 65_535)]);
}

#[test]
fn more_entries_than_the_map_has_room_for_are_refused() {
    let ports = |from: u16, n: u16| (0..n).map(move |i| format!("\"{}\"", from + 2 * i));
    let rule = |from: &str, ports: Vec<String>| {
        format!(r#"{{"from": "{from}", "protocol": "tcp", "ports": [{}]}}"#, ports.join(","))
    };
    let text = format!(
        r#"{{"overlay": ["100.64.0.0/16"], "allow": [{}, {}]}}"#,
        rule("10.0.0.0/8", ports(100, 8).collect()),
        rule("10.1.0.0/16", ports(200, 1).collect()),
    );
    let error = super::super::FleetSettings::parse("fleet", text.as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "fleet: allow = 9 entries for 10.1.0.0/16 with the prefixes around it: must be at most 8 \
         protocols and port ranges for one source"
    );
}
