//! The guard on interfaces that come and go, are renamed and moved.

mod stage;

use std::fs;

use neti_userspace::{
    config::Attach,
    interfaces::Interfaces,
    loader::{
        self, Options,
        attach::{self, Tc},
        program,
    },
    membership::Problem,
    netlink::notifications::Notifications,
    uplink,
};
use rtnetlink::{LinkBridge, LinkUnspec, MulticastGroup};
use tokio::sync::watch;

use self::stage::{
    add_veth, following, guard, guards, ids, inside, is_guarded, move_to, namespace, programs,
};
use crate::support::{Instance, eventually, in_namespace, ip_batch, may_run, veth};

#[test]
fn the_guard_follows_what_comes_and_goes() {
    if !may_run("the_guard_follows_what_comes_and_goes") {
        return;
    }
    in_namespace(async |netlink| {
        let uplink = veth(&netlink).await;
        netlink.link().add(LinkBridge::new("br0").build()).execute().await.unwrap();
        let Instance(pins) = &Instance::new();
        let interfaces = Interfaces::guard(guard(pins, Tc::Tcx), uplink.index).await.unwrap();
        assert_eq!(interfaces.problems(), []);
        assert!(is_guarded("peer") && is_guarded("br0"), "what is down too");
        assert!(programs("eth0").is_empty() && programs("lo").is_empty());
        following(interfaces, async |_| {
            add_veth(&netlink, "hot", "plugged").await;
            eventually("what is plugged in is guarded", || {
                is_guarded("hot") && is_guarded("plugged")
            })
            .await;

            // As a container's end of a veth, which goes from here to where it belongs.
            let container = namespace();
            let index = move_to(&netlink, "plugged", &container).await;
            eventually("the guard does not go with an interface", || {
                inside(&container, || programs("plugged")).is_empty()
            })
            .await;
            assert!(!pins.guards().unwrap().contains(&index));

            let index = uplink::index_of(&netlink, "hot").await.unwrap();
            let renamed = LinkUnspec::new_with_index(index).name("cold".to_owned());
            netlink.link().set(renamed.build()).execute().await.unwrap();
            assert!(is_guarded("cold"));
            netlink.link().del(index).execute().await.unwrap();
            eventually("the pin goes with its interface", || {
                !pins.guards().unwrap().contains(&index)
            })
            .await;
        })
        .await;
    });
}

#[test]
fn a_start_finds_what_happened_meanwhile() {
    if !may_run("a_start_finds_what_happened_meanwhile") {
        return;
    }
    in_namespace(async |netlink| {
        let uplink = veth(&netlink).await;
        for (one, other) in [("stays", "other"), ("moves", "along"), ("goes", "too")] {
            add_veth(&netlink, one, other).await;
        }
        let Instance(pins) = &Instance::new();
        drop(Interfaces::guard(guard(pins, Tc::Tcx), uplink.index).await.unwrap());
        let before = ids("stays");
        let container = namespace();
        let moved = move_to(&netlink, "moves", &container).await;
        assert_eq!(inside(&container, || programs("moves")), [program::GUARD], "it went along");
        // Another interface has its index by now.
        let mut newcomer = LinkBridge::new("newcomer").build();
        newcomer.header.index = moved;
        netlink.link().add(newcomer).execute().await.unwrap();
        let gone = uplink::index_of(&netlink, "goes").await.unwrap();
        netlink.link().del(gone).execute().await.unwrap();
        // What was an interface like any other is the uplink now.
        let uplink = uplink::index_of(&netlink, "along").await.unwrap();
        assert!(is_guarded("along"));
        attach::take_off(pins, Tc::Tcx, uplink).unwrap();

        drop(Interfaces::guard(guard(pins, Tc::Tcx), uplink).await.unwrap());
        assert!(is_guarded("stays") && ids("stays") != before, "swapped");
        assert!(is_guarded("newcomer"));
        assert!(is_guarded("eth0"), "it is the uplink no more");
        assert!(programs("along").is_empty());
        assert!(inside(&container, || programs("moves")).is_empty());
        assert!(!pins.guards().unwrap().contains(&gone));
        pins.remove().unwrap();
        for name in ["stays", "other", "newcomer", "peer", "eth0"] {
            assert!(programs(name).is_empty(), "{name}");
        }
    });
}

#[test]
fn more_changes_than_the_kernel_tells_of_are_found_all_the_same() {
    if !may_run("more_changes_than_the_kernel_tells_of_are_found_all_the_same") {
        return;
    }
    in_namespace(async |netlink| {
        let uplink = veth(&netlink).await;
        add_veth(&netlink, "goes", "too").await;
        let gone = uplink::index_of(&netlink, "goes").await.unwrap();
        let Instance(pins) = &Instance::new();
        let interfaces = Interfaces::guard(guard(pins, Tc::Tcx), uplink.index).await.unwrap();
        let mut told = Notifications::subscribe(&[MulticastGroup::Link]).unwrap();
        let mut lines = "link del goes\n".to_owned();
        lines += &"link set peer alias a\nlink set peer alias b\n".repeat(500);
        lines += "link add hot type veth peer name plugged\n";
        // Nobody reads meanwhile, for they would on this thread.
        ip_batch(&lines);
        told.arrive().await.unwrap();
        assert!(!told.take(|_, _| {}).unwrap(), "some are lost");
        assert!(told.take(|_, _| {}).unwrap(), "and told of once");
        following(interfaces, async |_| {
            eventually("what has come is guarded", || is_guarded("hot") && is_guarded("plugged"))
                .await;
            assert!(!pins.guards().unwrap().contains(&gone));
            assert!(is_guarded("peer"));
        })
        .await;
    });
}

