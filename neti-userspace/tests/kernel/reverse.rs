//! Following the routes of a real network namespace.

use neti_userspace::{reverse::Routes, view::Me};
use tokio::sync::watch;

use crate::support::{in_namespace, ip_batch, may_run, veth};

#[test]
fn routes_are_followed_through_a_flood_of_changes() {
    if !may_run("routes_are_followed_through_a_flood_of_changes") {
        return;
    }
    in_namespace(async |netlink| {
        let uplink = veth(&netlink).await;
        ip_batch("addr add 10.9.0.1/24 dev peer\naddr add fd09::1/64 dev peer nodad\n");
        let mut routes = Routes::subscribe(uplink.index).unwrap();
        let me = Me {
            id: "hudson".parse().unwrap(),
            network: "ec2".to_owned(),
            role: String::new(),
            overlays: Vec::new(),
            reals: Vec::new(),
            uplink_index: uplink.index,
            on_link: Vec::new(),
            vlans: Default::default(),
            reverse: routes.read().await.unwrap(),
            endpoints: Vec::new(),
        };
        let elsewhere = |me: &Me, address: &str| {
            me.reverse.elsewhere(address.parse().unwrap()).map(str::to_owned)
        };
        let by_peer = Some("peer".to_owned());
        for (near, far) in [("10.0.0.7", "10.9.0.7"), ("fd00:1::7", "fd09::7")] {
            assert_eq!((elsewhere(&me, near), elsewhere(&me, far)), (None, by_peer.clone()));
            assert_eq!(elsewhere(&me, "192.0.2.7"), None, "nothing leads there");
        }
        let (ourselves, mut seen) = watch::channel(me);
        let test = async {
            // More than the kernel has room to tell of; the daemon's thread is this one.
            let mut lines = String::new();
            for number in 0..2_000 {
                let [_, _, high, low] = u32::to_be_bytes(number);
                lines += &format!("route add 11.{high}.{low}.0/24 dev eth0\n");
            }
            ip_batch(&format!("{lines}route add 192.0.2.0/24 dev peer\n"));
            seen.wait_for(|me| elsewhere(me, "192.0.2.7") == by_peer).await.unwrap();
            // Neither is told of by IPv4.
            ip_batch("link set peer down\n");
            seen.wait_for(|me| *me.reverse == Default::default()).await.unwrap();
        };
        tokio::select! {
            ended = routes.follow(&ourselves) => panic!("following ended: {ended:?}"),
            () = test => {}
        }
    });
}
