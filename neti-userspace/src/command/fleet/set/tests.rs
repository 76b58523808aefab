use crate::{
    cli::FleetSet,
    command::fleet::sample::{Sample, config, printed, registry},
    membership::sample::{id, record},
};

use super::{here::Here, run};

const SETTINGS: &str = r#"{ "overlay": ["100.64.0.0/16"], "mode": "observe" }"#;

fn args(changes: &[&str]) -> FleetSet {
    FleetSet {
        config: config(),
        file: None,
        changes: changes.iter().map(ToString::to_string).collect(),
        dry_run: false,
        force: false,
    }
}

async fn set(registry: &Sample, args: &FleetSet) -> Result<String, String> {
    let here =
        Here { host: id("hudson"), network: "ec2".to_owned(), endpoints: Vec::new(), ssh: None };
    let done = printed(async |out| run(out, &registry.open(), &here, args).await).await;
    done.map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn writes_and_tells_what_changed() {
    let registry = registry(SETTINGS);
    let said = set(&registry, &args(&["mode=enforce", "max_removals=50"])).await;
    let told = "mode: \"observe\" -> \"enforce\"\nmax_removals: not set -> 50\n";
    assert_eq!(said.unwrap(), told);
    let text = "{\n  \"overlay\": [\n    \"100.64.0.0/16\"\n  ],\n  \"mode\": \"enforce\",\n  \
                \"max_removals\": 50\n}\n";
    assert_eq!(registry.read("fleet"), text);
    let again = set(&registry, &args(&["mode=enforce"])).await;
    assert_eq!(again.unwrap(), "nothing changed\n");
}

#[tokio::test]
async fn a_file_replaces_all_as_it_is_written() {
    let registry = registry(SETTINGS);
    let text = "{\"echo\": true,\n \"overlay\": [\"100.64.0.0/16\"]}";
    registry.write("new", text);
    let file = FleetSet { file: Some(registry.path("new")), ..args(&[]) };
    let said = set(&registry, &file).await.unwrap();
    assert_eq!(said, "echo: not set -> true\nmode: \"observe\" -> not set\n");
    assert_eq!(registry.read("fleet"), text);
    registry.write("new", "{\"overlay\": []}");
    let error = set(&registry, &file).await.unwrap_err();
    let name = registry.path("new").display().to_string();
    assert_eq!(error, format!("{name}:1: overlay = []: must be a list of at least one range"));
    assert_eq!(registry.read("fleet"), text);
}

#[tokio::test]
async fn nothing_is_written_where_something_is_wrong_or_only_tried() {
    let registry = registry(SETTINGS);
    for (changes, error) in [
        (&["mode=strict"][..], "fleet settings: mode = \"strict\": must be observe or enforce"),
        (&["mode=enforce", "overlay="], "fleet settings: overlay: missing; must be a list of"),
        (&["open=tcp/80"], "fleet settings: open = \"tcp/80\": must be a list, each element"),
        (&["moed=enforce"], "fleet settings: moed = \"enforce\": unknown key; known are"),
    ] {
        let found = set(&registry, &args(changes)).await.unwrap_err();
        assert!(found.starts_with(error), "{found}");
    }
    let dry = FleetSet { dry_run: true, ..args(&["mode=enforce"]) };
    let said = set(&registry, &dry).await.unwrap();
    assert_eq!(said, "mode: \"observe\" -> \"enforce\"\nnot written (--dry-run)\n");
    assert_eq!(registry.read("fleet"), SETTINGS);
}

#[tokio::test]
async fn the_first_settings_are_written_too() {
    let registry = registry(SETTINGS);
    for path in ["members", "overlays", "hosts", "hosts6"] {
        std::fs::remove_dir(registry.path(path)).unwrap();
    }
    std::fs::remove_file(registry.path("fleet")).unwrap();
    let said = set(&registry, &args(&["overlay=[\"100.64.0.0/16\"]"])).await;
    assert_eq!(said.unwrap(), "overlay: not set -> [\"100.64.0.0/16\"]\n");
}

#[tokio::test]
async fn broken_settings_are_replaced_as_a_whole_only() {
    let registry = registry("{ \"overlay\": ");
    let error = set(&registry, &args(&["mode=enforce"])).await.unwrap_err();
    assert!(error.starts_with("fleet settings: not a JSON object: EOF while"), "{error}");
    assert!(error.ends_with("replace them with `neti fleet set --file`"), "{error}");
    registry.write("new", SETTINGS);
    let file = FleetSet { file: Some(registry.path("new")), ..args(&[]) };
    let said = set(&registry, &file).await.unwrap();
    assert!(said.starts_with("the settings that stood there could not be read; all"), "{said}");
    assert_eq!(registry.read("fleet"), SETTINGS);
}

#[tokio::test]
async fn addresses_are_taken_from_hosts_by_force_alone() {
    let registry = registry(r#"{"overlay": ["100.64.0.0/16", "100.65.0.0/16"]}"#);
    // An address that was in no range before is nobody's loss.
    registry.claimed("stray", "10.0.0.1");
    let change = || args(&["overlay=[\"100.65.0.0/16\"]"]);
    let dry = FleetSet { dry_run: true, ..change() };
    assert!(set(&registry, &dry).await.is_ok());
    for host in 1..=5 {
        registry.claimed(&format!("host-{host}"), &format!("100.64.0.{host}"));
    }
    let error = "fleet settings: overlay = 100.65.0.0/16: would no longer contain 5 addresses that \
                 hosts have: 100.64.0.1 (host-1), 100.64.0.2 (host-2), 100.64.0.3 (host-3), ...; \
                 keep their range, `neti fleet release` hosts that are no more, or take the \
                 addresses away with --force";
    assert_eq!(set(&registry, &change()).await.unwrap_err(), error);
    assert_eq!(set(&registry, &dry).await.unwrap_err(), error);
    let force = FleetSet { force: true, ..change() };
    assert!(set(&registry, &force).await.is_ok());
    assert!(registry.read("fleet").contains("100.65"));
}

#[tokio::test]
async fn networks_are_left_out_by_force_alone() {
    let registry = registry(SETTINGS);
    registry.member(&record("hudson", "100.64.0.1", "ec2").private("10.0.0.10"));
    registry.member(&record("walden", "100.64.0.2", "vpc").private("10.0.0.10"));
    let change = || args(&["networks={\"ec2\": {}}"]);
    let error = set(&registry, &change()).await.unwrap_err();
    assert_eq!(
        error,
        "fleet settings: networks: would leave out 1 member: walden (vpc); list vpc, or leave them \
         out with --force"
    );
    assert!(set(&registry, &args(&["networks={\"ec2\": {}, \"vpc\": {}}"])).await.is_ok());
    assert_eq!(set(&registry, &change()).await.unwrap_err(), error);
    let force = FleetSet { force: true, ..change() };
    assert!(set(&registry, &force).await.is_ok());
    // What is left out already is no loss.
    assert!(set(&registry, &args(&["networks={\"ec2\": {}, \"dc\": {}}"])).await.is_ok());
}

#[tokio::test]
async fn rules_about_members_are_set_like_any_key() {
    let registry = registry(SETTINGS);
    let rules = "member_rules=[\"from role web to role db tcp/5432\"]";
    let said = set(&registry, &args(&[rules])).await.unwrap();
    assert_eq!(said, "member_rules: not set -> [\"from role web to role db tcp/5432\"]\n");
    let said =
        set(&registry, &args(&["roles={\"db\": {\"mode\": \"enforce\"}, \"web\": {}}"])).await;
    assert_eq!(said.unwrap(), "roles: not set -> {\"db\":{\"mode\":\"enforce\"},\"web\":{}}\n");
    let error = set(&registry, &args(&["roles={\"db\": {}}"])).await.unwrap_err();
    assert_eq!(
        error,
        "fleet settings: member_rules[0] = \"from role web to role db tcp/5432\": role web must be \
         one that `roles` lists: db"
    );
    let said = set(&registry, &args(&["member_rules=", "roles="])).await.unwrap();
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[tokio::test]
async fn members_are_cut_off_by_force_alone() {
    let registry = registry(SETTINGS);
    for (name, last) in [("hudson", 1), ("walden", 2)] {
        let record = record(name, &format!("100.64.0.{last}"), "ec2");
        registry.member(&record.private(&format!("10.0.0.{last}")));
    }
    let change = || args(&["mode=enforce", "member_rules=[\"from role web to host walden\"]"]);
    let error = set(&registry, &change()).await.unwrap_err();
    let cut = "member_rules: would cut off from all other members 1 host: walden; add rules whose \
               `from` are members, or cut off with --force";
    assert_eq!(error, format!("fleet settings: {cut}"));
    // Each on a line of its own.
    let both = FleetSet {
        changes: [change().changes, vec!["failsafe=[]".to_owned()]].concat(),
        ..change()
    };
    let error = set(&registry, &both).await.unwrap_err();
    let lines: Vec<_> = error.lines().collect();
    assert!(lines[0].starts_with("fleet settings: failsafe = []: would cut off ssh"), "{error}");
    assert_eq!(lines[1..], [format!("fleet settings: {cut}")]);
    assert_eq!(registry.read("fleet"), SETTINGS);

    let force = FleetSet { force: true, ..change() };
    assert!(set(&registry, &force).await.is_ok());
    // What is cut off already is no reason to refuse another change.
    assert!(set(&registry, &args(&["max_removals=50"])).await.is_ok());
    let error = set(&registry, &args(&["failsafe=[]"])).await.unwrap_err();
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[tokio::test]
async fn who_enforces_besides_is_another_cut_and_who_does_no_more_is_none() {
    let registry = registry(SETTINGS);
    let force = |changes| FleetSet { force: true, ..args(changes) };
    let cut = force(&["failsafe=[]", "hosts.a.mode=enforce", "mode=enforce"]);
    assert!(set(&registry, &cut).await.is_ok());
    assert!(set(&registry, &args(&["mode=observe"])).await.is_ok());
    let error = set(&registry, &args(&["hosts.b.mode=enforce"])).await.unwrap_err();
    assert!(error.starts_with("fleet settings: failsafe = []: would cut off ssh"), "{error}");
    assert!(set(&registry, &args(&["hosts.a.mode="])).await.is_ok());
}

#[tokio::test]
async fn other_hosts_that_are_cut_off_are_other_cuts() {
    let registry = registry(SETTINGS);
    for last in 1..=6 {
        let record = record(&format!("host-{last}"), &format!("100.64.0.{last}"), "ec2");
        registry.member(&record.private(&format!("10.0.0.{last}")));
    }
    let to = |hosts: [u8; 4]| {
        let rules = hosts.map(|host| format!("\"from role web to host host-{host}\""));
        args(&["mode=enforce", &format!("member_rules=[{}]", rules.join(", "))])
    };
    let force = FleetSet { force: true, ..to([1, 2, 3, 4]) };
    assert!(set(&registry, &force).await.is_ok());
    // Three of four are named.
    let error = set(&registry, &to([1, 2, 3, 5])).await.unwrap_err();
    assert!(error.contains("4 hosts: host-1, host-2, host-3, ..."), "{error}");
}

#[tokio::test]
async fn who_mends_settings_that_nobody_can_read_does_not_enforce_at_once() {
    let twice = r#"{"overlay": ["100.64.0.0/16"], "mode": "observe", "mode": "enforce"}"#;
    let registry = registry(twice);
    let file = |text: &str| {
        registry.write("new", text);
        FleetSet { file: Some(registry.path("new")), ..args(&[]) }
    };
    let enforce = SETTINGS.replace("observe", "enforce");
    let error = set(&registry, &file(&enforce)).await.unwrap_err();
    assert!(error.contains("mode: the settings that stand there cannot be read"), "{error}");
    assert_eq!(registry.read("fleet"), twice);
    assert!(set(&registry, &file(SETTINGS)).await.is_ok());
    assert_eq!(registry.read("fleet"), SETTINGS);
    let change = args(&["roles={\"db\": {\"mode\": \"enforce\"}, \"db\": {}}"]);
    let error = set(&registry, &change).await.unwrap_err();
    assert!(error.starts_with("roles = {") && error.contains("db"), "{error}");
}

#[tokio::test]
async fn overrides_take_addresses_from_hosts_by_force_alone() {
    let registry = registry(SETTINGS);
    registry.member(&record("hudson", "100.64.0.1", "ec2").private("10.0.0.10"));
    registry.claimed("hudson", "100.64.0.1");
    for (overrides, lost) in [
        (r#"{"100.64.0.1": "203.0.113.7"}"#, Some("100.64.0.1 (hudson)")),
        (r#"{"100.64.9.9": "10.0.0.10"}"#, Some("10.0.0.10 (hudson)")),
        (r#"{"100.64.9.9": "203.0.113.7"}"#, None),
    ] {
        let change = || args(&[&format!("nat_overrides={overrides}")]);
        let Some(lost) = lost else {
            assert!(set(&registry, &change()).await.is_ok());
            continue;
        };
        let error = set(&registry, &change()).await.unwrap_err();
        let text =
            format!("nat_overrides: would take 1 address that a host has: {lost}; use other");
        assert!(error.contains(&text), "{error}");
        let force = FleetSet { force: true, ..change() };
        assert!(set(&registry, &force).await.is_ok());
        // What was taken already is no loss.
        assert!(set(&registry, &args(&["echo=true"])).await.is_ok());
        assert!(set(&registry, &args(&["nat_overrides=", "echo="])).await.is_ok());
    }
}
