//! The guard on interfaces that come and go, are renamed and moved.

use std::{
    fs::{self, File},
    os::fd::{AsFd, AsRawFd},
    thread,
    time::Duration,
};

use aya::{
    Ebpf,
    programs::{SchedClassifier, TcAttachType},
};
use futures_util::TryStreamExt;
use neti_userspace::{
    config::Attach,
    interfaces::Interfaces,
    loader::{
        self, Options,
        attach::{self, Guard, Tc},
        pins::Pins,
        program,
    },
    membership::Problem,
    uplink,
};
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, LinkVeth};
use tokio::sync::watch;

use crate::support::{Instance, in_namespace, may_run, veth};

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

/// The guard, without the other programs.
fn guard(pins: &Pins, tc: Tc) -> Guard {
    let mut ebpf: Ebpf = loader::make_maps(pins, false).unwrap();
    fs::create_dir_all(pins.links()).unwrap();
    let program: &mut SchedClassifier =
        ebpf.program_mut(program::GUARD).unwrap().try_into().unwrap();
    program.load().unwrap();
    Guard::new(ebpf, pins.clone(), tc)
}

/// Runs `test` while `interfaces` are followed.
async fn following(
    interfaces: Interfaces,
    test: impl AsyncFnOnce(&mut watch::Receiver<Vec<Problem>>),
) {
    let (publish, mut problems) = watch::channel(interfaces.problems());
    tokio::select! {
        ended = interfaces.follow(&publish) => panic!("following ended: {ended:?}"),
        () = test(&mut problems) => {}
    }
}

/// Names of the programs at an interface's ingress, in their order.
fn programs(name: &str) -> Vec<String> {
    let (_, programs) = SchedClassifier::query_tcx(name, TcAttachType::Ingress).unwrap();
    programs.iter().filter_map(|program| program.name_as_str()).map(str::to_owned).collect()
}

fn ids(name: &str) -> Vec<u32> {
    let (_, programs) = SchedClassifier::query_tcx(name, TcAttachType::Ingress).unwrap();
    programs.iter().map(|program| program.id()).collect()
}

fn is_guarded(name: &str) -> bool {
    programs(name) == [program::GUARD]
}

/// How many filters clsact has at an interface's ingress.
async fn guards(netlink: &Handle, name: &str) -> usize {
    let index = uplink::index_of(netlink, name).await.unwrap();
    let filters = netlink.traffic_filter(index as i32).get().ingress().execute();
    let filters: Vec<_> = filters.try_collect().await.unwrap_or_default();
    filters.iter().filter(|filter| u32::from(filter.header.handle) != 0).count()
}

async fn eventually(what: &str, mut ask: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if ask() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not come to pass: {what}");
}

async fn add_veth(netlink: &Handle, one: &str, other: &str) {
    netlink.link().add(LinkVeth::new(one, other).build()).execute().await.unwrap();
}

/// Another network namespace.
fn namespace() -> File {
    let namespace = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    };
    thread::spawn(namespace).join().unwrap()
}

fn inside<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> T {
    let enter = || {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
        work()
    };
    thread::scope(|scope| scope.spawn(enter).join().unwrap())
}

/// Moves an interface; the index that it had.
async fn move_to(netlink: &Handle, name: &str, namespace: &File) -> u32 {
    let index = uplink::index_of(netlink, name).await.unwrap();
    let moved = LinkUnspec::new_with_index(index).setns_by_fd(namespace.as_raw_fd());
    netlink.link().set(moved.build()).execute().await.unwrap();
    index
}
