use super::*;

const FULL: &str = r#"
instance = "blue"
host = "hudson"
network = "ec2"
uplink = "eth0"
private = ["10.0.0.10", "2001:db8::10"]
public = "203.0.113.10"
role = "web"
labels = { rack = "b12" }
attach = "xdp"
notrack = true
[registry]
kind = "directory"
path = "/var/lib/neti/registry"
ttl = 0.5
"#;

const LEAST: &str = r#"
network = "ec2"
uplink = "eth0"
registry = { kind = "directory", path = "/r" }
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse("neti.toml", text, "hudson.example")
}

fn addresses(texts: &[&str]) -> Addresses {
    Addresses::collect(texts.iter().map(|text| text.parse().unwrap())).unwrap()
}

#[test]
fn reads_every_key() {
    assert_eq!(
        parse(FULL).unwrap(),
        Config {
            instance: "blue".to_owned(),
            host: "hudson".parse().unwrap(),
            network: "ec2".to_owned(),
            uplink: "eth0".to_owned(),
            private: addresses(&["10.0.0.10", "2001:db8::10"]),
            public: addresses(&["203.0.113.10"]),
            role: "web".to_owned(),
            labels: [("rack".to_owned(), "b12".to_owned())].into(),
            attach: Attach::Xdp,
            notrack: true,
            registry: RegistryConfig::Directory {
                path: "/var/lib/neti/registry".into(),
                ttl: Duration::from_millis(500),
            },
        }
    );
}

#[test]
fn has_defaults() {
    let config = parse(LEAST).unwrap();
    assert_eq!(config.instance, "default");
    assert_eq!(config.host.as_str(), "hudson.example");
    assert_eq!((config.private, config.public), (addresses(&[]), addresses(&[])));
    assert_eq!((config.role.as_str(), config.labels.len()), ("", 0));
    assert_eq!((config.attach, config.notrack), (Attach::Auto, false));
    let RegistryConfig::Directory { ttl, .. } = config.registry;
    assert_eq!(ttl, Duration::from_secs(30));
}

/// Each line: what stands in the full configuration, what is put in its place, and the error.
#[test]
fn errors_name_file_key_value_and_what_is_right() {
    let cases = [
        ("network = \"ec2\"", "", "network: missing; must be the name of the host's network"),
        ("uplink = \"eth0\"", "", "uplink: missing; must be the name of an interface, like eth0"),
        (
            "instance = \"blue\"",
            "instance = \"Blue\"",
            "instance = \"Blue\": must be 1 to 32 of a-z",
        ),
        ("host = \"hudson\"", "host = \"a b\"", "host = \"a b\": must be 1 to 64 of A-Z a-z"),
        ("host = \"hudson\"", "host = \"../x\"", "host = \"../x\": must be"),
        ("uplink = \"eth0\"", "uplink = \"a/b\"", "uplink = \"a/b\": must be the name of an"),
        ("uplink = \"eth0\"", "uplink = 7", "uplink = 7: must be the name of an interface"),
        ("uplink = \"eth0\"", "uplnk = \"eth0\"", "uplink: missing"),
        ("10.0.0.10", "10.0.0.256", "private[0] = \"10.0.0.256\": must be a host's address like"),
        ("10.0.0.10", "127.0.0.1", "private[0] = \"127.0.0.1\": is loopback; must be an address"),
        ("2001:db8::10", "fe80::1", "private[1] = \"fe80::1\": is link-local; must be an address"),
        (
            "2001:db8::10",
            "10.1.1.1",
            "private = 10.0.0.10, 10.1.1.1: 10.0.0.10 and 10.1.1.1 are both",
        ),
        ("203.0.113.10", "ff0e::1", "public = \"ff0e::1\": is multicast; must be an address"),
        (
            "203.0.113.10",
            "::ffff:203.0.113.10",
            "public = \"::ffff:203.0.113.10\": is IPv4 written as IPv6 (v4-mapped); write \
             203.0.113.10",
        ),
        ("\"203.0.113.10\"", "[7]", "public[0] = 7: must be a host's address like"),
        (
            "b12\"",
            "b12\", row = 3",
            "labels = {\"rack\":\"b12\",\"row\":3}: must be a table of texts",
        ),
        ("\"xdp\"", "\"fast\"", "attach = \"fast\": must be auto, xdp or tcx"),
        ("true", "\"yes\"", "notrack = \"yes\": must be true or false"),
        ("\nnotrack", "\nnotrak", "notrak = true: unknown key; known are instance, host,"),
        ("[registry]", "[regstry]", "registry: missing; must be a table with kind and path"),
        ("\"directory\"", "\"etcd\"", "registry.kind = \"etcd\": must be directory"),
        ("\"/var", "\"var", "registry.path = \"var/lib/neti/registry\": must be an absolute path"),
        ("ttl = 0.5", "ttl = 0.1", "registry.ttl = 0.1: must be 0.5 to 86400 seconds"),
        ("ttl = 0.5", "ttl = nan", "registry.ttl = null: must be 0.5 to 86400 seconds"),
        ("ttl =", "tll =", "registry.tll = 0.5: unknown key; known are kind, path, ttl"),
        ("notrack = true", "notrack = ", "line 11: "),
    ];
    for (from, to, message) in cases {
        assert!(FULL.contains(from), "{from}");
        let error = parse(&FULL.replace(from, to)).unwrap_err().to_string();
        assert!(error.starts_with(&format!("neti.toml: {message}")), "{from} -> {to}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_hostname_that_is_no_id_is_the_hosts_key_at_fault() {
    let error = Config::parse("neti.toml", LEAST, "my host").unwrap_err().to_string();
    assert!(error.starts_with("neti.toml: host = \"my host\": must be 1 to 64"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load(Path::new("/nowhere/neti.toml")).unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/neti.toml: cannot be read: No such file"), "{error}");
}
