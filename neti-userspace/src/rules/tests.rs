use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{services::number, *};
use crate::{
    addresses::IpFamily,
    fleet::{AllowRule, FleetError, MemberRule, Overrides, PortRange, Transport, warnings},
    membership::{
        Members,
        sample::{fleet, id, ip, said},
    },
};

mod room;
pub mod sample;

use self::sample::{HOSTS, ROLES, policies, services};

/// What the operator means: a rule of the fleet, the role or the host admits.
fn source_may(
    parts: &[(&[AllowRule], &[OpenPort])],
    from: IpAddr,
    protocol: u8,
    port: u16,
) -> bool {
    let holds = |ports: &PortRange| (ports.first..=ports.last).contains(&port);
    let allows = |rule: &AllowRule| {
        rule.from.iter().any(|range| range.contains(&from))
            && rule.protocol.is_none_or(|p| p == protocol)
            && (rule.ports.is_empty() || rule.ports.iter().any(holds))
    };
    let opens = |open: &OpenPort| open.transport.protocol() == protocol && holds(&open.ports);
    parts.iter().any(|(allow, open)| allow.iter().any(allows) || open.iter().any(opens))
}

/// As the kernel does it: the longest prefix alone answers, beside what is open to anyone.
fn source_is_admitted(rules: &Rules, from: IpAddr, service: u32) -> bool {
    let holding = rules.allow.iter().filter(|(prefix, _)| prefix.contains(&from));
    let longest = holding.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(_, set)| *set);
    let class = rules.classes[service as usize];
    [Some(0), longest].into_iter().flatten().any(|set| rules.sets[set as usize].has(class))
}

/// As the kernel does it: a member's own set answers alone if it has one, else that of its role.
fn is_admitted(rules: &Rules, id: &HostId, role: &str, service: u32) -> bool {
    let class = rules.classes[service as usize];
    let has = |set: &u32| rules.sets[*set as usize].has(class);
    let of_role = rules.roles.get(&numbers::of_role(role)).unwrap_or(&rules.others);
    let of_host = rules.hosts.get(&numbers::of_host(id));
    !rules.restricted || of_host.is_some_and(has) || has(of_role)
}

/// What every compilation has in common.
fn is_sound(rules: &Rules) -> Result<(), TestCaseError> {
    prop_assert_eq!(rules.classes.len(), SERVICES);
    prop_assert!(rules.sets.len() <= SETS && !rules.sets.is_empty());
    let different: BTreeSet<&ServiceSet> = rules.sets.iter().collect();
    prop_assert_eq!(different.len(), rules.sets.len(), "equal sets");
    let named = rules.allow.values().chain(rules.roles.values()).chain(rules.hosts.values());
    prop_assert!(named.chain([&rules.others]).all(|set| (*set as usize) < rules.sets.len()));
    // In which sets each class is; those of two differ, and class 0 is in none.
    let classes: BTreeSet<u16> = rules.classes.iter().copied().chain([0]).collect();
    let sets = || rules.sets.iter().enumerate();
    let within = |class: &u16| -> Vec<usize> {
        sets().filter(|(_, set)| set.has(*class)).map(|(index, _)| index).collect()
    };
    let within: BTreeSet<Vec<usize>> = classes.iter().map(within).collect();
    prop_assert_eq!(within.len(), classes.len());
    prop_assert!(within.contains(&Vec::new()) && rules.sets.iter().all(|set| !set.has(0)));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn what_is_compiled_is_what_is_meant((policy, meant) in policies()) {
        let settings = FleetSettings { policy, ..fleet(&["100.64.0.0/16"]) };
        let policy = &settings.policy;
        for (host, role) in HOSTS.into_iter().zip(["db", "db", ""]) {
            let host = id(host);
            let rules = compile(&settings, &host, role);
            is_sound(&rules)?;

            let own: Vec<&Overrides> = [
                policy.roles.as_ref().unwrap().get(role), policy.hosts.get(&host),
            ].into_iter().flatten().collect();
            let mode = own.iter().rev().find_map(|own| own.mode).unwrap_or(settings.mode);
            let echo = own.iter().rev().find_map(|own| own.echo).unwrap_or(settings.echo);
            prop_assert_eq!((rules.mode, rules.echo), (mode, echo));

            let mut parts = vec![(&policy.allow[..], &policy.open[..])];
            parts.extend(own.iter().map(|own| (&own.allow[..], &own.open[..])));
            let addresses = [0, 1, 2, 3, 4, 9, 17].map(|low| format!("10.0.0.{low}"));
            for (family, from) in
                IpFamily::ALL.into_iter().flat_map(|family| addresses.iter().map(move |a| (family, a)))
            {
                let from = ip(&said(family, from));
                for (protocol, port) in services() {
                    let service = number(protocol, port);
                    let may = source_may(&parts, from, protocol, port);
                    prop_assert_eq!(source_is_admitted(&rules, from, service), may);
                    prop_assert_eq!(rules.admits_source(from, service), may);
                    prop_assert!(!may || rules.knows_source(from));
                }
            }

            let is = |who: &Who, id: &HostId, role: &str| match who {
                Who::Any => true,
                Who::Role(name) => name == role,
                Who::Host(host) => host == id,
            };
            let about: Vec<_> = meant.iter().filter(|rule| is(&rule.to, &host, role)).collect();
            prop_assert_eq!(rules.restricted, !about.is_empty());
            for (peer, peer_role) in HOSTS.iter().flat_map(|id| ROLES.map(|role| (id, role))) {
                let peer = id(peer);
                let about: Vec<_> =
                    about.iter().filter(|rule| is(&rule.from, &peer, peer_role)).collect();
                for (protocol, port) in services() {
                    let may = !rules.restricted
                        || about.iter().any(|rule| rule.covers(protocol, port));
                    let service = number(protocol, port);
                    prop_assert_eq!(rules.admits_member(&peer, peer_role, service), may);
                    prop_assert_eq!(is_admitted(&rules, &peer, peer_role, service), may);
                }
                let knows = !rules.restricted || !about.is_empty();
                prop_assert_eq!(rules.knows_member(&peer, peer_role), knows);
            }
        }
    }
}

