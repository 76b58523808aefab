//! Policies that are small enough for their rules to meet, and what they mean.

use super::*;

pub const ROLES: [&str; 4] = ["web", "db", "cache", ""];
pub const HOSTS: [&str; 3] = ["a", "b", "c"];

/// Services as rules about members write them, and what they are: a protocol, and from which port to
/// which.
const WRITTEN: [(&str, u8, u16, u16); 7] = [
    ("tcp/3-9", 6, 3, 9),
    ("tcp/10", 6, 10, 10),
    ("tcp/15-20", 6, 15, 20),
    ("udp", 17, 0, u16::MAX),
    ("icmp", 1, 0, u16::MAX),
    ("47", 47, 0, u16::MAX),
    ("2", 2, 0, u16::MAX),
];

/// Few of them, so that rules meet.
pub fn services() -> impl Iterator<Item = (u8, u16)> {
    let with_ports =
        [6, 17].into_iter().flat_map(|protocol| (0..25).map(move |port| (protocol, port)));
    with_ports.chain([1, 58, 47, 2].map(|protocol| (protocol, 0)))
}

/// A rule about members and what it means, taken apart by hand.
#[derive(Debug, Clone)]
pub struct Meant {
    rule: MemberRule,
    pub from: Who,
    pub to: Who,
    /// Indices into [`WRITTEN`]; none: everything.
    services: BTreeSet<usize>,
}

impl Meant {
    pub fn covers(&self, protocol: u8, port: u16) -> bool {
        // ICMP is that of both families.
        let is = |written: u8| written == protocol || (written == 1 && protocol == 58);
        let covers = |index: &usize| {
            let (_, written, first, last) = WRITTEN[*index];
            is(written) && (first..=last).contains(&port)
        };
        self.services.is_empty() || self.services.iter().any(covers)
    }
}

fn who() -> impl Strategy<Value = (String, Who)> {
    prop_oneof![
        Just(("any".to_owned(), Who::Any)),
        prop::sample::select(&ROLES[..3])
            .prop_map(|role| (format!("role {role}"), Who::Role(role.to_owned()))),
        prop::sample::select(&HOSTS).prop_map(|host| (format!("host {host}"), Who::Host(id(host)))),
    ]
}

fn meant() -> impl Strategy<Value = Meant> {
    let services = prop::collection::btree_set(0..WRITTEN.len(), 0..3);
    (who(), who(), services).prop_map(|((from_text, from), (to_text, to), services)| {
        let list: Vec<&str> = services.iter().map(|index| WRITTEN[*index].0).collect();
        let text = format!("from {from_text} to {to_text} {}", list.join(","));
        Meant { rule: text.parse().unwrap(), from, to, services }
    })
}

fn families() -> impl Strategy<Value = IpFamily> {
    prop::sample::select(&IpFamily::ALL)
}

/// Few addresses and ports, so that prefixes nest and ranges touch.
fn allow() -> impl Strategy<Value = Vec<AllowRule>> {
    let from = (0u32..4, prop_oneof![Just(0u8), 28u8..=32], families());
    let from = from.prop_map(|(low, length, family)| {
        let range = said(family, &format!("10.0.0.{low}/{length}"));
        range.parse::<IpNet>().unwrap().trunc()
    });
    let from = prop::collection::vec(from, 1..3);
    let ports = (1u16..20, 0u16..6).prop_map(|(first, n)| PortRange { first, last: first + n });
    let what = prop_oneof![
        Just((None, Vec::new())),
        Just((Some(1), Vec::new())),
        (prop_oneof![Just(6), Just(17)], prop::collection::vec(ports, 0..3))
            .prop_map(|(protocol, ports)| (Some(protocol), ports)),
    ];
    let rule =
        (from, what).prop_map(|(from, (protocol, ports))| AllowRule { from, protocol, ports });
    prop::collection::vec(rule, 0..5)
}

fn open() -> impl Strategy<Value = Vec<OpenPort>> {
    let transport = prop_oneof![Just(Transport::Tcp), Just(Transport::Udp)];
    let port = (transport, 1u16..20, 0u16..4).prop_map(|(transport, first, n)| OpenPort {
        transport,
        ports: PortRange { first, last: first + n },
    });
    prop::collection::vec(port, 0..3)
}

fn overrides() -> impl Strategy<Value = Overrides> {
    let mode = prop::option::of(prop_oneof![Just(Mode::Observe), Just(Mode::Enforce)]);
    (mode, prop::option::of(any::<bool>()), allow(), open())
        .prop_map(|(mode, echo, allow, open)| Overrides { mode, echo, allow, open })
}

pub fn policies() -> impl Strategy<Value = (Policy, Vec<Meant>)> {
    let rules = prop::collection::vec(meant(), 0..8);
    (allow(), open(), rules, overrides(), overrides()).prop_map(|(allow, open, meant, db, a)| {
        let listed = |role: &str| if role == "db" { db.clone() } else { Overrides::default() };
        let roles = ROLES[..3].iter().map(|role| ((*role).to_owned(), listed(role)));
        let policy = Policy {
            allow,
            open,
            member_rules: meant.iter().map(|meant| meant.rule.clone()).collect(),
            roles: Some(roles.collect()),
            hosts: [(id("a"), a)].into(),
            nat_overrides: BTreeMap::new(),
        };
        (policy, meant)
    })
}
