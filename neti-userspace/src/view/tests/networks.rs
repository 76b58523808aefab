//! What the networks of the fleet settings make of the view.

use super::*;
use crate::fleet::FleetSettings;

/// What [`found`] has where the fleet's settings list networks: `ec2` and `dc` are peered, `dc` and
/// `vpc` are, `ec2` and `vpc` are not.
fn found_in_networks(
    me: &Me,
    records: Vec<MemberRecord>,
) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let settings = br#"{"overlay": ["100.64.0.0/16"], "networks":
        {"ec2": {}, "vpc": {}, "dc": {"peered": ["ec2", "vpc"]}}}"#;
    let fleet = FleetSettings::parse("fleet", settings).unwrap();
    let view = view(me, &Membership { fleet: fleet.into(), ..membership(records) });
    let peers = view.peers.iter().map(|(id, peer)| (id.to_string(), texts(&peer.reals)));
    (peers.collect(), told(&view))
}

fn peers(peers: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
    let peer = |(id, reals): &(&str, &[&str])| {
        (id.to_string(), reals.iter().map(ToString::to_string).collect())
    };
    peers.iter().map(peer).collect()
}

#[test]
fn peered_networks_see_each_others_private_addresses() {
    // Two networks that are not peered use one private range.
    let records = || {
        vec![
            record("sierra", "100.64.0.2", "ec2").private("10.0.0.11").public("203.0.113.11"),
            record("walden", "100.64.0.3", "vpc").private("10.0.0.11").public("203.0.113.12"),
            record("dacha", "100.64.0.4", "dc").private("10.9.0.11").public("203.0.113.13"),
        ]
    };
    let (sierra, walden) = (("sierra", &["203.0.113.11"][..]), ("walden", &["203.0.113.12"][..]));
    let whole = ("sierra", &["10.0.0.11", "203.0.113.11"][..]);
    let dacha = ("dacha", &["10.9.0.11", "203.0.113.13"][..]);
    for (network, seen, told) in [
        ("ec2", [dacha, whole, walden], &[][..]),
        ("vpc", [dacha, sierra, ("walden", &["10.0.0.11", "203.0.113.12"])], &[]),
        // Who is peered with both can tell the two apart by their public addresses alone.
        (
            "dc",
            [dacha, whole, walden],
            &["members/walden: real address 10.0.0.11 belongs to sierra; refused"],
        ),
    ] {
        let me = Me { network: network.to_owned(), ..me() };
        let expected = (peers(&seen), told.iter().map(ToString::to_string).collect());
        assert_eq!(found_in_networks(&me, records()), expected, "from {network}");
    }
}

#[test]
fn a_member_of_a_network_that_is_not_listed_is_left_out_and_holds_nothing() {
    let records = vec![
        record("early", "100.64.0.2", "ec3").private("10.0.0.11").public("203.0.113.11").since(1),
        record("late", "100.64.0.2", "ec2").private("10.0.0.11").public("203.0.113.11").since(2),
    ];
    let told = "members/early: network \"ec3\" is not one of the fleet's settings, which list dc, \
                ec2, vpc; left out";
    assert_eq!(
        found_in_networks(&me(), records),
        (peers(&[("late", &["10.0.0.11", "203.0.113.11"])]), vec![told.to_owned()])
    );
}
