//! The routes of the main table, one entry per next hop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use rtnetlink::{
    Handle,
    packet_route::{
        AddressFamily,
        route::{
            RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol,
            RouteType,
        },
    },
};

use crate::addresses::Addresses;

/// Marks the routes that neti installs (`rtm_protocol`), so that it removes no other. It is free in
/// iproute2's `rt_protos`.
pub const PROTOCOL: RouteProtocol = RouteProtocol::Other(110);

/// A destination and one of its next hops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub to: IpNet,
    pub gateway: Option<IpAddr>,
    /// 0 for routes without an interface (`blackhole`, `unreachable`).
    pub interface: u32,
    pub metric: u32,
    pub protocol: RouteProtocol,
}

impl Route {
    pub fn is_ours(&self) -> bool {
        self.protocol == PROTOCOL
    }
}

/// All routes of the main table, of both families.
pub async fn list(netlink: &Handle) -> Result<Vec<Route>> {
    let mut all = Vec::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        let messages: Vec<RouteMessage> =
            netlink.route().get(request).execute().try_collect().await.context("listing routes")?;
        all.extend(messages.iter().flat_map(|message| of(message, family)));
    }
    Ok(all)
}

/// The route that a message tells of, if it is one of the main table. A kernel without a `family`
/// answers with the routes of all the others.
pub fn of(message: &RouteMessage, family: AddressFamily) -> Vec<Route> {
    if message.header.address_family == family { routes(message) } else { Vec::new() }
}

/// Of the routes out of one interface: each family's gateway, and the prefixes with another next
/// hop, which is every prefix where the family has no gateway.
pub fn next_hops(routes: &[Route]) -> (Addresses, Vec<IpNet>) {
    let (mut gateways, mut others) = (Addresses::default(), Vec::new());
    for anywhere in [IpNet::from(Ipv4Net::default()), IpNet::from(Ipv6Net::default())] {
        let (default, specific): (Vec<&Route>, Vec<&Route>) = routes
            .iter()
            .filter(|route| anywhere.contains(&route.to))
            .partition(|route| route.to == anywhere);
        let default = default.iter().min_by_key(|route| route.metric);
        match default.and_then(|route| route.gateway) {
            Some(gateway) => {
                gateways.insert(gateway);
                let other = specific.iter().filter(|route| route.gateway != Some(gateway));
                others.extend(other.map(|route| route.to));
            }
            None => others.push(anywhere),
        }
    }
    (gateways, others)
}

fn routes(message: &RouteMessage) -> Vec<Route> {
    let header = &message.header;
    let local = matches!(header.kind, RouteType::Local | RouteType::Broadcast);
    // What the kernel has learned of one destination, such as its path MTU, is listed beside the
    // routes.
    let learned = header.flags.contains(RouteFlags::Cloned);
    if local || learned || table(message) != u32::from(RouteHeader::RT_TABLE_MAIN) {
        return Vec::new();
    }
    let metric = find(&message.attributes, |attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    let destination = find(&message.attributes, |attribute| match attribute {
        RouteAttribute::Destination(address) => address_of(address),
        _ => None,
    });
    let anywhere = unspecified(header.address_family);
    let Ok(to) = IpNet::new(destination.unwrap_or(anywhere), header.destination_prefix_length)
    else {
        return Vec::new();
    };
    let route = |gateway, interface| Route {
        to,
        gateway,
        interface,
        metric: metric.unwrap_or(0),
        protocol: header.protocol,
    };
    let hops = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::MultiPath(hops) => Some(hops),
        _ => None,
    });
    match hops {
        Some(hops) => {
            hops.iter().map(|hop| route(gateway(&hop.attributes), hop.interface_index)).collect()
        }
        None => {
            let interface = find(&message.attributes, |attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            });
            vec![route(gateway(&message.attributes), interface.unwrap_or(0))]
        }
    }
}

/// The routing table; the header's field has 8 bits only and says 0 (unspecified) for higher ones.
fn table(message: &RouteMessage) -> u32 {
    let table = find(&message.attributes, |attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    table.unwrap_or(u32::from(message.header.table))
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    find(attributes, |attribute| match attribute {
        RouteAttribute::Gateway(address) => address_of(address),
        _ => None,
    })
}

fn address_of(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn unspecified(family: AddressFamily) -> IpAddr {
    match family {
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn find<T>(
    attributes: &[RouteAttribute],
    read: impl Fn(&RouteAttribute) -> Option<T>,
) -> Option<T> {
    attributes.iter().find_map(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(to: &str, gateway: Option<&str>, metric: u32) -> Route {
        Route {
            to: to.parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            interface: 2,
            metric,
            protocol: RouteProtocol::Static,
        }
    }

    #[test]
    fn what_the_kernel_has_learned_is_no_route() {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.destination_prefix_length = 128;
        let destination = RouteAddress::Inet6("fd64::9".parse().unwrap());
        message.attributes.push(RouteAttribute::Destination(destination));
        assert_eq!(routes(&message).len(), 1);
        message.header.flags = RouteFlags::Cloned;
        assert_eq!(routes(&message), []);
    }

    #[test]
    fn each_family_has_next_hops_of_its_own() {
        let v4 = [
            route("0.0.0.0/0", Some("10.0.0.2"), 100),
            route("0.0.0.0/0", Some("10.0.0.1"), 0),
            route("10.0.0.0/24", None, 0),
            route("10.1.0.0/16", Some("10.0.0.1"), 0),
            route("10.2.0.0/16", Some("10.0.0.2"), 0),
        ];
        let v6 = [
            route("::/0", Some("fe80::1"), 1024),
            route("fd00:1::/64", None, 256),
            route("fd00:2::/64", Some("fe80::1"), 256),
            route("fd00:3::/64", Some("fe80::2"), 256),
        ];
        let check = |routes: &[Route], gateways: &[&str], others: &[&str]| {
            let expected = (
                Addresses::collect(gateways.iter().map(|address| address.parse().unwrap()))
                    .unwrap(),
                others.iter().map(|prefix| prefix.parse().unwrap()).collect(),
            );
            assert_eq!(next_hops(routes), expected);
        };
        check(&[], &[], &["0.0.0.0/0", "::/0"]);
        check(&v4, &["10.0.0.1"], &["10.0.0.0/24", "10.2.0.0/16", "::/0"]);
        check(&v6, &["fe80::1"], &["0.0.0.0/0", "fd00:1::/64", "fd00:3::/64"]);
        check(
            &[v4.as_slice(), &v6].concat(),
            &["10.0.0.1", "fe80::1"],
            &["10.0.0.0/24", "10.2.0.0/16", "fd00:1::/64", "fd00:3::/64"],
        );
        check(&[route("::/0", None, 1024)], &[], &["0.0.0.0/0", "::/0"]);
    }
}
