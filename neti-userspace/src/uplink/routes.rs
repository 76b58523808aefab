//! The routes of the main table, one entry per next hop.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        route::{
            RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
        },
    },
};

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

/// All routes of the main table.
pub async fn list(netlink: &Handle) -> Result<Vec<Route>> {
    let all = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let messages: Vec<RouteMessage> =
        netlink.route().get(all).execute().try_collect().await.context("listing routes")?;
    Ok(messages.iter().flat_map(routes).collect())
}

fn routes(message: &RouteMessage) -> Vec<Route> {
    let header = &message.header;
    let local = matches!(header.kind, RouteType::Local | RouteType::Broadcast);
    if local || table(message) != u32::from(RouteHeader::RT_TABLE_MAIN) {
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
        AddressFamily::Inet6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    }
}

fn find<T>(
    attributes: &[RouteAttribute],
    read: impl Fn(&RouteAttribute) -> Option<T>,
) -> Option<T> {
    attributes.iter().find_map(read)
}
