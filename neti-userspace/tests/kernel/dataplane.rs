//! Loading and attaching on real interfaces: idempotent, nothing of others touched, nothing of ours
//! left.

use aya::{
    maps::{HashMap, MapData},
    programs::{SchedClassifier, TcAttachType},
};
use neti_common::family::{Family, V4};
use neti_userspace::{
    config::Attach,
    loader::{
        self, Options,
        attach::{self, Means, Tc},
    },
    uplink,
};

use crate::support::{Instance, in_namespace, may_run, veth};

const ALL: Options = Options { trace: false, xdp: true };

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
            let mut ebpf = loader::load(pins, ALL).await.unwrap();
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
            let mut ebpf = loader::load(pins, ALL).await.unwrap();
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
            let mut ebpf = loader::load(pins, ALL).await.unwrap();
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
    let path = pins.map(V4::MAPS.members);
    std::fs::remove_file(&path).unwrap();
    let other = HashMap::<MapData, u32, u64>::create(7, 0).unwrap();
    other.pin(&path).unwrap();
    let error = format!("{:#}", loader::make_maps(pins, false).unwrap_err());
    assert!(error.starts_with("map members4: "), "{error}");
    assert!(error.contains("value of 8 bytes, 7 entries, flags 0x0, but must have"), "{error}");
    assert!(error.contains("neti down"), "{error}");
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
