//! What the tests against the real kernel share. They need root and say so where they are skipped.

use std::{
    io::Write,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use neti_userspace::{
    loader::{permission, pins, pins::Pins},
    status,
    uplink::{self, Uplink},
};
use nix::sched::{CloneFlags, unshare};
use rtnetlink::{Handle, LinkUnspec, LinkVeth, packet_route::address::AddressHeaderFlags};

/// Whether this process may load programs; prints why a test is skipped.
pub fn may_run(test: &str) -> bool {
    let missing = permission::missing();
    if !missing.is_empty() {
        println!("skipped: {test} needs {}", missing.join(", "));
    }
    missing.is_empty()
}

/// An instance of its own, removed when it goes out of scope.
pub struct Instance(pub Pins);

impl Instance {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        pins::mount_bpffs().unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(Pins::new(&format!("test-{}-{number}", std::process::id())))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.0.remove().unwrap();
        status::remove(self.0.instance()).unwrap();
    }
}

/// Runs a test in a network namespace of its own that has nothing but `lo`. The namespace ends with
/// the thread.
pub fn in_namespace<F: Future>(test: impl FnOnce(Handle) -> F + Send + 'static) {
    let body = move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let netlink = uplink::netlink().unwrap();
            set_up(&netlink, "lo").await;
            test(netlink).await;
        });
    };
    thread::spawn(body).join().unwrap();
}

/// A veth pair `eth0`, with 10.0.0.10/24 and fd00:1::10/64, and `peer`.
pub async fn veth(netlink: &Handle) -> Uplink {
    netlink.link().add(LinkVeth::new("eth0", "peer").build()).execute().await.unwrap();
    for name in ["eth0", "peer"] {
        set_up(netlink, name).await;
    }
    let index = uplink::index_of(netlink, "eth0").await.unwrap();
    for (address, length) in [("10.0.0.10", 24), ("fd00:1::10", 64)] {
        add_address(netlink, index, address, length, AddressHeaderFlags::Nodad).await;
    }
    uplink::find(netlink, "eth0").await.unwrap()
}

pub async fn add_address(
    netlink: &Handle,
    interface: u32,
    address: &str,
    length: u8,
    flags: AddressHeaderFlags,
) {
    let mut add = netlink.address().add(interface, address.parse().unwrap(), length);
    add.message_mut().header.flags = flags;
    add.execute().await.unwrap();
}

async fn set_up(netlink: &Handle, name: &str) {
    let link = LinkUnspec::new_with_name(name).up().build();
    netlink.link().set(link).execute().await.unwrap();
}

/// Runs lines of `ip` to their end, on this thread.
pub fn ip_batch(lines: &str) {
    let mut ip = Command::new("ip");
    let mut ip = ip.args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    ip.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success());
}

/// Asks until the answer is yes.
pub async fn eventually(what: &str, mut ask: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if ask() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not come to pass: {what}");
}
