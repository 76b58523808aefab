use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

const UPLINK: u32 = 2;

fn names() -> BTreeMap<u32, String> {
    let names = [(UPLINK, "eth0"), (3, "docker0"), (4, "eth1")];
    names.map(|(index, name)| (index, name.to_owned())).into()
}

fn hop(to: &str, interface: u32, metric: u32) -> Hop {
    Hop { to: to.parse().unwrap(), metric, interface }
}

fn path(routes: &[Hop]) -> ReversePath {
    ReversePath::new(routes.to_vec(), UPLINK, &names())
}

/// Each line: an address, and the interface that it is routed out of if that is not the uplink.
fn check(routes: &[Hop], expected: &[(&str, Option<&str>)]) {
    let path = path(routes);
    for (address, elsewhere) in expected {
        assert_eq!(path.elsewhere(address.parse().unwrap()), *elsewhere, "{address}");
    }
}

#[test]
fn the_longest_prefix_decides() {
    let routes = [
        hop("0.0.0.0/0", UPLINK, 0),
        hop("10.0.0.0/24", UPLINK, 0),
        hop("172.17.0.0/16", 3, 0),
        hop("172.17.255.0/24", UPLINK, 0),
        hop("172.17.255.255/32", 4, 0),
        hop("::/0", 4, 1024),
        hop("fd00:1::/64", UPLINK, 256),
        hop("ffff:ffff:ffff:ffff::/64", 3, 256),
    ];
    check(
        &routes,
        &[
            ("0.0.0.0", None),
            ("10.0.0.7", None),
            ("172.16.255.255", None),
            ("172.17.0.0", Some("docker0")),
            ("172.17.254.255", Some("docker0")),
            ("172.17.255.0", None),
            ("172.17.255.255", Some("eth1")),
            ("172.18.0.0", None),
            ("255.255.255.255", None),
            ("::", Some("eth1")),
            ("fd00:1::7", None),
            ("fd00:1:0:1::", Some("eth1")),
            ("ffff:ffff:ffff:ffff::7", Some("docker0")),
        ],
    );
}

#[test]
fn nothing_leads_elsewhere_where_nothing_leads_anywhere() {
    check(&[], &[("10.0.0.7", None), ("fd00::7", None)]);
    // A discarded prefix, and an interface that nothing can come by, as `lo`.
    let routes = [hop("0.0.0.0/0", 4, 0), hop("10.0.0.0/8", 0, 0), hop("192.168.0.0/16", 1, 0)];
    check(&routes, &[("10.0.0.7", None), ("192.168.0.7", None), ("11.0.0.0", Some("eth1"))]);
}

#[test]
fn the_lowest_metric_decides_and_of_several_hops_the_uplink() {
    let routes = [hop("10.0.0.0/8", 3, 100), hop("10.0.0.0/8", UPLINK, 200)];
    check(&routes, &[("10.0.0.7", Some("docker0"))]);
    let routes = [hop("10.0.0.0/8", 3, 100), hop("10.0.0.0/8", UPLINK, 100)];
    check(&routes, &[("10.0.0.7", None)]);
    let routes = [hop("10.0.0.0/8", 4, 100), hop("10.0.0.0/8", 3, 100)];
    check(&routes, &[("10.0.0.7", Some("docker0"))]);
}

#[test]
fn a_large_table_out_of_the_uplink_is_nothing_to_keep() {
    let routes = (0..100_000_u32).map(|number| Hop {
        to: IpNet::new_assert(Ipv4Addr::from_bits(number << 12).into(), 20),
        metric: 0,
        interface: UPLINK,
    });
    let bridge = hop("172.17.0.0/16", 3, 0);
    assert_eq!(path(&routes.chain([bridge]).collect::<Vec<_>>()), path(&[bridge]));
}

/// Few bits, at both ends of a family, so that prefixes nest and touch.
fn address() -> impl Strategy<Value = IpAddr> {
    (any::<bool>(), any::<bool>(), 0u8..16).prop_map(|(four, high, bits)| {
        let v4 = if high { u32::MAX - u32::from(bits) } else { u32::from(bits) };
        let v6 = if high { u128::MAX - u128::from(bits) } else { u128::from(bits) };
        if four { Ipv4Addr::from_bits(v4).into() } else { Ipv6Addr::from_bits(v6).into() }
    })
}

fn hops() -> impl Strategy<Value = Vec<Hop>> {
    let length = prop_oneof![0u8..5, Just(0)];
    let hop =
        (address(), length, 0u32..2, 0u32..5).prop_map(|(address, short, metric, interface)| {
            let whole = IpNet::from(address).prefix_len();
            let length = if short == 4 { 0 } else { whole - short };
            Hop { to: IpNet::new_assert(address, length).trunc(), metric, interface }
        });
    prop::collection::vec(hop, 0..10)
}

/// What the kernel does, route by route.
fn looked_up(routes: &[Hop], address: IpAddr) -> Option<String> {
    let around = routes.iter().filter(|hop| hop.to.contains(&address));
    let length = around.clone().map(|hop| hop.to.prefix_len()).max()?;
    let longest = around.filter(|hop| hop.to.prefix_len() == length);
    let metric = longest.clone().map(|hop| hop.metric).min()?;
    let mut best = longest.filter(|hop| hop.metric == metric);
    match best.clone().any(|hop| hop.interface == UPLINK) {
        true => None,
        false => {
            let first = best.by_ref().map(|hop| hop.interface).min()?;
            names().remove(&first)
        }
    }
}

proptest! {
    #[test]
    fn says_what_looking_through_all_routes_does(routes in hops(), asked in address()) {
        let path = path(&routes);
        let expected = looked_up(&routes, asked);
        prop_assert_eq!(path.elsewhere(asked), expected.as_deref());
    }

    #[test]
    fn is_equal_where_it_says_the_same(one in hops(), other in hops()) {
        let ends = |bits: u8| {
            let (low, high) = (u32::from(bits), u32::MAX - u32::from(bits));
            let v4 = [low, high].map(|bits| IpAddr::V4(bits.into()));
            let (low, high) = (u128::from(bits), u128::MAX - u128::from(bits));
            v4.into_iter().chain([low, high].map(|bits| IpAddr::V6(bits.into())))
        };
        // Prefixes are this short, or of no length.
        let all = (0..=16).flat_map(ends).collect::<Vec<_>>();
        let same = all.iter().all(|asked| looked_up(&one, *asked) == looked_up(&other, *asked));
        prop_assert_eq!(path(&one) == path(&other), same);
        prop_assert_eq!(path(&one), path(&one.iter().rev().copied().collect::<Vec<_>>()));
    }
}