/// The policy without the rules of which it is said that they add nothing.
fn without_shadowed(settings: &FleetSettings) -> Policy {
    let said = warnings(settings, &Members::new());
    let needless: BTreeSet<&str> = said
        .iter()
        .filter_map(|warning| Some(warning.split_once(": adds nothing to ")?.0))
        .collect();
    fn keep<T: Clone>(key: &str, list: &[T], needless: &BTreeSet<&str>) -> Vec<T> {
        let needed = |index: usize| !needless.contains(format!("{key}[{index}]").as_str());
        let needed = list.iter().enumerate().filter(|(index, _)| needed(*index));
        needed.map(|(_, element)| element.clone()).collect()
    }
    let overrides = |part: String, own: &Overrides| Overrides {
        allow: keep(&format!("{part}.allow"), &own.allow, &needless),
        open: keep(&format!("{part}.open"), &own.open, &needless),
        ..own.clone()
    };
    let policy = &settings.policy;
    let roles = policy.roles.iter().flatten();
    Policy {
        allow: keep("allow", &policy.allow, &needless),
        member_rules: keep("member_rules", &policy.member_rules, &needless),
        roles: Some(
            roles
                .map(|(role, own)| (role.clone(), overrides(format!("roles.{role}"), own)))
                .collect(),
        ),
        hosts: policy
            .hosts
            .iter()
            .map(|(id, own)| (id.clone(), overrides(format!("hosts.{id}"), own)))
            .collect(),
        ..policy.clone()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn what_adds_nothing_is_not_missed((policy, _) in policies()) {
        let settings = FleetSettings { policy, ..fleet(&["100.64.0.0/16"]) };
        let fewer = FleetSettings { policy: without_shadowed(&settings), ..settings.clone() };
        for (host, role) in HOSTS.into_iter().zip(["db", "db", ""]) {
            let host = id(host);
            let (all, fewer) = (compile(&settings, &host, role), compile(&fewer, &host, role));
            prop_assert_eq!(all.restricted, fewer.restricted);
            for service in services().map(|(protocol, port)| number(protocol, port)) {
                for (peer, role) in HOSTS.iter().flat_map(|id| ROLES.map(|role| (id, role))) {
                    let of = |rules: &Rules| rules.admits_member(&id(peer), role, service);
                    prop_assert_eq!(of(&all), of(&fewer));
                }
                for family in IpFamily::ALL {
                    for from in ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.9"] {
                        let from = ip(&said(family, from));
                        let of = |rules: &Rules| source_is_admitted(rules, from, service);
                        prop_assert_eq!(of(&all), of(&fewer));
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_is_in_the_maps_of_a_fleet_without_rules() {
    let rules = compile(&fleet(&["100.64.0.0/16"]), &id("hudson"), "web");
    assert!(rules.classes.iter().all(|class| *class == 0));
    assert_eq!(rules.sets, [ServiceSet::EMPTY]);
    assert_eq!((rules.restricted, rules.others), (false, 0));
    assert!(rules.allow.is_empty() && rules.roles.is_empty() && rules.hosts.is_empty());
}

#[test]
fn roles_and_hosts_have_their_numbers() {
    let text = br#"{"overlay": ["100.64.0.0/16"], "member_rules": [
        "from any to role db icmp", "from role web to role db tcp/5432", "from host a to any tcp/22"]}"#;
    let fleet = FleetSettings::parse("fleet", text).unwrap();
    let rules = compile(&fleet, &id("pg1"), "db");
    assert_eq!(rules.roles.keys().copied().collect::<Vec<_>>(), [numbers::of_role("web")]);
    assert_eq!(rules.hosts.keys().copied().collect::<Vec<_>>(), [numbers::of_host(&id("a"))]);
    // Anyone's ICMP, and with it the one or the other port.
    assert_eq!(rules.sets.len(), 4);
    let rules = compile(&fleet, &id("hudson"), "web");
    assert_eq!((rules.restricted, rules.roles.len(), rules.hosts.len()), (true, 0, 1));
}

fn parse(text: &str) -> Result<FleetSettings, FleetError> {
    FleetSettings::parse("fleet", text.as_bytes())
}
