//! The files in deploy/ match the binary: every path, flag and key that they name is one that it knows.
#![allow(clippy::unwrap_used, reason = "clippy.toml exempts test functions, not their helpers")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use clap::{CommandFactory as _, Parser as _};
use neti_userspace::{
    cli::{self, Cli},
    config::{Attach, Config, Credentials, Layout, RegistryConfig, Servers, Tls},
    fleet::FleetSettings,
    loader::pins,
    status,
};
use yaml_rust2::{Yaml, YamlLoader};

const CONFIG: &str = "/etc/neti/neti.toml";
/// What neti keeps over a reboot is below it.
const STATE: &str = "/var/lib/neti";

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn deploy(file: &str) -> String {
    let path = top().join("deploy").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn parse(text: &str) -> Config {
    Config::parse("test", text, "hudson").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

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

/// Checks that a command line, without the program's name, is one that neti takes; gives its `--config`.
fn arguments(words: &[&str]) -> Option<PathBuf> {
    let line = ["neti"].into_iter().chain(words.iter().copied());
    let cli = Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    match cli.command {
        cli::Command::Run(run) => Some(run.config.config),
        _ => None,
    }
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
            allow: settings.allow.clone(),
            open: settings.open.clone(),
            ..least
        },
        "where there is a default it is shown"
    );
    let shown: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&shown).unwrap();
    // As they are read, so that a key which is added there must be shown here.
    let source = [
        include_str!("../src/fleet.rs"),
        include_str!("../src/fleet/allow.rs"),
        include_str!("../src/fleet/networks.rs"),
        include_str!("../src/fleet/ranges.rs"),
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

#[test]
fn the_unit_starts_the_binary() {
    let unit = deploy("systemd/neti.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let words: Vec<&str> = start.split(' ').collect();
    assert_eq!(words[0], "/usr/bin/neti");
    assert_eq!(arguments(&words[1..]), Some(CONFIG.into()));
    assert!(unit.contains(&format!("ReadWritePaths={}\n", pins::BPFFS)));
    assert!(
        unit.contains(&format!("StateDirectory={}\n", STATE.strip_prefix("/var/lib/").unwrap()))
    );
    assert!(
        unit.contains(&format!(
            "RuntimeDirectory={}\n",
            status::RUN.strip_prefix("/run/").unwrap()
        ))
    );
}

#[test]
fn systemd_takes_the_unit() {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("neti.service");
    let binary = env!("CARGO_BIN_EXE_neti");
    fs::write(&unit, deploy("systemd/neti.service").replace("/usr/bin/neti", binary)).unwrap();
    let Ok(output) = Command::new("systemd-analyze").arg("verify").arg(&unit).output() else {
        println!("skipped: systemd-analyze is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    // It also reports on the machine's other units.
    let about_us: Vec<&str> = said.lines().filter(|line| line.contains("neti")).collect();
    assert!(output.status.success() && about_us.is_empty(), "{said}");
}

/// The documents of the manifest, by kind.
fn manifest(kind: &str) -> Yaml {
    let documents = YamlLoader::load_from_str(&deploy("kubernetes/daemonset.yaml")).unwrap();
    let found = documents.into_iter().find(|document| document["kind"].as_str() == Some(kind));
    found.unwrap_or_else(|| panic!("no {kind}"))
}

fn words(list: &Yaml) -> Vec<&str> {
    list.as_vec().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

/// The member of a list that is called `name`.
fn named<'a>(list: &'a Yaml, name: &str) -> &'a Yaml {
    let found = list.as_vec().unwrap().iter().find(|item| item["name"].as_str() == Some(name));
    found.unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn the_daemonset_runs_the_binary_where_it_must() {
    let pod = &manifest("DaemonSet")["spec"]["template"]["spec"];
    let container = named(&pod["containers"], "neti");
    assert_eq!(arguments(&words(&container["args"])), Some(CONFIG.into()));
    let probe = words(&container["readinessProbe"]["exec"]["command"]);
    assert_eq!(probe[0], "neti");
    arguments(&probe[1..]);
    assert_eq!(pod["hostNetwork"].as_bool(), Some(true));
    assert_eq!(container["securityContext"]["privileged"].as_bool(), Some(true));

    let command = Cli::command();
    let run = command.find_subcommand("run").unwrap();
    for variable in container["env"].as_vec().unwrap() {
        let name = variable["name"].as_str().unwrap();
        let known =
            run.get_arguments().any(|argument| argument.get_env().is_some_and(|e| e == name));
        assert!(known, "neti run knows no variable {name}");
    }
}

#[test]
fn the_daemonset_mounts_what_neti_uses() {
    let map = manifest("ConfigMap");
    let config = parse(map["data"]["neti.toml"].as_str().unwrap());
    let RegistryConfig::Directory { path: registry, .. } = &config.registry else { panic!() };

    let pod = &manifest("DaemonSet")["spec"]["template"]["spec"];
    let container = named(&pod["containers"], "neti");
    let mount = |name: &str| {
        let path = named(&container["volumeMounts"], name)["mountPath"].as_str().unwrap();
        (PathBuf::from(path), named(&pod["volumes"], name))
    };
    let state = Path::new(STATE).join("state");
    for (name, wanted) in [
        ("bpf", Path::new(pins::BPFFS)),
        ("run", Path::new(status::RUN)),
        ("state", &state),
        ("registry", registry),
    ] {
        let (path, volume) = mount(name);
        assert_eq!(path, wanted, "{name}");
        assert_eq!(volume["hostPath"]["path"].as_str().map(Path::new), Some(wanted), "{name}");
    }
    let (path, volume) = mount("config");
    assert_eq!(Some(path.as_path()), Path::new(CONFIG).parent());
    assert_eq!(volume["configMap"]["name"], map["metadata"]["name"]);
}

#[test]
fn the_dockerfile_builds_this_binary() {
    let dockerfile = deploy("Dockerfile");
    let instruction = |name: &str| {
        let found = dockerfile.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {name}"))
    };
    let rust = format!("rust:{}-bookworm AS build", env!("CARGO_PKG_RUST_VERSION"));
    assert_eq!(instruction("FROM"), rust);
    assert!(dockerfile.contains("RUN cargo xtask build --release\n"));
    let copied: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY --from=build "))
        .flat_map(|line| line.split(' '))
        .filter_map(|path| path.strip_prefix("/src/"))
        .collect();
    assert_eq!(copied.first(), Some(&"target/release/neti"));
    for path in &copied[1..] {
        assert!(top().join(path).exists(), "{path}");
    }
    let list = |name: &str| -> Vec<String> { serde_json::from_str(instruction(name)).unwrap() };
    assert_eq!(list("ENTRYPOINT"), ["/usr/bin/neti"]);
    let command = list("CMD");
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    assert_eq!(arguments(&command), Some(CONFIG.into()));
}
