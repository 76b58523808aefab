use super::*;

#[test]
fn a_private_address_that_is_routed_elsewhere_is_refused() {
    for family in IpFamily::ALL {
        let me =
            me().said(family).routed(&[("172.17.0.0/16", "docker0"), ("192.0.2.0/24", "eth1")]);
        let records = [
            record("a", "100.64.0.2", "ec2").private("172.17.0.5").public("203.0.113.5"),
            record("b", "100.64.0.3", "ec2").private("172.17.0.6"),
            record("c", "100.64.0.4", "ec2").private("172.18.0.6"),
            // Whose a public address is, is not this host's to say.
            record("d", "100.64.0.5", "ec2").private("192.0.2.7").public("192.0.2.7"),
            record("e", "100.64.0.6", "vpc").private("172.17.0.7").public("192.0.2.8"),
            // The address is refused, and not in the way of whoever else has it.
            record("f", "100.64.0.7", "ec2").private("192.0.2.9").since(1),
            record("g", "100.64.0.8", "vpc").public("192.0.2.9").since(2),
        ];
        let seen = found(&me, records.into_iter().map(|record| record.said(family)).collect());
        let expected = [
            ("a", "203.0.113.5"),
            ("c", "172.18.0.6"),
            ("d", "192.0.2.7"),
            ("e", "192.0.2.8"),
            ("g", "192.0.2.9"),
        ];
        let expected = expected.map(|(name, real)| (name.to_owned(), vec![said(family, real)]));
        let refused = |name: &str, address: &str, interface: &str| {
            let what = format!(
                "members/{name}: private address {address} is routed out of {interface} here, and \
                 not out of the uplink; refused"
            );
            said(family, &what)
        };
        let problems = vec![
            refused("a", "172.17.0.5", "docker0"),
            refused("b", "172.17.0.6", "docker0"),
            refused("f", "192.0.2.9", "eth1"),
        ];
        assert_eq!(seen, (expected.into(), problems), "{family}");
    }
}
