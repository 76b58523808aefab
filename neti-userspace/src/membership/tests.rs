use super::*;

const RECORD: &str = r#"{"id": "hudson", "overlays": ["100.64.3.7"], "private": "10.0.0.10",
    "public": null, "network": "ec2", "role": "", "labels": {"rack": "b12"}, "version": "0.1.0",
    "generation": 1, "state": "up"}"#;

#[test]
fn reads_a_record_and_writes_it_again() {
    let record = MemberRecord::parse("hudson", RECORD.as_bytes()).unwrap();
    assert_eq!(record.overlays, [Ipv4Addr::new(100, 64, 3, 7)]);
    assert_eq!(record.real_addresses(), ("ec2", Some(Ipv4Addr::new(10, 0, 0, 10)), None));
    let bytes = serde_json::to_vec(&record).unwrap();
    assert_eq!(MemberRecord::parse("hudson", &bytes).unwrap(), record);
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
        ("\"100.64.3.7\"", "", "overlays: 0 addresses; must be 1 to 8"),
        ("\"100.64.3.7\"", "\"100.64.3.7\", \"100.64.3.7\"", "overlays: 100.64.3.7 is there twice"),
        ("\"100.64.3.7\"", "\"fd00::7\"", "not a member record: "),
        ("\"10.0.0.10\"", "\"224.0.0.1\"", "private = 224.0.0.1: must be a host's address"),
        ("\"10.0.0.10\"", "\"0.0.0.0\"", "private = 0.0.0.0: must be a host's address"),
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
