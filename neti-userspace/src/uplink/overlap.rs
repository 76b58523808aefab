//! Refuses overlay ranges that would take addresses away from what the host already reaches.

use std::net::IpAddr;

use anyhow::{Result, bail};
use ipnet::IpNet;
use rtnetlink::Handle;

use super::routes::{self, Route};

/// Errors if a range overlaps a route or an address of this host, other than neti's own and the
/// default routes. A route is neti's own if it leads out of this uplink: one out of another belongs
/// to another instance. An address inside a range is neti's own if it stands on `lo`.
pub async fn check(netlink: &Handle, uplink: u32, ranges: &[IpNet]) -> Result<()> {
    let lo = super::index_of(netlink, "lo").await?;
    let mut routes = routes::list(netlink).await?;
    routes.retain(|route| !(route.is_ours() && route.interface == uplink));
    let addresses: Vec<IpNet> = super::all_addresses(netlink)
        .await?
        .iter()
        .filter(|message| message.header.index != lo)
        .filter_map(super::address_of)
        .collect();
    for range in ranges {
        if let Some(route) = overlapping_route(range, &routes) {
            bail!(
                "overlay range {range}: overlaps the route to {}{}; choose a range that nothing \
                 on this host uses",
                route.to,
                via(route.gateway),
            );
        }
        if let Some(address) = addresses.iter().find(|address| range.contains(&address.addr())) {
            bail!(
                "overlay range {range}: contains this host's address {address}; choose a range \
                 that nothing on this host uses",
            );
        }
    }
    Ok(())
}

fn overlapping_route<'a>(range: &IpNet, routes: &'a [Route]) -> Option<&'a Route> {
    routes
        .iter()
        .filter(|route| route.to.prefix_len() != 0)
        .find(|route| range.contains(&route.to) || route.to.contains(range))
}

fn via(gateway: Option<IpAddr>) -> String {
    gateway.map_or_else(String::new, |gateway| format!(" via {gateway}"))
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::route::RouteProtocol;

    use super::*;

    #[test]
    fn overlaps_are_found_in_both_directions() {
        let check = |range: &str, to: &str, overlaps: bool| {
            let route = Route {
                to: to.parse().unwrap(),
                gateway: None,
                interface: 2,
                metric: 0,
                protocol: RouteProtocol::Static,
            };
            let found = overlapping_route(&range.parse().unwrap(), &[route]).is_some();
            assert_eq!(found, overlaps, "{range} and {to}");
        };
        check("100.64.0.0/16", "100.64.3.0/24", true);
        check("100.64.0.0/16", "100.64.0.0/10", true);
        check("100.64.0.0/16", "100.64.0.0/16", true);
        check("100.64.0.0/16", "100.65.0.0/16", false);
        check("100.64.0.0/16", "0.0.0.0/0", false);
        check("100.64.0.0/16", "fd00::/8", false);
        check("fd64::/64", "fd64::7/128", true);
        check("fd64::/64", "fd64::/48", true);
        check("fd64::/64", "fd64:0:0:1::/64", false);
        check("fd64::/64", "::/0", false);
        check("fd64::/64", "100.64.0.0/10", false);
    }
}
