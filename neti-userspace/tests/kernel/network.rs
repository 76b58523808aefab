//! Addresses, routes and rules on real interfaces, in both families: idempotent, nothing of others
//! touched, nothing of ours left.

use std::net::{IpAddr, Ipv6Addr, UdpSocket};

use ipnet::IpNet;
use neti_userspace::{
    addresses::{Addresses, IpFamily},
    notrack,
    uplink::{self, overlap, overlay, routes},
};
use rtnetlink::{Handle, RouteMessageBuilder, packet_route::address::AddressHeaderFlags};

use crate::support::{add_address, in_namespace, may_run, veth};

const OVERLAYS: [&str; 2] = ["100.64.3.7", "fd64::7"];
const RANGES: [&str; 2] = ["100.64.0.0/16", "fd64::/64"];

#[test]
fn an_uplink_is_of_both_families() {
    if !may_run("an_uplink_is_of_both_families") {
        return;
    }
    in_namespace(async |netlink| {
        let index = veth(&netlink).await.index;
        let checked = AddressHeaderFlags::empty();
        add_address(&netlink, index, "fd00:1::11", 64, checked).await;
        let uplink = uplink::find(&netlink, "eth0").await.unwrap();
        let mut lasting: Vec<_> = uplink.addresses.iter().filter(|a| a.lasting).collect();
        lasting.sort_by_key(|address| address.address);
        assert_eq!(
            lasting.iter().map(|lasting| lasting.address).collect::<Vec<_>>(),
            parsed::<IpAddr>(&["10.0.0.10", "fd00:1::10", "fd00:1::11"]),
            "the kernel's check of the last one is waited for",
        );
        assert_eq!(uplink.gateways, Addresses::default());
        assert_eq!(uplink.other_next_hop, parsed::<IpNet>(&["0.0.0.0/0", "::/0"]));

        overlay::install(&netlink, &uplink, addresses(&OVERLAYS), &parsed(&RANGES)).await.unwrap();
        let lo = uplink::find(&netlink, "lo").await.unwrap();
        let overlay: IpAddr = OVERLAYS[1].parse().unwrap();
        let overlay = lo.addresses.iter().find(|address| address.address == overlay).unwrap();
        assert!(!overlay.lasting, "a deprecated address is not to be relied on");
    });
}

#[test]
fn routes_come_and_go() {
    if !may_run("routes_come_and_go") {
        return;
    }
    in_namespace(async |netlink| {
        let mut uplink = veth(&netlink).await;
        let (overlays, ranges) = (parsed::<IpAddr>(&OVERLAYS), parsed::<IpNet>(&RANGES));
        let (ours, routed) = (overlays.iter().copied().collect(), ranges.iter().copied().collect());
        for gateways in [&[] as &[&str], &["10.0.0.1", "fe80::1"], &["fe80::1"]] {
            uplink.gateways = addresses(gateways);
            let before = routes::list(&netlink).await.unwrap();
            for _ in 0..2 {
                overlay::install(&netlink, &uplink, addresses(&OVERLAYS), &ranges).await.unwrap();
                let mut added = routes::list(&netlink).await.unwrap();
                added.retain(|route| !before.contains(route));
                assert_eq!(added.len(), 2, "one per family: {added:?}");
                for (route, range) in added.iter().zip(&ranges) {
                    assert!(route.is_ours());
                    assert_eq!(route.to, *range);
                    let gateway = uplink.gateways.of(IpFamily::of_range(range));
                    assert_eq!(route.gateway, gateway.or(Some(range.network())));
                }
                // As when a daemon starts over a dataplane that has stayed.
                overlap::check(&netlink, uplink.index, &ranges).await.unwrap();
            }
            for _ in 0..2 {
                overlay::remove(&netlink, uplink.index, &ours, &routed).await.unwrap();
                assert_eq!(routes::list(&netlink).await.unwrap(), before);
                assert!(on_lo(&netlink, &overlays).await.is_empty());
            }
        }
    });
}

