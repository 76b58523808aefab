//! This host, put together from its configuration and its uplink.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, bail};
use ipnet::{IpNet, Ipv4Net};

use super::unix_now;
use crate::{
    config::{Config, RegistryConfig},
    loader::attach::Means,
    membership::{MemberRecord, MemberState, first_generation},
    status::Status,
    uplink::Uplink,
    view::Me,
};

/// Our addresses on the uplink, the one we send from first. A public address that a router in front
/// of us translates is none of them.
pub fn reals(config: &Config, uplink: &Uplink) -> Result<Vec<Ipv4Addr>> {
    let on_uplink: Vec<Ipv4Addr> = uplink.addresses.iter().filter_map(v4).collect();
    let private = match config.private {
        Some(private) if on_uplink.contains(&private) => private,
        Some(private) => bail!(
            "private = {private}: uplink {} does not have it; it has {}",
            uplink.name,
            list(&on_uplink),
        ),
        None => on_uplink.first().copied().with_context(|| {
            format!("uplink {}: no global IPv4 address; give it one", uplink.name)
        })?,
    };
    let public = config.public.filter(|public| *public != private && on_uplink.contains(public));
    Ok([private].into_iter().chain(public).collect())
}

pub fn me(config: &Config, uplink: &Uplink, overlay: Ipv4Addr, reals: Vec<Ipv4Addr>) -> Me {
    Me {
        id: config.host.clone(),
        network: config.network.clone(),
        overlay,
        reals,
        uplink_index: uplink.index,
        on_link: uplink.other_next_hop.iter().filter_map(v4_net).collect(),
        redirect_all: uplink.gateway.is_none(),
        vlans: uplink.vlans.iter().copied().collect(),
    }
}

/// What we announce.
pub fn record(config: &Config, me: &Me) -> MemberRecord {
    MemberRecord {
        id: me.id.clone(),
        overlays: vec![me.overlay],
        private: me.reals.first().copied(),
        public: config.public,
        network: me.network.clone(),
        role: config.role.clone(),
        labels: config.labels.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        generation: first_generation(),
        since: 0,
        state: MemberState::Up,
    }
}

/// The status of a daemon that has not yet synchronised.
pub fn status(config: &Config, me: &Me, ranges: &[IpNet], means: Means) -> Status {
    Status {
        pid: nix::unistd::getpid().as_raw(),
        started: unix_now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: me.id.clone(),
        network: me.network.clone(),
        overlay: me.overlay,
        reals: me.reals.clone(),
        uplink: config.uplink.clone(),
        uplink_index: me.uplink_index,
        routed: ranges.to_vec(),
        attach: means.to_string(),
        registry: match &config.registry {
            RegistryConfig::Directory { path, .. } => format!("directory {}", path.display()),
        },
        revision: 0,
        members: 0,
        stale: None,
        problems: Vec::new(),
        names: Default::default(),
    }
}

fn v4(net: &IpNet) -> Option<Ipv4Addr> {
    match net.addr() {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

fn v4_net(net: &IpNet) -> Option<Ipv4Net> {
    match net {
        IpNet::V4(net) => Some(*net),
        IpNet::V6(_) => None,
    }
}

fn list(addresses: &[Ipv4Addr]) -> String {
    match addresses {
        [] => "none".to_owned(),
        _ => addresses.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", "),
    }
}
