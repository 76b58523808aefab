use super::*;

const RECORD: &str = r#"{"id": "hudson", "overlays": ["100.64.3.7"], "private": "10.0.0.10",
    "public": null, "network": "ec2", "role": "", "labels": {"rack": "b12"}, "version": "0.1.0",
    "generation": 1, "state": "up"}"#;

#[test]
fn what_is_said_of_ipv4_is_said_of_ipv6() {
    let text = "members/a: by IPv4, 100.64.0.2 (10.0.0.0/8); overlays/10.0.0.1: \"0.0.0.1/32\"";
    assert_eq!(sample::said(IpFamily::V4, text), text);
    assert_eq!(
        sample::said(IpFamily::V6, text),
        "members/a: by IPv6, fd00::6440:2 (fd00::a00:0/104); overlays/fd00::a00:1: \"fd00::1/128\""
    );
}

#[test]
fn reads_a_record_and_writes_it_again() {
    let record = MemberRecord::parse("hudson", RECORD.as_bytes()).unwrap();
    assert_eq!(record.overlays, [sample::ip("100.64.3.7")]);
    let private = Addresses::collect([sample::ip("10.0.0.10")]).unwrap();
    assert_eq!(record.real_addresses(), ("ec2", private, Addresses::default()));
    let bytes = serde_json::to_vec(&record).unwrap();
    assert_eq!(MemberRecord::parse("hudson", &bytes).unwrap(), record);
}

#[test]
fn a_record_of_both_families_is_written_and_read() {
    let record = sample::record("h", "100.64.3.7,fd00::7", "ec2")
        .private("10.0.0.10")
        .private("2001:db8::10")
        .public("2001:db8::10");
    let text = serde_json::to_string(&record).unwrap();
    for part in [
        r#""overlays":["100.64.3.7","fd00::7"]"#,
        r#""private":["10.0.0.10","2001:db8::10"]"#,
        r#""public":"2001:db8::10""#,
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(MemberRecord::parse("h", text.as_bytes()).unwrap(), record);
}

#[test]
fn each_family_has_room_for_its_overlay_addresses() {
    let record = |four: usize, six: usize| {
        let overlays = (1..=four).map(|n| format!("100.64.0.{n}"));
        let overlays: Vec<_> = overlays.chain((1..=six).map(|n| format!("fd00::{n}"))).collect();
        let record = sample::record("h", &overlays.join(","), "ec2").private("10.0.0.10");
        MemberRecord::parse("h", &serde_json::to_vec(&record).unwrap())
    };
    assert_eq!(record(OVERLAYS, OVERLAYS).unwrap().overlays.len(), 2 * OVERLAYS);
    for (four, six, family) in [(OVERLAYS + 1, 0, "IPv4"), (1, OVERLAYS + 1, "IPv6")] {
        assert_eq!(
            record(four, six).unwrap_err().to_string(),
            format!("overlays: 9 {family} addresses; must be at most 8 of each family")
        );
    }
}

#[test]
fn what_another_version_adds_or_leaves_out_is_no_error() {
    let text = r#"{"id": "h", "overlays": ["100.64.0.1"], "public": "203.0.113.1", "network": "n",
        "colour": "blue"}"#;
    let record = MemberRecord::parse("h", text.as_bytes()).unwrap();
    assert_eq!((record.generation, record.since, record.state), (1, u64::MAX, MemberState::Up));
}

/// Each line: what stands in the record, what is put in its place, and the error.
#[test]
fn a_broken_record_says_why() {
    let cases = [
        (RECORD, "", "not a member record: EOF while parsing"),
        ("\"hudson\"", "\"sierra\"", "id = \"sierra\": must be \"hudson\", the name of its key"),
        ("\"hudson\"", "\"a/b\"", "not a member record: \"a/b\" is no host id"),
        ("\"100.64.3.7\"", "", "overlays: no address; must be at least one"),
        ("\"100.64.3.7\"", "\"100.64.3.7\", \"100.64.3.7\"", "overlays: 100.64.3.7 is there twice"),
        ("\"100.64.3.7\"", "\"fd00:7\"", "not a member record: invalid IP address"),
        ("\"100.64.3.7\"", "\"ff02::7\"", "overlays: ff02::7 is multicast; must be an address"),
        ("\"10.0.0.10\"", "\"224.0.0.1\"", "private: 224.0.0.1 is multicast; must be an address"),
        ("\"10.0.0.10\"", "\"0.0.0.0\"", "private: 0.0.0.0 is unspecified; must be an address"),
        (
            "\"10.0.0.10\"",
            "[\"10.0.0.10\", \"fe80::1\"]",
            "private: fe80::1 is link-local; must be",
        ),
        ("null", "\"::ffff:192.0.2.1\"", "public: ::ffff:192.0.2.1 is IPv4 written as IPv6"),
        (
            "\"10.0.0.10\"",
            "[\"10.0.0.10\", \"10.0.0.11\"]",
            "not a member record: 10.0.0.10 and 10.0.0.11 are both IPv4; must be at most one",
        ),
        ("\"10.0.0.10\"", "null", "private, public: both missing; one must be there"),
        ("\"ec2\"", "\"\"", "network = \"\": must be a name of 1 to 64"),
        ("\"role\": \"\"", "\"role\": \"a b\"", "role = \"a b\": must be empty or a name"),
        ("\"up\"", "\"sideways\"", "not a member record: unknown variant `sideways`"),
    ];
    for (from, to, message) in cases {
        assert!(RECORD.contains(from), "{from}");
        let text = RECORD.replace(from, to);
        let error = MemberRecord::parse("hudson", text.as_bytes()).unwrap_err().to_string();
        assert!(error.starts_with(message), "{from} -> {to}: {error}");
    }
}

#[test]
fn an_id_can_be_a_file_name() {
    for good in ["a", "host-1.example", "A_b", &"x".repeat(64)] {
        assert!(good.parse::<HostId>().is_ok(), "{good}");
    }
    for bad in ["", ".", "..", ".hidden", "a/b", "a b", "ä", &"x".repeat(65)] {
        assert!(bad.parse::<HostId>().is_err(), "{bad}");
    }
}
