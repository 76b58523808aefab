use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn one_of_each_family_is_written_as_a_text_or_a_list() {
    for (addresses, json) in [
        (&[][..], "null"),
        (&["10.0.0.10"], r#""10.0.0.10""#),
        (&["fd00::10"], r#""fd00::10""#),
        (&["10.0.0.10", "fd00::10"], r#"["10.0.0.10","fd00::10"]"#),
    ] {
        let addresses = Addresses::collect(addresses.iter().map(|text| ip(text))).unwrap();
        assert_eq!(serde_json::to_string(&addresses).unwrap(), json);
        assert_eq!(serde_json::from_str::<Addresses>(json).unwrap(), addresses);
    }
}

#[test]
fn what_is_no_such_text_or_list_is_told() {
    for (json, error) in [
        ("7", "must be an address or a list of addresses"),
        (r#""10.0.0.256""#, "must be an address or a list of addresses"),
        (r#"["10.0.0.1", "10.0.0.2"]"#, "10.0.0.1 and 10.0.0.2 are both IPv4; must be at most one"),
        (r#"["fd00::1", "fd00::2"]"#, "fd00::1 and fd00::2 are both IPv6; must be at most one"),
    ] {
        let found = serde_json::from_str::<Addresses>(json).unwrap_err().to_string();
        assert!(found.starts_with(error), "{json}: {found}");
    }
}

#[test]
fn an_address_that_nobody_is_reached_by_says_why() {
    const RIGHT: &str = "must be an address that other hosts reach this one by";
    for (address, error) in [
        ("0.0.0.1", "is unspecified"),
        ("127.0.0.1", "is loopback"),
        ("169.254.1.1", "is link-local"),
        ("239.1.2.3", "is multicast"),
        ("255.255.255.255", "is reserved"),
        ("::", "is unspecified"),
        ("::1", "is loopback"),
        ("fe80::1", "is link-local"),
        ("febf::1", "is link-local"),
        ("ff02::1", "is multicast"),
    ] {
        assert_eq!(real(ip(address)).unwrap_err().to_string(), format!("{error}; {RIGHT}"));
    }
    assert_eq!(
        real(ip("::ffff:10.0.0.10")).unwrap_err().to_string(),
        "is IPv4 written as IPv6 (v4-mapped); write 10.0.0.10"
    );
    for good in ["10.0.0.10", "203.0.113.1", "fd00::1", "2001:db8::1", "fec0::1"] {
        assert_eq!(real(ip(good)), Ok(ip(good)));
    }
}

#[test]
fn ranges_that_are_ipv4_in_truth_are_known() {
    let unmapped = |text: &str| unmapped(&text.parse().unwrap()).map(|range| range.to_string());
    assert_eq!(unmapped("::ffff:10.0.0.0/104").unwrap(), "10.0.0.0/8");
    assert_eq!(unmapped("::ffff:10.0.0.1/128").unwrap(), "10.0.0.1/32");
    for other in ["10.0.0.0/8", "::/0", "::ffff:0:0/95", "fd00::/104"] {
        assert_eq!(unmapped(other), None, "{other}");
    }
}
