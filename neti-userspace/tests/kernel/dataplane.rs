//! Loading, attaching and routing on real interfaces: idempotent, nothing of others touched, nothing
//! of ours left.

use aya::{
    maps::{HashMap, MapData},
    programs::{SchedClassifier, TcAttachType},
};
use neti_common::maps::name;
use neti_userspace::{
    config::Attach,
    loader::{
        self,
        attach::{self, Means, Tc},
    },
    notrack,
    uplink::{self, overlay, routes},
};

use crate::support::{Instance, in_namespace, may_run, veth};

#[test]
fn a_restart_swaps_the_programs() {
    if !may_run("a_restart_swaps_the_programs") {
        return;
    }
    in_namespace(async |netlink| {
        let uplink = veth(&netlink).await;
        let Instance(pins) = &Instance::new();
        let mut before = Vec::new();
        for _ in 0..2 {
            attach::check_free(pins, &uplink).unwrap();
            let mut ebpf = loader::load(pins, false).await.unwrap();
            let means = attach::attach(&mut ebpf, pins, &uplink, Attach::Auto, Tc::Tcx).unwrap();
            assert_eq!(means, Means { xdp: false, tc: Tc::Tcx }, "auto on veth");
            drop(ebpf);
            let attached = programs();
            assert_eq!(attached.len(), 2, "one program per hook");
            assert_ne!(attached, before, "the programs are the ones just loaded");
            before = attached;
        }
        let Instance(other) = &Instance::new();
        let error = attach::check_free(other, &uplink).unwrap_err().to_string();
        assert!(
            error.contains(&format!("the programs of instance {}", pins.instance())),
            "{error}"
        );
        pins.remove().unwrap();
        assert!(programs().is_empty());
    });
}

#[test]
fn native_xdp_where_it_is_asked_for() {
    if !may_run("native_xdp_where_it_is_asked_for") {
        return;
    }
    in_namespace(async |netlink| {
        let uplink = veth(&netlink).await;
        let Instance(pins) = &Instance::new();
        let attach = async |uplink: &uplink::Uplink, pins, wanted| {
            let mut ebpf = loader::load(pins, false).await.unwrap();
            attach::attach(&mut ebpf, pins, uplink, wanted, Tc::Tcx).unwrap().xdp
        };
        assert!(attach(&uplink, pins, Attach::Xdp).await);
        let uplink = uplink::find(&netlink, "eth0").await.unwrap();
        let ours = uplink.xdp.expect("an XDP program is attached");
        assert!(attach(&uplink, pins, Attach::Xdp).await, "swapped");
        let uplink = uplink::find(&netlink, "eth0").await.unwrap();
        assert!(uplink.xdp.is_some() && uplink.xdp != Some(ours));

        let Instance(other) = &Instance::new();
        assert!(!attach(&uplink, other, Attach::Xdp).await, "somebody else's is not replaced");
        assert_eq!(uplink::find(&netlink, "eth0").await.unwrap().xdp, uplink.xdp);

        assert!(!attach(&uplink, pins, Attach::Tcx).await, "no more wanted");
        assert_eq!(uplink::find(&netlink, "eth0").await.unwrap().xdp, None);
    });
}

#[test]
fn clsact_where_there_is_no_tcx() {
    if !may_run("clsact_where_there_is_no_tcx") {
        return;
    }
    in_namespace(async |netlink| {
        let uplink = veth(&netlink).await;
        let Instance(pins) = &Instance::new();
        for _ in 0..2 {
            let mut ebpf = loader::load(pins, false).await.unwrap();
            attach::attach(&mut ebpf, pins, &uplink, Attach::Tcx, Tc::Clsact).unwrap();
            drop(ebpf);
            assert_eq!(filters(&netlink, &uplink).await, (1, 1));
        }
        for _ in 0..2 {
            attach::remove_clsact(&netlink, pins, uplink.index).await.unwrap();
            assert_eq!(filters(&netlink, &uplink).await, (0, 0));
        }
        aya::programs::tc::qdisc_add_clsact("eth0").expect("the qdisc is gone as well");
    });
}

