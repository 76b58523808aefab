use super::*;

/// An uplink with `addresses`; one after which `!` stands does not last.
fn uplink(addresses: &[&str]) -> Uplink {
    let addresses = addresses.iter().map(|text| Address {
        address: text.trim_end_matches('!').parse().unwrap(),
        lasting: !text.ends_with('!'),
    });
    Uplink {
        name: "eth0".to_owned(),
        index: 2,
        mac: vec![2, 0, 0, 0, 0, 1],
        kind: None,
        addresses: addresses.collect(),
        gateways: Addresses::default(),
        other_next_hop: Vec::new(),
        vlans: Vec::new(),
        xdp: None,
    }
}

fn config(keys: &str) -> Config {
    let text = format!(
        "network = \"ec2\"\nuplink = \"eth0\"\n{keys}\n\
         registry = {{ kind = \"directory\", path = \"/r\" }}\n"
    );
    Config::parse("neti.toml", &text, "hudson").unwrap()
}

#[test]
fn sends_from_what_is_configured_or_else_the_first_address_that_lasts() {
    let check = |keys: &str, addresses: &[&str], expected: Result<&str, &str>| {
        let found = reals(&config(keys), &uplink(addresses)).map(list);
        let found = found.map_err(|error| error.to_string());
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(found, expected, "{keys} {addresses:?}");
    };
    let both = ["10.0.0.10", "10.0.0.11", "fd00:1::12!", "fd00:1::10", "fd00:1::11"];
    check("", &both, Ok("10.0.0.10, fd00:1::10"));
    check("", &["fd00:1::10"], Ok("fd00:1::10"));
    check("", &["169.254.7.7", "10.0.0.10"], Ok("10.0.0.10"));
    check("private = \"10.0.0.11\"", &both, Ok("10.0.0.11, fd00:1::10"));
    check("private = [\"10.0.0.11\", \"fd00:1::12\"]", &both, Ok("10.0.0.11, fd00:1::12"));
    check("public = \"fd00:1::11\"", &both, Ok("10.0.0.10, fd00:1::10, fd00:1::11"));
    check("public = \"fd00:1::10\"", &both, Ok("10.0.0.10, fd00:1::10"));
    check("public = \"203.0.113.10\"", &both, Ok("10.0.0.10, fd00:1::10"));
    check(
        "private = \"10.0.0.12\"",
        &["10.0.0.10", "fd00:1::10"],
        Err("private = 10.0.0.12: uplink eth0 does not have it; it has 10.0.0.10, fd00:1::10"),
    );
    check(
        "private = \"10.0.0.12\"",
        &[],
        Err("private = 10.0.0.12: uplink eth0 does not have it; it has none"),
    );
    check("", &["fd00:1::12!"], Err("uplink eth0: no global address; give it one"));
}

#[test]
fn has_an_overlay_address_where_a_real_one_carries_it() {
    let check = |ranges: &str, reals: &[&str], expected: Result<&str, &str>| {
        let fleet = FleetSettings::parse("fleet", format!("{{\"overlay\":{ranges}}}").as_bytes());
        let reals: Vec<IpAddr> = reals.iter().map(|real| real.parse().unwrap()).collect();
        let found = families(&uplink(&[]), &reals, &fleet.unwrap());
        let found = found.map(|(carried, missing)| format!("{}; {}", list(carried), list(missing)));
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{ranges} {reals:?}");
    };
    let (v4, v6) = ("[\"100.64.0.0/16\"]", "[\"fd64::/64\"]");
    let both = "[\"100.64.0.0/16\", \"fd64::/64\"]";
    check(v4, &["10.0.0.10"], Ok("IPv4; "));
    check(v4, &["10.0.0.10", "fd00:1::10"], Ok("IPv4; "));
    check(v6, &["10.0.0.10", "fd00:1::10"], Ok("IPv6; "));
    check(both, &["10.0.0.10", "fd00:1::10"], Ok("IPv4, IPv6; "));
    check(both, &["10.0.0.10"], Ok("IPv4; IPv6"));
    check(both, &["fd00:1::10"], Ok("IPv6; IPv4"));
    check(
        v4,
        &["fd00:1::10"],
        Err("uplink eth0: no global IPv4 address, and the fleet's overlay ranges are IPv4 alone \
             (100.64.0.0/16): an overlay address is carried by real addresses of its own family; \
             give the uplink an IPv4 address or the fleet an IPv6 range"),
    );
    check(
        v6,
        &["10.0.0.10"],
        Err("uplink eth0: no global IPv6 address, and the fleet's overlay ranges are IPv6 alone \
             (fd64::/64): an overlay address is carried by real addresses of its own family; give \
             the uplink an IPv6 address or the fleet an IPv4 range"),
    );
}

#[test]
fn announces_the_addresses_it_sends_from() {
    let reals = ["10.0.0.10", "203.0.113.10", "fd00:1::10"].map(|real| real.parse().unwrap());
    let overlays = vec!["100.64.3.7".parse().unwrap(), "fd64::7".parse().unwrap()];
    let config = config("public = \"203.0.113.10\"");
    let record =
        record(&config, &me(&config, &uplink(&[]), overlays.clone(), reals.to_vec(), Vec::new()));
    assert_eq!(record.overlays, overlays);
    assert_eq!(record.private.to_string(), "10.0.0.10, fd00:1::10");
    assert_eq!(record.public.to_string(), "203.0.113.10");
}

#[test]
fn a_network_that_the_fleet_does_not_list_is_named() {
    let check = |networks: &str| {
        let settings = format!(r#"{{"overlay": ["100.64.0.0/16"]{networks}}}"#);
        let fleet = FleetSettings::parse("fleet", settings.as_bytes()).unwrap();
        network(&config(""), &fleet).map_err(|error| error.to_string())
    };
    assert_eq!(check(""), Ok(()));
    assert_eq!(check(r#", "networks": {"dc": {}, "ec2": {}}"#), Ok(()));
    assert_eq!(
        check(r#", "networks": {"dc": {}, "vpc": {}}"#).unwrap_err(),
        "network \"ec2\" is not one of the fleet's settings, which list dc, vpc; correct `network` \
         in the configuration of host hudson, or add it to `networks` in the fleet's settings"
    );
}
