use neti_common::maps;

use super::*;

fn parse(text: &str) -> Result<FleetSettings, FleetError> {
    FleetSettings::parse("fleet", text.as_bytes())
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn reads_every_key() {
    let fleet = parse(
        r#"{
            "overlay": ["100.64.0.0/16", "fd00:6e74::/64", "100.100.0.0/30"], "mode": "enforce",
            "identity": "overlay",
            "allow": [
                {"from": "198.51.100.0/24", "protocol": "tcp", "ports": ["443", "8000-8010"]},
                {"from": ["2001:db8:1::/48", "2001:db8:2::/48"], "protocol": "icmpv6"}
            ],
            "open": ["tcp/80", "udp/6000-6010"], "failsafe": ["192.0.2.0/24", "2001:db8::/32"],
            "echo": true, "twin_ports": "50000-50999"
        }"#,
    )
    .unwrap();
    let ranges = ["100.64.0.0/16", "fd00:6e74::/64", "100.100.0.0/30"].map(net);
    assert_eq!(fleet.overlay, ranges);
    assert_eq!(fleet.range(IpFamily::V4), Some(ranges[0]));
    assert_eq!(fleet.range(IpFamily::V6), Some(ranges[1]));
    assert_eq!((fleet.mode, fleet.identity), (Mode::Enforce, Identity::Overlay));
    assert_eq!(fleet.allow[0].ports.len(), 2);
    let ports = PortRange { first: 6000, last: 6010 };
    assert_eq!(fleet.open[1], OpenPort { transport: Transport::Udp, ports });
    assert_eq!(fleet.allow[1].protocol, Some(58));
    assert_eq!(fleet.failsafe, [net("192.0.2.0/24"), net("2001:db8::/32")]);
    assert!(fleet.echo);
    assert_eq!(fleet.twin_ports, PortRange { first: 50_000, last: 50_999 });
    assert!(fleet.is_overlay("100.100.0.3".parse().unwrap()));
    assert!(!fleet.is_overlay("100.100.0.4".parse().unwrap()));
    assert!(fleet.is_overlay("fd00:6e74::ffff:0:3".parse().unwrap()));
    assert!(!fleet.is_overlay("fd00:6e74:0:1::3".parse().unwrap()));
}

