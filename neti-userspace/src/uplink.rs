//! The uplink: the interface that carries the overlay, as the kernel describes it over rtnetlink.

pub mod lock;
pub mod overlap;
pub mod overlay;
pub mod ports;
pub mod routes;

use std::{net::IpAddr, time::Duration};

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::{
    Handle,
    packet_route::{
        address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
        link::{
            InfoData, InfoKind, InfoVlan, LinkAttribute, LinkInfo, LinkMessage, LinkXdp,
            XdpAttached,
        },
    },
};
use tokio::time::{Instant, sleep};

use self::routes::Route;
use crate::addresses::Addresses;

/// How long we wait for duplicate address detection: one probe and a second, where its settings are
/// the usual ones.
const DETECTION: Duration = Duration::from_secs(3);

/// The index of `lo` in every network namespace (`LOOPBACK_IFINDEX`, include/net/flow.h).
pub const LOOPBACK: u32 = 1;

/// What neti has to know about the uplink.
#[derive(Debug, Clone)]
pub struct Uplink {
    pub name: String,
    pub index: u32,
    /// Empty for interfaces without link-layer addresses.
    pub mac: Vec<u8>,
    /// `None` for the driver of a device; otherwise the kind of virtual interface: `veth`, `bond`.
    pub kind: Option<String>,
    /// Global addresses in the kernel's order: a subnet's primary one comes first.
    pub addresses: Vec<Address>,
    /// By family, the next hop of the default route with the lowest metric, if that leads out of
    /// this interface.
    pub gateways: Addresses,
    /// Prefixes that leave by this interface with another next hop than their family's gateway:
    /// those on-link, those behind another router, and everything where there is no gateway.
    pub other_next_hop: Vec<IpNet>,
    /// Ids of the VLAN interfaces on top of it.
    pub vlans: Vec<u16>,
    /// The XDP program that is attached to it, whoever it belongs to.
    pub xdp: Option<u32>,
}

/// A global address of the uplink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub address: IpAddr,
    /// Whether others may come to rely on it: it is neither temporary (RFC 8981) nor deprecated, and
    /// known to be nobody else's.
    pub lasting: bool,
}