#[test]
fn only_families_with_an_overlay_address_are_routed() {
    if !may_run("only_families_with_an_overlay_address_are_routed") {
        return;
    }
    in_namespace(async |netlink| {
        let uplink = veth(&netlink).await;
        let ranges = parsed::<IpNet>(&RANGES);
        for (overlay, range) in parsed::<IpAddr>(&OVERLAYS).into_iter().zip(&ranges) {
            let overlays = Addresses::collect([overlay]).unwrap();
            overlay::install(&netlink, &uplink, overlays, &ranges).await.unwrap();
            let mut ours = routes::list(&netlink).await.unwrap();
            ours.retain(|route| route.is_ours());
            assert_eq!(ours.iter().map(|route| route.to).collect::<Vec<_>>(), [*range]);
            overlay::remove(&netlink, uplink.index, &[overlay].into(), &[*range].into())
                .await
                .unwrap();
        }
    });
}

#[test]
fn an_overlay_address_is_never_chosen_by_itself() {
    if !may_run("an_overlay_address_is_never_chosen_by_itself") {
        return;
    }
    in_namespace(async |netlink| {
        let uplink = veth(&netlink).await;
        overlay::install(&netlink, &uplink, addresses(&OVERLAYS), &parsed(&RANGES)).await.unwrap();
        let source = |to: &str| {
            let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect(to).unwrap();
            socket.local_addr().unwrap().ip().to_string()
        };
        assert_eq!(source("100.64.9.9:9"), OVERLAYS[0]);
        assert_eq!(source("[fd64::9]:9"), OVERLAYS[1]);
        assert_eq!(source("10.0.0.20:9"), "10.0.0.10");
        assert_eq!(source("[fd00:1::20]:9"), "fd00:1::10");

        // A host whose own address is on lo as well: by the longest common prefix (RFC 6724, rule 8)
        // it would be the overlay address.
        let lo = uplink::index_of(&netlink, "lo").await.unwrap();
        add_address(&netlink, lo, "fd00:2::10", 128, AddressHeaderFlags::Nodad).await;
        let route = RouteMessageBuilder::<Ipv6Addr>::new().output_interface(lo).build();
        netlink.route().add(route).execute().await.unwrap();
        assert_eq!(source("[fd64:0:0:1::9]:9"), "fd00:2::10");
    });
}

#[test]
fn ranges_in_use_are_refused() {
    if !may_run("ranges_in_use_are_refused") {
        return;
    }
    in_namespace(async |netlink| {
        let uplink = veth(&netlink).await;
        for (range, problem) in [
            ("10.0.0.0/16", "overlay range 10.0.0.0/16: overlaps the route to 10.0.0.0/24"),
            ("fd00:1::/48", "overlay range fd00:1::/48: overlaps the route to fd00:1::/64"),
        ] {
            let ranges = parsed::<IpNet>(&[range]);
            let error = overlap::check(&netlink, uplink.index, &ranges).await.unwrap_err();
            assert!(error.to_string().starts_with(problem), "{error}");
        }
    });
}

#[test]
fn notrack_comes_and_goes() {
    if !may_run("notrack_comes_and_goes") || !notrack::available() {
        println!("skipped: notrack_comes_and_goes needs nft");
        return;
    }
    in_namespace(async |_| {
        let tables = || {
            let output = std::process::Command::new("nft").args(["list", "ruleset"]).output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        for (ranges, rules) in [(&RANGES[..1], 2), (&RANGES[1..], 2), (&RANGES[..], 4)] {
            notrack::install("test", &parsed(ranges)).unwrap();
            assert_eq!(tables().matches("notrack").count(), rules, "{}", tables());
        }
        for _ in 0..2 {
            notrack::remove("test").unwrap();
            assert_eq!(tables(), "");
        }
    });
}

/// The addresses on `lo` that are among `wanted`.
async fn on_lo(netlink: &Handle, wanted: &[IpAddr]) -> Vec<IpAddr> {
    let lo = uplink::find(netlink, "lo").await.unwrap();
    let addresses = lo.addresses.iter().map(|address| address.address);
    addresses.filter(|address| wanted.contains(address)).collect()
}

fn addresses(texts: &[&str]) -> Addresses {
    Addresses::collect(parsed(texts)).unwrap()
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Debug>>(texts: &[&str]) -> Vec<T> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}
