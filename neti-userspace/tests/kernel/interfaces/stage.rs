//! Interfaces, and what is attached to them.

use std::{
    fs::{self, File},
    os::fd::{AsFd, AsRawFd},
    thread,
};

use aya::{
    Ebpf,
    programs::{SchedClassifier, TcAttachType},
};
use futures_util::TryStreamExt;
use neti_userspace::{
    interfaces::Interfaces,
    loader::{
        self,
        attach::{Guard, Tc},
        pins::Pins,
        program,
    },
    membership::Problem,
    uplink,
};
use nix::sched::{CloneFlags, setns, unshare};
use rtnetlink::{Handle, LinkUnspec, LinkVeth};
use tokio::sync::watch;

/// The guard, without the other programs.
pub fn guard(pins: &Pins, tc: Tc) -> Guard {
    let mut ebpf: Ebpf = loader::make_maps(pins, false).unwrap();
    fs::create_dir_all(pins.links()).unwrap();
    let program: &mut SchedClassifier =
        ebpf.program_mut(program::GUARD).unwrap().try_into().unwrap();
    program.load().unwrap();
    Guard::new(ebpf, pins.clone(), tc)
}

/// Runs `test` while `interfaces` are followed.
pub async fn following(
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
pub fn programs(name: &str) -> Vec<String> {
    let (_, programs) = SchedClassifier::query_tcx(name, TcAttachType::Ingress).unwrap();
    programs.iter().filter_map(|program| program.name_as_str()).map(str::to_owned).collect()
}

pub fn ids(name: &str) -> Vec<u32> {
    let (_, programs) = SchedClassifier::query_tcx(name, TcAttachType::Ingress).unwrap();
    programs.iter().map(|program| program.id()).collect()
}

pub fn is_guarded(name: &str) -> bool {
    programs(name) == [program::GUARD]
}

/// How many filters clsact has at an interface's ingress.
pub async fn guards(netlink: &Handle, name: &str) -> usize {
    let index = uplink::index_of(netlink, name).await.unwrap();
    let filters = netlink.traffic_filter(index as i32).get().ingress().execute();
    let filters: Vec<_> = filters.try_collect().await.unwrap_or_default();
    filters.iter().filter(|filter| u32::from(filter.header.handle) != 0).count()
}

pub async fn add_veth(netlink: &Handle, one: &str, other: &str) {
    netlink.link().add(LinkVeth::new(one, other).build()).execute().await.unwrap();
}

/// Another network namespace.
pub fn namespace() -> File {
    let namespace = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    };
    thread::spawn(namespace).join().unwrap()
}

pub fn inside<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> T {
    let enter = || {
        setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
        work()
    };
    thread::scope(|scope| scope.spawn(enter).join().unwrap())
}

/// Moves an interface; the index that it had.
pub async fn move_to(netlink: &Handle, name: &str, namespace: &File) -> u32 {
    let index = uplink::index_of(netlink, name).await.unwrap();
    let moved = LinkUnspec::new_with_index(index).setns_by_fd(namespace.as_raw_fd());
    netlink.link().set(moved.build()).execute().await.unwrap();
    index
}
