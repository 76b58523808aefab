//! Reads the routes, and follows them. Of what the kernel tells of them only counts that it tells
//! something: then they are read again, not sooner than a burst of changes is likely to be over.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::net::if_::if_nameindex;
use rtnetlink::{
    MulticastGroup,
    packet_route::{AddressFamily, RouteNetlinkMessage, route::RouteMessage},
};
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tracing::{debug, info, warn};

use super::{Hop, ReversePath};
use crate::{
    netlink::{self, notifications::Notifications},
    uplink::{LOOPBACK, routes},
    view::Me,
};

/// How long a burst of changes may last.
const BURST: Duration = Duration::from_millis(100);
/// Reading takes at most one part in so many of the time, however large the table and however often it
/// changes.
const SHARE: u32 = 20;
/// When to try again what the kernel has refused.
const RETRY: Duration = Duration::from_secs(5);

/// What may change where an address is routed to. IPv4 tells of no route that goes with its interface
/// or its source address.
const GROUPS: [MulticastGroup; 6] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Nexthop,
];

/// The routes of this network namespace, as they change.
pub struct Routes {
    notifications: Notifications,
    uplink: u32,
    /// What the last reading took.
    took: Duration,
}

impl Routes {
    /// Begins to follow them.
    pub fn subscribe(uplink: u32) -> Result<Self> {
        let notifications = Notifications::subscribe(&GROUPS)?;
        Ok(Self { notifications, uplink, took: Duration::ZERO })
    }

    /// What they say.
    pub async fn read(&mut self) -> Result<Arc<ReversePath>> {
        let (uplink, began) = (self.uplink, Instant::now());
        let read = spawn_blocking(move || read(uplink)).await?.context("reading the routes");
        self.took = began.elapsed();
        Ok(Arc::new(read?))
    }

    /// Keeps `me` in step with them. It ends with an error only.
    pub async fn follow(mut self, me: &watch::Sender<Me>) -> Result<()> {
        loop {
            self.notifications.arrive().await.context("waiting for changes of routes")?;
            sleep(BURST.max(self.took * SHARE)).await;
            self.notifications.take(|_, _| {}).context("reading changes of routes")?;
            let reverse = loop {
                match self.read().await {
                    Ok(reverse) => break reverse,
                    Err(error) => {
                        warn!("{error:#}; trying again in {} s", RETRY.as_secs());
                        sleep(RETRY).await;
                    }
                }
            };
            let changed = me.send_if_modified(|me| {
                let changed = me.reverse != reverse;
                me.reverse = reverse;
                changed
            });
            if changed {
                info!("routes changed");
            }
        }
    }
}

fn read(uplink: u32) -> Result<ReversePath> {
    let socket = netlink::open(NETLINK_ROUTE)?;
    let mut hops = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        dump(&socket, family, &mut hops)?;
    }
    let names = if_nameindex()?;
    let names = names.iter().filter(|interface| interface.index() != LOOPBACK);
    let names = names.map(|named| (named.index(), named.name().to_string_lossy().into_owned()));
    Ok(ReversePath::new(hops, uplink, &names.collect()))
}

fn dump(socket: &Socket, family: AddressFamily, hops: &mut Vec<Hop>) -> Result<()> {
    let mut request = RouteMessage::default();
    request.header.address_family = family;
    netlink::dump(socket, RouteNetlinkMessage::GetRoute(request), |found| {
        match found {
            Ok(RouteNetlinkMessage::NewRoute(message)) => {
                let routes = routes::of(&message, family).into_iter();
                // The overlay ranges are routed out of the uplink, or that of another instance.
                let theirs = routes.filter(|route| !route.is_ours());
                hops.extend(theirs.map(|route| Hop {
                    to: route.to,
                    metric: route.metric,
                    interface: route.interface,
                }));
            }
            Ok(_) => {}
            // A kind of route that nobody could name an interface of.
            Err(error) => debug!("a route that is not understood: {error}"),
        }
        Ok(())
    })
}