#[test]
fn only_the_overlay_is_required() {
    let fleet = parse(r#"{"overlay": ["100.64.0.0/16"]}"#).unwrap();
    assert_eq!((fleet.mode, fleet.identity, fleet.echo), (Mode::Observe, Identity::Real, false));
    assert!(fleet.allow.is_empty() && fleet.open.is_empty());
    let private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10"];
    assert_eq!(fleet.failsafe, private.map(net));
    assert_eq!(fleet.range(IpFamily::V6), None);
    assert_eq!(fleet.twin_ports, PortRange { first: 61_000, last: 65_535 });
}

/// Each line: the settings, or what follows a good overlay range in them, and the error.
#[test]
fn errors_name_key_value_and_what_is_right() {
    let whole = [
        ("", "not a JSON object: EOF"),
        ("[]", "not a JSON object: invalid type"),
        ("{}", "overlay: missing; must be a list of ranges like"),
        (r#"{"overlay": []}"#, "overlay = []: must be a list of at least one range"),
        (
            r#"{"overlay": "100.64.0.0/16"}"#,
            "overlay = \"100.64.0.0/16\": must be a list, each element a range like",
        ),
        (
            r#"{"overlay": ["100.64.0.0/16", "100.64.9.0/24"]}"#,
            "overlay[1] = 100.64.9.0/24: must be apart from the other range 100.64.0.0/16",
        ),
        (
            r#"{"overlay": ["fd00::/48", "100.64.0.0/16", "fd00::/64"]}"#,
            "overlay[2] = fd00::/64: must be apart from the other range fd00::/48",
        ),
    ];
    const V4: &str = "must be an IPv4 range of /8 to /30";
    const V6: &str = "must be an IPv6 range of /32 to /112 inside fc00::/7 or 2000::/3";
    let overlays = [
        ("100.64.0.0", "must be a range like"),
        ("fd00::", "must be a range like"),
        ("100.64.0.1/16", "has host bits; write 100.64.0.0/16"),
        ("fd00::1/64", "has host bits; write fd00::/64"),
        ("::ffff:100.64.0.1/112", "is IPv4 written as IPv6 (v4-mapped); write 100.64.0.0/16"),
        ("100.64.0.0/31", &format!("is too small; {V4}")),
        ("100.0.0.0/7", &format!("is too large; {V4}")),
        ("127.0.0.0/16", &format!("is loopback; {V4}")),
        ("169.254.8.0/24", &format!("is link-local; {V4}")),
        ("169.0.0.0/8", &format!("contains 169.254.0.0/16, which is link-local; {V4}")),
        ("239.0.0.0/8", &format!("is multicast; {V4}")),
        ("240.0.0.0/8", &format!("is reserved; {V4}")),
        ("0.0.0.0/0", &format!("is too large; {V4}")),
        ("fd00::/113", &format!("is too small; {V6}")),
        ("fd00::/31", &format!("is too large; {V6}")),
        ("::/0", &format!("is too large; {V6}")),
        ("fe80::/64", &format!("is link-local; {V6}")),
        ("fe80::/10", &format!("is link-local; {V6}")),
        ("ff05::/32", &format!("is multicast; {V6}")),
        ("64:ff9b::/96", V6),
        ("4000::/32", V6),
    ];
    let rest = [
        (r#""mode": "strict""#, "mode = \"strict\": must be observe or enforce"),
        (r#""identity": 1"#, "identity = 1: must be real or overlay"),
        (r#""allow": [{}]"#, "allow[0].from: missing; must be a range like 10.0.0.0/8 or fd00::/8"),
        (r#""allow": [{"from": []}]"#, "allow[0].from: missing; must be a range"),
        (
            r#""allow": [{"from": "::ffff:10.0.0.0/104"}]"#,
            "allow[0].from = \"::ffff:10.0.0.0/104\": is IPv4 written as IPv6 (v4-mapped); write \
             10.0.0.0/8",
        ),
        (
            r#""allow": [{"from": ["10.0.0.0/8", "fd00::/9"]}]"#,
            "allow[0].from = 10.0.0.0/8, fd00::/9: 10.0.0.0/8 is IPv4, fd00::/9 is not; must be of \
             one family",
        ),
        (
            r#""allow": [{"from": ["fd00::/8", "fd00::1/8"]}]"#,
            "allow[0].from[1] = \"fd00::1/8\": has host bits; write fd00::/8",
        ),
        (
            r#""allow": [{"from": "10.0.0.0/8", "protocol": "icmpv6"}]"#,
            "allow[0].protocol = \"icmpv6\": is for IPv6 ranges; must be icmp for IPv4",
        ),
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
            "allow[0].protocol = 255: must be tcp, udp, icmp, icmpv6 or a number up to 254",
        ),
        (r#""open": ["80"]"#, "open[0] = \"80\": must be like tcp/80"),
        (r#""open": ["tcp/0"]"#, "open[0] = \"tcp/0\": must be like tcp/80"),
        (r#""open": ["tcp/65536"]"#, "open[0] = \"tcp/65536\": must be like tcp/80"),
        (
            r#""failsafe": ["10.0.0.1/8"]"#,
            "failsafe[0] = \"10.0.0.1/8\": has host bits; write 10.0.0.0/8",
        ),
        (
            r#""failsafe": ["::1"]"#,
            "failsafe[0] = \"::1\": must be a range like 10.0.0.0/8 or fd00::/8",
        ),
        (r#""echo": "on""#, "echo = \"on\": must be true or false"),
        (r#""twin_ports": "9000-8000""#, "twin_ports = \"9000-8000\": must be a range of ports"),
        (r#""overlays": []"#, "overlays = []: unknown key; known are overlay,"),
    ];
    let whole = whole.map(|(text, error)| (text.to_owned(), error.to_owned()));
    let overlays = overlays.map(|(range, error)| {
        (format!(r#"{{"overlay": ["{range}"]}}"#), format!("overlay[0] = \"{range}\": {error}"))
    });
    let rest = rest.map(|(text, error)| {
        (format!(r#"{{"overlay": ["100.64.0.0/16"], {text}}}"#), error.to_owned())
    });
    for (text, message) in whole.into_iter().chain(overlays).chain(rest) {
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("fleet: {message}")), "{text}: {error}");
    }
}

#[test]
fn each_family_has_room_for_its_ranges() {
    let parse = |key: &str, four: usize, six: usize| {
        let ranges = (1..=four).map(|n| format!("100.{n}.0.0/16"));
        let ranges = ranges.chain((1..=six).map(|n| format!("fd00:{n}::/64")));
        let mut settings = serde_json::json!({"overlay": ["10.0.0.0/8"]});
        settings[key] = ranges.collect();
        parse(&settings.to_string())
    };
    for (key, room) in [("overlay", maps::RANGES), ("failsafe", maps::FAILSAFES)] {
        assert!(parse(key, room, room).is_ok(), "{key}");
        for (four, six, family) in [(room + 1, 1, "IPv4"), (1, room + 1, "IPv6")] {
            assert_eq!(
                parse(key, four, six).unwrap_err().to_string(),
                format!(
                    "fleet: {key} = {} {family} ranges: must be at most {room} of each family",
                    room + 1
                )
            );
        }
    }
}
