//! The example configuration and the fleet settings in it.

use std::collections::BTreeSet;

use neti_userspace::{
    config::{Attach, Config, Credentials, Layout, RegistryConfig, Servers, Tls},
    fleet::FleetSettings,
};

use crate::{deploy, parse};

/// The example with its commented-out keys in force.
fn uncommented() -> String {
    let lines = deploy("neti.example.toml");
    let uncomment = |line: &str| {
        let key = line.strip_prefix("# ").filter(|rest| {
            rest.split_once(" = ")
                .is_some_and(|(key, _)| !key.contains(|c: char| !c.is_lowercase()))
        });
        format!("{}\n", key.unwrap_or(line))
    };
    lines.lines().map(uncomment).collect()
}

#[test]
fn the_example_parses_as_it_stands_and_in_full() {
    let minimal = parse(&deploy("neti.example.toml"));
    let full = parse(&uncommented());
    // Commented-out keys that have a default show it.
    assert_eq!(full.instance, minimal.instance);
    assert_eq!((full.attach, full.notrack), (Attach::Auto, false));
    assert_eq!((minimal.attach, minimal.notrack), (full.attach, full.notrack));
    assert_eq!(full.registry, minimal.registry);
    let addresses = [full.private, full.public].map(|addresses| addresses.iter().count());
    assert_eq!((addresses, full.labels.is_empty()), ([2, 2], false), "both families are shown");
}

/// The names of all fields of a value.
macro_rules! keys {
    ($type:path { $($key:ident),* }, $value:expr) => {{
        // No `..`: a key that is added does not compile here until it is listed.
        #[allow(irrefutable_let_patterns)]
        let $type { $($key: _),* } = $value else { panic!("another kind of registry") };
        [$(stringify!($key)),*]
    }};
}

/// The keys that a text in TOML gives values.
fn written(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| Some(line.split_once(" = ")?.0)).collect()
}

/// The tables that the example shows in its comments.
fn shown_tables() -> Vec<String> {
    let example = deploy("neti.example.toml");
    let comment = |line: &str| format!("{}\n", line.strip_prefix("#   ").unwrap_or_default());
    let text: String = example.lines().map(comment).collect();
    let tables = text.split("[registry]\n").skip(1);
    tables.map(|table| table.split("\n\n").next().unwrap().to_owned()).collect()
}

#[test]
fn the_example_shows_servers_with_every_key() {
    let example = deploy("neti.example.toml");
    let explained =
        |key: &str| example.lines().any(|line| line.starts_with(&format!("#   {key}  ")));
    let mut kinds = BTreeSet::new();
    for table in shown_tables() {
        let text = format!("network = \"ec2\"\nuplink = \"eth0\"\n[registry]\n{table}\n");
        let mut keys = vec!["kind"];
        let servers = match parse(&text).registry {
            RegistryConfig::Directory { .. } => panic!("{table}"),
            RegistryConfig::Etcd(servers) => servers,
            RegistryConfig::ZooKeeper { servers, layout } => {
                keys.push("layout");
                let names = match layout {
                    Layout::Neti | Layout::Classic => ["`neti`", "`classic`"],
                };
                let line = example.lines().find(|line| line.starts_with("#   layout  "));
                assert!(names.iter().all(|name| line.unwrap().contains(name)), "{line:?}");
                servers
            }
        };
        let all = keys!(Servers { endpoints, prefix, ttl, tls, credentials }, &servers);
        keys.extend(all.into_iter().filter(|key| !["tls", "credentials"].contains(key)));
        if let Some(tls) = &servers.tls {
            let all = keys!(Tls { ca, identity }, tls);
            keys.extend(all.into_iter().filter(|key| *key != "identity"));
            keys.extend(["cert", "key"]);
            assert!(tls.identity.is_some(), "{table}");
        }
        let credentials = servers.credentials.unwrap_or_else(|| panic!("no credentials: {table}"));
        keys.extend(keys!(Credentials { user, password_file }, &credentials));
        assert_eq!(written(&table), keys.iter().copied().collect());
        for key in keys.iter().filter(|key| !["kind", "ttl"].contains(key)) {
            assert!(explained(key), "{key} is not explained in deploy/neti.example.toml");
        }
        kinds.insert((table.lines().next().unwrap().to_owned(), servers.tls.is_some()));
    }
    // TLS and a list of servers in the one, a table by network in the other.
    let expected = [("kind = \"etcd\"", true), ("kind = \"zookeeper\"", false)];
    assert_eq!(kinds, expected.map(|(kind, tls)| (kind.to_owned(), tls)).into());
    for kind in ["directory", "etcd", "zookeeper"] {
        assert!(explained(kind), "{kind} is not explained in deploy/neti.example.toml");
    }
}

#[test]
fn the_example_has_every_key() {
    let text = uncommented();
    let written = written(&text);
    let config = parse(&text);
    let top = keys!(
        Config {
            instance,
            host,
            network,
            uplink,
            private,
            public,
            role,
            labels,
            attach,
            notrack,
            registry
        },
        &config
    );
    let directory = keys!(RegistryConfig::Directory { path, ttl }, &config.registry);
    for key in top.iter().chain(&directory).filter(|key| **key != "registry") {
        assert!(written.contains(key), "{key} is not in deploy/neti.example.toml");
    }
    assert!(text.contains("\n[registry]\n") && written.contains("kind"));
}

#[test]
fn the_fleet_settings_shown_parse_and_every_key_is_explained() {
    let example = deploy("neti.example.toml");
    let comments = || example.lines().filter_map(|line| line.strip_prefix("#   "));
    let mut shown = String::new();
    for line in comments().skip_while(|line| !line.starts_with('{')) {
        shown += line;
        if line.ends_with("\" }") {
            break;
        }
    }
    let settings = FleetSettings::parse("fleet", shown.as_bytes()).unwrap();
    let least = FleetSettings::parse("fleet", br#"{"overlay": ["100.64.0.0/16"]}"#).unwrap();
    assert_eq!(
        settings,
        FleetSettings {
            overlay: settings.overlay.clone(),
            networks: settings.networks.clone(),
            policy: settings.policy.clone(),
            ..least
        },
        "where there is a default it is shown"
    );
    let shown: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&shown).unwrap();
    // As they are read, so that a key which is added there must be shown here.
    let source = [
        include_str!("../../src/fleet.rs"),
        include_str!("../../src/fleet/allow.rs"),
        include_str!("../../src/fleet/networks.rs"),
        include_str!("../../src/fleet/policy.rs"),
        include_str!("../../src/fleet/policy/member_rules.rs"),
        include_str!("../../src/fleet/policy/nat_overrides.rs"),
        include_str!("../../src/fleet/ports.rs"),
        include_str!("../../src/fleet/ranges.rs"),
    ]
    .concat();
    let read: BTreeSet<&str> = ["optional(\"", "list(\"", "tables(\"", "required(\""]
        .iter()
        .flat_map(|call| source.split(call).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .filter(|key| !["from", "protocol", "ports", "peered"].contains(key))
        .collect();
    assert_eq!(shown.keys().map(String::as_str).collect::<BTreeSet<_>>(), read);
    for key in shown.keys() {
        let explained = comments().any(|line| line.split(' ').next() == Some(key));
        assert!(explained, "{key} is not explained in deploy/neti.example.toml");
    }
}