#[test]
fn without_its_uplink_a_daemon_ends() {
    if !may_run("without_its_uplink_a_daemon_ends") {
        return;
    }
    in_namespace(async |netlink| {
        let uplink = veth(&netlink).await;
        let Instance(pins) = &Instance::new();
        let interfaces = Interfaces::guard(guard(pins, Tc::Tcx), uplink.index).await.unwrap();
        let (publish, _problems) = watch::channel(Vec::new());
        // Another one of its name is another one.
        ip_batch("link del eth0\nlink add eth0 type veth peer name peer\n");
        let error = interfaces.follow(&publish).await.unwrap_err().to_string();
        let gone = format!("the uplink (interface {}) is gone", uplink.index);
        assert!(error.starts_with(&gone), "{error}");
    });
}

#[test]
fn an_interface_that_cannot_be_guarded_is_a_problem_until_it_can() {
    if !may_run("an_interface_that_cannot_be_guarded_is_a_problem_until_it_can") {
        return;
    }
    in_namespace(async |netlink| {
        let uplink = veth(&netlink).await;
        let Instance(pins) = &Instance::new();
        let guard = guard(pins, Tc::Tcx);
        let peer = uplink::index_of(&netlink, "peer").await.unwrap();
        // Nothing can be pinned where a directory is.
        let obstacle = pins.guard(peer);
        fs::create_dir_all(&obstacle).unwrap();
        let interfaces = Interfaces::guard(guard, uplink.index).await.unwrap();
        let problems = interfaces.problems();
        let [Problem { key, what }] = &problems[..] else { panic!("{problems:?}") };
        assert_eq!(key, "interfaces/peer");
        assert!(what.contains(&obstacle.display().to_string()), "{what}");
        following(interfaces, async |problems| {
            add_veth(&netlink, "hot", "plugged").await;
            eventually("the others are guarded", || is_guarded("plugged")).await;
            assert!(programs("peer").is_empty());
            fs::remove_dir(&obstacle).unwrap();
            problems.wait_for(Vec::is_empty).await.unwrap();
            assert!(is_guarded("peer"));
        })
        .await;
    });
}

#[test]
fn an_uplink_stands_behind_the_guards_of_other_instances() {
    if !may_run("an_uplink_stands_behind_the_guards_of_other_instances") {
        return;
    }
    in_namespace(async |netlink| {
        let uplink = veth(&netlink).await;
        let peer = uplink::index_of(&netlink, "peer").await.unwrap();
        let [Instance(one), Instance(two), Instance(three)] = &[(); 3].map(|()| Instance::new());
        let guard_of = async |pins| {
            drop(Interfaces::guard(guard(pins, Tc::Tcx), peer).await.unwrap());
        };
        guard_of(one).await;
        let options = Options { trace: false, xdp: false };
        let mut ebpf = loader::load(two, options).await.unwrap();
        attach::check_free(two, &uplink).unwrap();
        attach::attach(&mut ebpf, two, &uplink, Attach::Tcx, Tc::Tcx).unwrap();
        guard_of(three).await;
        assert_eq!(programs("eth0"), [program::GUARD, program::GUARD, program::INGRESS]);
        // Swapped, it stays where it is.
        attach::attach(&mut ebpf, two, &uplink, Attach::Tcx, Tc::Tcx).unwrap();
        assert_eq!(programs("eth0"), [program::GUARD, program::GUARD, program::INGRESS]);
    });
}

#[test]
fn the_guard_by_clsact() {
    if !may_run("the_guard_by_clsact") {
        return;
    }
    in_namespace(async |netlink| {
        let uplink = veth(&netlink).await;
        add_veth(&netlink, "hot", "plugged").await;
        let [Instance(pins), Instance(other)] = &[Instance::new(), Instance::new()];
        aya::programs::tc::qdisc_add_clsact("plugged").unwrap();
        for _ in 0..2 {
            drop(Interfaces::guard(guard(pins, Tc::Clsact), uplink.index).await.unwrap());
            for (name, filters) in [("eth0", 0), ("peer", 1), ("hot", 1), ("plugged", 1)] {
                assert_eq!(guards(&netlink, name).await, filters, "{name}");
            }
        }
        drop(Interfaces::guard(guard(other, Tc::Clsact), uplink.index).await.unwrap());
        assert_eq!(guards(&netlink, "hot").await, 2, "one of each instance");
        let peer = uplink::index_of(&netlink, "peer").await.unwrap();
        attach::take_off(pins, Tc::Clsact, peer).unwrap();
        assert_eq!(guards(&netlink, "peer").await, 1, "it has become the uplink");
        for _ in 0..2 {
            attach::remove_clsact(&netlink, other, uplink.index).await.unwrap();
            assert_eq!(guards(&netlink, "hot").await, 1, "that of the first instance");
        }
        attach::remove_clsact(&netlink, pins, uplink.index).await.unwrap();
        for name in ["peer", "hot", "plugged"] {
            assert_eq!(guards(&netlink, name).await, 0, "{name}");
        }
        for name in ["peer", "hot"] {
            aya::programs::tc::qdisc_add_clsact(name).expect("the qdisc is gone as well");
        }
        aya::programs::tc::qdisc_add_clsact("plugged").expect_err("it was there before");
    });
}
