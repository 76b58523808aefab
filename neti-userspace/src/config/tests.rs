use std::time::Duration;

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
    let ttl = Duration::from_secs(30);
    assert_eq!(config.registry, RegistryConfig::Directory { path: "/r".into(), ttl });
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
        ("[registry]", "[regstry]", "registry: missing; must be a table with kind, and path or"),
        ("\"directory\"", "\"consul\"", "registry.kind = \"consul\": must be directory, etcd or"),
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

fn registry(text: &str) -> Result<RegistryConfig, ConfigError> {
    let text = format!("network = \"ec2\"\nuplink = \"eth0\"\n[registry]\n{text}");
    parse(&text).map(|config| config.registry)
}

#[test]
fn servers_have_defaults() {
    let least = registry("kind = \"etcd\"\nendpoints = [\"http://10.0.0.5:2379\"]").unwrap();
    let servers = Servers {
        endpoints: vec!["http://10.0.0.5:2379".to_owned()],
        prefix: "/neti".to_owned(),
        ttl: Duration::from_secs(30),
        tls: None,
        credentials: None,
    };
    assert_eq!(least, RegistryConfig::Etcd(servers.clone()));
    let least = registry("kind = \"zookeeper\"\nendpoints = [\"[fd00::5]:2181\"]").unwrap();
    let servers = Servers { endpoints: vec!["[fd00::5]:2181".to_owned()], ..servers };
    assert_eq!(least, RegistryConfig::ZooKeeper { servers, layout: Layout::Neti });
}

const SERVERS: &str = r#"kind = "etcd"
endpoints = { ec2 = ["https://etcd-1:2379", "https://etcd-2:2379"], vpc = ["https://10.1.0.5:2379"] }
prefix = "/fleets/blue/"
ttl = 10
ca = "/etc/neti/ca.pem"
cert = "/etc/neti/host.pem"
key = "/etc/neti/host.key"
user = "hudson"
password_file = "/etc/neti/password"
"#;

#[test]
fn a_host_uses_the_servers_of_its_own_network() {
    let RegistryConfig::Etcd(servers) = registry(SERVERS).unwrap() else { panic!() };
    assert_eq!(servers.endpoints, ["https://etcd-1:2379", "https://etcd-2:2379"]);
    assert_eq!(servers.prefix, "/fleets/blue");
    let tls = servers.tls.unwrap();
    assert_eq!(tls.ca, Path::new("/etc/neti/ca.pem"));
    assert_eq!(tls.identity, Some(("/etc/neti/host.pem".into(), "/etc/neti/host.key".into())));
    assert_eq!(servers.credentials.unwrap().user, "hudson");
}

/// Each line: what stands in the full table, what is put in its place, and the error.
#[test]
fn what_is_wrong_with_servers_is_told() {
    let cases = [
        ("ec2 = [", "ec1 = [", "must have a list for this host's network \"ec2\"; it has those of"),
        ("https://etcd-1:2379", "etcd-1:2379", "ec2: \"etcd-1:2379\" must be a server like http"),
        ("https://etcd-1:2379", "https://etcd-1", "ec2: \"https://etcd-1\" must be a server like"),
        ("https://etcd-1:2379", "https://:1", "ec2: \"https://:1\" must be a server like"),
        ("https://etcd-1:2379", "http://etcd-1:2379", "must be all http or all https"),
        ("[\"https://10.1.0.5:2379\"]", "[]", "vpc: must be a list, each element a server like"),
        ("\"/fleets", "\"fleets", "registry.prefix = \"fleets/blue/\": must be a path like /neti"),
        ("ca =", "#", "registry.ca: missing; must be the certificates that sign the servers'"),
        ("cert =", "#", "registry.cert: missing; must be the certificate of key, a PEM file"),
        ("key =", "#", "registry.key: missing; must be the private key of cert, a PEM file"),
        ("user =", "#", "registry.user: missing; must be whose password password_file holds"),
        ("password_file =", "#", "registry.password_file: missing; must be a file that holds"),
        ("\"/etc/neti/ca", "\"ca", "registry.ca = \"ca.pem\": must be an absolute path"),
        ("ttl =", "layout =", "registry.layout = 10: unknown key"),
        (
            "https",
            "http",
            "registry.ca = /etc/neti/ca.pem: is for TLS; the endpoints must be https",
        ),
    ];
    for (from, to, message) in cases {
        assert!(SERVERS.contains(from), "{from}");
        let error = registry(&SERVERS.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(message), "{from} -> {to}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn a_role_in_the_original_netis_tree_is_told() {
    let text = |layout: &str, role: &str| {
        let registry = format!(
            "kind = \"zookeeper\"\nlayout = \"{layout}\"\nendpoints = [\"10.0.0.5:2181\"]\n"
        );
        format!("network = \"ec2\"\nuplink = \"eth0\"\n{role}[registry]\n{registry}")
    };
    let role = "role = \"web\"\n";
    assert!(parse(&text("classic", "")).is_ok());
    assert!(parse(&text("neti", role)).is_ok());
    let error = parse(&text("classic", role)).unwrap_err().to_string();
    assert!(error.contains("role = \"web\": must be left out with layout classic"), "{error}");
}
