//! Puts the overlay addresses on `lo` and routes the overlay ranges out of the uplink, and takes
//! both back.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context, Result};
use ipnet::IpNet;
use rtnetlink::{
    Error, Handle, RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressFlags, CacheInfo},
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage},
        route::{RouteAttribute, RouteFlags, RouteMessage, RouteScope},
    },
};

use super::{
    Uplink,
    routes::{self, PROTOCOL},
};
use crate::addresses::{Addresses, IpFamily};

/// A lifetime without end (`INFINITY_LIFE_TIME`).
const FOR_EVER: u32 = u32::MAX;

/// Makes the host have `addresses`, and send what goes to the `ranges` of an address's family from
/// it, out of `uplink`. Idempotent.
pub async fn install(
    netlink: &Handle,
    uplink: &Uplink,
    addresses: Addresses,
    ranges: &[IpNet],
) -> Result<()> {
    let lo = super::index_of(netlink, "lo").await?;
    for address in addresses.iter() {
        let family = IpFamily::of(address);
        add_address(netlink, lo, address).await?;
        for range in ranges.iter().filter(|range| IpFamily::of_range(range) == family) {
            let next_hop = match uplink.gateways.of(family) {
                Some(gateway) => gateway,
                None => add_stand_in(netlink, uplink, range).await?,
            };
            let route = route(uplink, address, range, next_hop)?;
            let added = netlink.route().add(route).replace().execute().await;
            added.with_context(|| format!("routing {range} out of {}", uplink.name))?;
        }
    }
    Ok(())
}

/// Undoes [`install`] for an uplink that may be gone. Idempotent.
pub async fn remove(
    netlink: &Handle,
    uplink: u32,
    addresses: &BTreeSet<IpAddr>,
    ranges: &BTreeSet<IpNet>,
) -> Result<()> {
    let ours = routes::list(netlink)
        .await?
        .into_iter()
        .filter(|route| route.is_ours() && route.interface == uplink && ranges.contains(&route.to));
    for route in ours {
        let removed = netlink.route().del(destination(&route.to)?).execute().await;
        absent_is_fine(removed).with_context(|| format!("removing the route to {}", route.to))?;
    }
    for range in ranges {
        let removed = netlink.neighbours().del(stand_in(uplink, range)).execute().await;
        absent_is_fine(removed)
            .with_context(|| format!("removing the neighbour {}", range.network()))?;
    }
    let lo = super::index_of(netlink, "lo").await?;
    let messages = super::all_addresses(netlink).await?;
    for message in messages.into_iter().filter(|message| message.header.index == lo) {
        let Some(address) = super::address_of(&message) else { continue };
        if addresses.contains(&address.addr()) {
            let removed = netlink.address().del(message).execute().await;
            absent_is_fine(removed).with_context(|| format!("removing {address} from lo"))?;
        }
    }
    Ok(())
}

async fn add_address(netlink: &Handle, lo: u32, address: IpAddr) -> Result<()> {
    let host = IpNet::from(address);
    let mut add = netlink.address().add(lo, address, host.prefix_len()).replace();
    if address.is_ipv6() {
        add.message_mut().attributes.extend(v6_attributes());
    }
    add.execute().await.with_context(|| format!("adding {host} to lo"))
}

/// The address is deprecated from the start (RFC 4862 5.5.4): sockets may have it, but the kernel
/// chooses it (RFC 6724, rule 3) for no destinations other than those whose route names it. It is
/// not checked for duplicates, or it would be unfit for the route until the kernel has got round to
/// that, and makes no route to itself in the main table.
fn v6_attributes() -> [AddressAttribute; 2] {
    let mut lifetime = CacheInfo::default();
    (lifetime.ifa_preferred, lifetime.ifa_valid) = (0, FOR_EVER);
    let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
    [AddressAttribute::CacheInfo(lifetime), AddressAttribute::Flags(flags)]
}

/// Without a gateway there is no next hop that suits all peers. The route needs one with a known
/// link-layer address all the same, or the stack would ask on the wire who has an overlay address;
/// the egress program then finds the real next hop of each packet. So the range's network address,
/// which no host has, stands in for it, at our own link-layer address.
async fn add_stand_in(netlink: &Handle, uplink: &Uplink, range: &IpNet) -> Result<IpAddr> {
    let stand_in = range.network();
    let neighbour = netlink.neighbours().add(uplink.index, stand_in);
    let added = neighbour.link_layer_address(&uplink.mac).replace().execute().await;
    added.with_context(|| format!("adding the neighbour {stand_in} on {}", uplink.name))?;
    Ok(stand_in)
}

fn stand_in(uplink: u32, range: &IpNet) -> NeighbourMessage {
    let (family, destination) = match range.network() {
        IpAddr::V4(address) => (libc::AF_INET, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (libc::AF_INET6, NeighbourAddress::Inet6(address)),
    };
    let mut message = NeighbourMessage::default();
    message.header.family = (family as u8).into();
    message.header.ifindex = uplink;
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message
}

fn route(uplink: &Uplink, source: IpAddr, range: &IpNet, next_hop: IpAddr) -> Result<RouteMessage> {
    let mut message = destination(range)?;
    message.attributes.push(RouteAttribute::Oif(uplink.index));
    message.attributes.push(RouteAttribute::PrefSource(source.into()));
    message.attributes.push(RouteAttribute::Gateway(next_hop.into()));
    // The gateway of a cloud's default route may itself be outside every on-link prefix.
    message.header.flags |= RouteFlags::Onlink;
    Ok(message)
}

fn destination(range: &IpNet) -> Result<RouteMessage> {
    Ok(RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(range.network(), range.prefix_len())?
        .protocol(PROTOCOL)
        .scope(RouteScope::Universe)
        .build())
}

fn absent_is_fine(result: Result<(), Error>) -> Result<()> {
    // What went with its interface, or was removed by hand, is as gone as it should be.
    const GONE: [i32; 4] = [libc::ENOENT, libc::ESRCH, libc::EADDRNOTAVAIL, libc::ENODEV];
    match result {
        Err(Error::NetlinkError(error)) if GONE.contains(&error.raw_code().abs()) => Ok(()),
        other => other.map_err(Into::into),
    }
}
