//! The files in deploy/ match the binary: every path, flag and key that they name is one that it knows.
#![allow(clippy::unwrap_used, reason = "clippy.toml exempts test functions, not their helpers")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use clap::{CommandFactory as _, Parser as _};
use neti_userspace::{
    cli::{self, Cli},
    config::{Config, RegistryConfig},
    loader::pins,
    saved, status,
};
use yaml_rust2::{Yaml, YamlLoader};

mod docs;
mod example;

const CONFIG: &str = "/etc/neti/neti.toml";

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
fn the_unit_starts_the_binary() {
    let unit = deploy("systemd/neti.service");
    let start = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let words: Vec<&str> = start.split(' ').collect();
    assert_eq!(words[0], "/usr/bin/neti");
    assert_eq!(arguments(&words[1..]), Some(CONFIG.into()));
    assert!(unit.contains(&format!("ReadWritePaths={}\n", pins::BPFFS)));
    // The state file is below it.
    let state = Path::new(saved::DIRECTORY).parent().unwrap().strip_prefix("/var/lib").unwrap();
    assert!(unit.contains(&format!("StateDirectory={}\n", state.display())));
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
    let state = Path::new(saved::DIRECTORY);
    for (name, wanted) in [
        ("bpf", Path::new(pins::BPFFS)),
        ("run", Path::new(status::RUN)),
        ("state", state),
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