#[test]
fn a_map_of_another_shape_is_refused() {
    if !may_run("a_map_of_another_shape_is_refused") {
        return;
    }
    let Instance(pins) = &Instance::new();
    drop(loader::make_maps(pins, false).unwrap());
    let path = pins.map(name::MEMBERS4);
    std::fs::remove_file(&path).unwrap();
    let other = HashMap::<MapData, u32, u64>::create(7, 0).unwrap();
    other.pin(&path).unwrap();
    let error = format!("{:#}", loader::make_maps(pins, false).unwrap_err());
    assert!(error.starts_with("map members4: "), "{error}");
    assert!(error.contains("value of 8 bytes, 7 entries, but must have"), "{error}");
    assert!(error.contains("neti down"), "{error}");
}

#[test]
fn routes_come_and_go() {
    if !may_run("routes_come_and_go") {
        return;
    }
    in_namespace(async |netlink| {
        let mut uplink = veth(&netlink).await;
        assert_eq!(uplink.other_next_hop, ["10.0.0.0/24".parse().unwrap()]);
        let (address, ranges) = ("100.64.3.7".parse().unwrap(), ["100.64.0.0/16".parse().unwrap()]);
        for gateway in [None, Some("10.0.0.1".parse().unwrap())] {
            uplink.gateway = gateway;
            let before = routes::list(&netlink).await.unwrap();
            for _ in 0..2 {
                overlay::install(&netlink, &uplink, address, &ranges).await.unwrap();
            }
            let added: Vec<_> =
                routes::list(&netlink).await.unwrap().into_iter().filter(|r| r.is_ours()).collect();
            assert_eq!(added.len(), 1, "{added:?}");
            assert_eq!(added[0].to, ranges[0]);
            assert_eq!(added[0].gateway, Some(gateway.unwrap_or(ranges[0].network())));
            uplink::overlap::check(&netlink, uplink.index, &ranges).await.unwrap();
            for _ in 0..2 {
                overlay::remove(&netlink, uplink.index, &[address], &ranges).await.unwrap();
            }
            assert_eq!(routes::list(&netlink).await.unwrap(), before);
            let addresses = uplink::all_addresses(&netlink).await.unwrap();
            let left = addresses.iter().filter_map(uplink::address_of);
            assert!(!left.into_iter().any(|left| left.addr() == address));
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
        for _ in 0..2 {
            notrack::install("test", &["100.64.0.0/16".parse().unwrap()]).unwrap();
            assert_eq!(tables().matches("notrack").count(), 2, "{}", tables());
        }
        for _ in 0..2 {
            notrack::remove("test").unwrap();
            assert_eq!(tables(), "");
        }
    });
}

/// Ids of the programs on `eth0`.
fn programs() -> Vec<u32> {
    [TcAttachType::Ingress, TcAttachType::Egress]
        .into_iter()
        .flat_map(|hook| SchedClassifier::query_tcx("eth0", hook).unwrap().1)
        .map(|program| program.id())
        .collect()
}

/// How many filters clsact has at ingress and at egress.
async fn filters(netlink: &rtnetlink::Handle, uplink: &uplink::Uplink) -> (usize, usize) {
    use futures_util::TryStreamExt;
    let index = uplink.index as i32;
    let ingress = netlink.traffic_filter(index).get().ingress().execute();
    let egress = netlink.traffic_filter(index).get().egress().execute();
    let count = |messages: Vec<rtnetlink::packet_route::tc::TcMessage>| {
        messages.iter().filter(|message| u32::from(message.header.handle) != 0).count()
    };
    let ingress = ingress.try_collect().await.unwrap_or_default();
    let egress = egress.try_collect().await.unwrap_or_default();
    (count(ingress), count(egress))
}
