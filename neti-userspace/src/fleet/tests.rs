use super::*;

fn parse(text: &str) -> Result<FleetSettings, FleetError> {
    FleetSettings::parse("fleet", text.as_bytes())
}

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

#[test]
fn reads_every_key() {
    let fleet = parse(
        r#"{
            "overlay": ["100.64.0.0/16", "100.100.0.0/30"], "mode": "enforce",
            "identity": "overlay",
            "allow": [
                {"from": "198.51.100.0/24", "protocol": "tcp", "ports": ["443", "8000-8010"]}
            ],
            "open": ["tcp/80", "udp/6000-6010"], "failsafe": ["192.0.2.0/24"], "echo": true,
            "twin_ports": "50000-50999"
        }"#,
    )
    .unwrap();
    assert_eq!(fleet.overlay, [net("100.64.0.0/16"), net("100.100.0.0/30")]);
    assert_eq!((fleet.mode, fleet.identity), (Mode::Enforce, Identity::Overlay));
    assert_eq!(fleet.allow[&net("198.51.100.0/24")].count, 2);
    let ports = PortRange { first: 6000, last: 6010 };
    assert_eq!(fleet.open[1], OpenPort { transport: Transport::Udp, ports });
    assert_eq!(fleet.failsafe, [net("192.0.2.0/24")]);
    assert!(fleet.echo);
    assert_eq!(fleet.twin_ports, PortRange { first: 50_000, last: 50_999 });
    assert!(fleet.is_overlay("100.100.0.3".parse().unwrap()));
    assert!(!fleet.is_overlay("100.100.0.4".parse().unwrap()));
}

#[test]
fn only_the_overlay_is_required() {
    let fleet = parse(r#"{"overlay": ["100.64.0.0/16"]}"#).unwrap();
    assert_eq!((fleet.mode, fleet.identity, fleet.echo), (Mode::Observe, Identity::Real, false));
    assert!(fleet.allow.is_empty() && fleet.open.is_empty());
    assert_eq!(fleet.failsafe, [net("10.0.0.0/8"), net("172.16.0.0/12"), net("192.168.0.0/16")]);
    assert_eq!(fleet.twin_ports, PortRange { first: 61_000, last: 65_535 });
}

/// Each line: the settings, or what follows a good overlay range in them, and the error.
#[test]
fn errors_name_key_value_and_what_is_right() {
    let whole = [
        ("", "not a JSON object: EOF"),
        ("[]", "not a JSON object: invalid type"),
        ("{}", "overlay: missing; must be a list of ranges like"),
        (r#"{"overlay": []}"#, "overlay = []: must be a list of 1 to 4 ranges"),
        (
            r#"{"overlay": "100.64.0.0/16"}"#,
            "overlay = \"100.64.0.0/16\": must be a list, each element an IPv4 range",
        ),
    ];
    let overlays = [
        (r#""fd00::/64""#, "[0] = \"fd00::/64\": must be an IPv4 range; IPv6 is not supported yet"),
        (r#""100.64.0.1/16""#, "[0] = \"100.64.0.1/16\": must be a range without host bits"),
        (r#""100.64.0.0""#, "[0] = \"100.64.0.0\": must be an IPv4 range of /8 to /30"),
        (r#""100.64.0.0/31""#, "[0] = \"100.64.0.0/31\": must be an IPv4 range of /8 to /30"),
        (r#""0.0.0.0/0""#, "[0] = \"0.0.0.0/0\": must be an IPv4 range of /8 to /30"),
        (r#""127.0.0.0/16""#, "[0] = \"127.0.0.0/16\": must be outside the loopback, link-local"),
        (r#""169.254.8.0/24""#, "[0] = \"169.254.8.0/24\": must be outside the loopback"),
        (r#""239.0.0.0/8""#, "[0] = \"239.0.0.0/8\": must be outside the loopback"),
        (r#""240.0.0.0/8""#, "[0] = \"240.0.0.0/8\": must be outside the loopback"),
        (
            r#""100.64.0.0/16", "100.64.9.0/24""#,
            "[1] = \"100.64.9.0/24\": must be apart from the other range 100.64.0.0/16",
        ),
    ];
    let rest = [
        (r#""mode": "strict""#, "mode = \"strict\": must be observe or enforce"),
        (r#""identity": 1"#, "identity = 1: must be real or overlay"),
        (r#""allow": [{}]"#, "allow[0].from: missing; must be an IPv4 range"),
        (r#""allow": [{"from": "::/0"}]"#, "allow[0].from = \"::/0\": must be an IPv4 range"),
        (r#""allow": [{"from": "10.0.0.0/8", "port": 1}]"#, "allow[0].port = 1: unknown key"),
        (
            r#""allow": [{"from": "10.0.0.0/8", "ports": ["80"]}]"#,
            "allow[0].ports = 80-80: must be given with protocol tcp or udp only",
        ),
        (
            r#""allow": [{"from": "10.0.0.0/8", "protocol": "tcp", "ports": ["80", "9-8"]}]"#,
            "allow[0].ports[1] = \"9-8\": must be a port or a range",
        ),
        (
            r#""allow": [{"from": "10.0.0.0/8", "protocol": 255}]"#,
            "allow[0].protocol = 255: must be tcp, udp, icmp or a number up to 254",
        ),
        (r#""open": ["80"]"#, "open[0] = \"80\": must be like tcp/80"),
        (r#""open": ["tcp/0"]"#, "open[0] = \"tcp/0\": must be like tcp/80"),
        (r#""open": ["tcp/65536"]"#, "open[0] = \"tcp/65536\": must be like tcp/80"),
        (r#""failsafe": ["10.0.0.1/8"]"#, "failsafe[0] = \"10.0.0.1/8\": must be an IPv4 range"),
        (r#""echo": "on""#, "echo = \"on\": must be true or false"),
        (r#""twin_ports": "9000-8000""#, "twin_ports = \"9000-8000\": must be a range of ports"),
        (r#""overlays": []"#, "overlays = []: unknown key; known are overlay, mode,"),
    ];
    let whole = whole.map(|(text, error)| (text.to_owned(), error.to_owned()));
    let overlays = overlays
        .map(|(text, error)| (format!(r#"{{"overlay": [{text}]}}"#), format!("overlay{error}")));
    let rest = rest.map(|(text, error)| {
        (format!(r#"{{"overlay": ["100.64.0.0/16"], {text}}}"#), error.to_owned())
    });
    for (text, message) in whole.into_iter().chain(overlays).chain(rest) {
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("fleet: {message}")), "{text}: {error}");
    }
}

#[test]
fn too_many_failsafe_ranges_are_refused() {
    let ranges = ["\"10.0.0.0/8\""; maps::FAILSAFES + 1].join(",");
    let text = format!(r#"{{"overlay": ["100.64.0.0/16"], "failsafe": [{ranges}]}}"#);
    let error = parse(&text).unwrap_err().to_string();
    assert_eq!(error, "fleet: failsafe = 9 ranges: must be a list of at most 8 ranges");
}