/// Opens a netlink connection of the current network namespace. Must run inside a tokio runtime.
pub fn netlink() -> Result<Handle> {
    let (connection, handle, _) =
        rtnetlink::new_connection().context("opening a netlink socket")?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Describes the interface `name`.
pub async fn find(netlink: &Handle, name: &str) -> Result<Uplink> {
    let links: Vec<LinkMessage> =
        netlink.link().get().execute().try_collect().await.context("listing interfaces")?;
    let Some(link) = links.iter().find(|link| name_of(link) == Some(name)) else {
        let names: Vec<_> = links.iter().filter_map(name_of).collect();
        bail!("uplink {name}: no such interface; there are {}", names.join(", "));
    };
    let index = link.header.index;
    let routes: Vec<Route> = routes::list(netlink)
        .await?
        .into_iter()
        .filter(|route| route.interface == index && !route.is_ours())
        .collect();
    let (gateways, other_next_hop) = routes::next_hops(&routes);
    Ok(Uplink {
        name: name.to_owned(),
        index,
        mac: attribute(link, |attribute| match attribute {
            LinkAttribute::Address(mac) => Some(mac.clone()),
            _ => None,
        })
        .unwrap_or_default(),
        kind: infos(link).iter().find_map(|info| match info {
            LinkInfo::Kind(kind) => Some(kind.to_string()),
            _ => None,
        }),
        addresses: addresses(netlink, index).await?,
        gateways,
        other_next_hop,
        vlans: links.iter().filter(|link| parent(link) == Some(index)).filter_map(vlan).collect(),
        xdp: attribute(link, |attribute| match attribute {
            LinkAttribute::Xdp(xdp) => attached_xdp(xdp),
            _ => None,
        }),
    })
}

/// The index of the interface `name`.
pub async fn index_of(netlink: &Handle, name: &str) -> Result<u32> {
    let link = netlink.link().get().match_name(name).execute().try_next().await;
    let link = link.with_context(|| format!("looking up the interface {name}"))?;
    Ok(link.with_context(|| format!("interface {name}: there is none"))?.header.index)
}

/// The name of the interface `index`; `None` if there is none.
pub async fn name(netlink: &Handle, index: u32) -> Result<Option<String>> {
    let links: Vec<LinkMessage> =
        netlink.link().get().execute().try_collect().await.context("listing interfaces")?;
    let link = links.iter().find(|link| link.header.index == index);
    Ok(link.and_then(name_of).map(str::to_owned))
}

/// All addresses of the namespace with the interface that has them.
pub async fn all_addresses(netlink: &Handle) -> Result<Vec<AddressMessage>> {
    netlink.address().get().execute().try_collect().await.context("listing addresses")
}

/// The address and prefix length of an address message.
pub fn address_of(message: &AddressMessage) -> Option<IpNet> {
    // On point-to-point interfaces IFA_ADDRESS is the peer's end and IFA_LOCAL ours; IPv6 has
    // IFA_ADDRESS alone.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    IpNet::new(local.or(address)?, message.header.prefix_len).ok()
}

/// The global addresses of an interface. The kernel takes a second to find out that a fresh IPv6
/// address is nobody else's (RFC 4862 5.4), so a daemon that starts with its host waits for it.
async fn addresses(netlink: &Handle, index: u32) -> Result<Vec<Address>> {
    let deadline = Instant::now() + DETECTION;
    loop {
        let messages: Vec<AddressMessage> = all_addresses(netlink)
            .await?
            .into_iter()
            .filter(|message| message.header.index == index)
            .filter(|message| message.header.scope == AddressScope::Universe)
            .collect();
        if messages.iter().any(is_being_checked) && Instant::now() < deadline {
            sleep(DETECTION / 30).await;
            continue;
        }
        return Ok(messages.iter().filter_map(address).collect());
    }
}

fn is_being_checked(message: &AddressMessage) -> bool {
    let flags = message.header.flags;
    flags.contains(AddressHeaderFlags::Tentative) && !flags.contains(AddressHeaderFlags::Dadfailed)
}

fn address(message: &AddressMessage) -> Option<Address> {
    // IFA_F_TEMPORARY is the same bit as IFA_F_SECONDARY, which IPv4 has on a subnet's further
    // addresses: those are as good as the first, which stands before them.
    let passing = AddressHeaderFlags::Secondary
        | AddressHeaderFlags::Deprecated
        | AddressHeaderFlags::Tentative
        | AddressHeaderFlags::Dadfailed;
    Some(Address {
        address: address_of(message)?.addr(),
        lasting: !message.header.flags.intersects(passing),
    })
}

fn attribute<T>(link: &LinkMessage, read: impl Fn(&LinkAttribute) -> Option<T>) -> Option<T> {
    link.attributes.iter().find_map(read)
}

fn name_of(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

/// The interface on top of which `link` sits, unless that is in another namespace.
fn parent(link: &LinkMessage) -> Option<u32> {
    let elsewhere = attribute(link, |attribute| match attribute {
        LinkAttribute::LinkNetNsId(id) => Some(*id),
        _ => None,
    });
    let parent = attribute(link, |attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    });
    if elsewhere.is_some() { None } else { parent }
}

fn infos(link: &LinkMessage) -> &[LinkInfo] {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos.as_slice()),
            _ => None,
        })
        .unwrap_or_default()
}

fn vlan(link: &LinkMessage) -> Option<u16> {
    infos(link).contains(&LinkInfo::Kind(InfoKind::Vlan)).then_some(())?;
    infos(link).iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(data)) => data.iter().find_map(|item| match item {
            InfoVlan::Id(id) => Some(*id),
            _ => None,
        }),
        _ => None,
    })
}

fn attached_xdp(xdp: &[LinkXdp]) -> Option<u32> {
    let attached =
        |item: &LinkXdp| matches!(item, LinkXdp::Attached(mode) if *mode != XdpAttached::None);
    xdp.iter().any(attached).then_some(())?;
    // With one program per mode (XDP_ATTACHED_MULTI) there is no IFLA_XDP_PROG_ID; any of them says
    // that the interface is taken.
    xdp.iter().find_map(|item| match item {
        LinkXdp::ProgId(id)
        | LinkXdp::DrvProgId(id)
        | LinkXdp::SkbProgId(id)
        | LinkXdp::HwProgId(id) => Some(*id),
        _ => None,
    })
}
