//! This host, put together from its configuration and its uplink.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Result, bail};
use futures_util::future::join_all;
use ipnet::IpNet;
use tokio::{net::lookup_host, time::timeout};

use crate::{
    addresses::{Addresses, IpFamily, list, real},
    config::Config,
    fleet::FleetSettings,
    loader::attach::Means,
    membership::{FORMAT, MemberRecord, MemberState, first_generation},
    status::{Status, unix_now},
    uplink::{Address, Uplink},
    view::Me,
};

/// Our addresses on the uplink, of each family the one we send from first. A public address that a
/// router in front of us translates is none of them.
///
/// # Errors
/// If there is none, or not the one that the configuration names.
pub fn reals(config: &Config, uplink: &Uplink) -> Result<Vec<IpAddr>> {
    let has = |wanted| uplink.addresses.iter().any(|address| address.address == wanted);
    if let Some(private) = config.private.iter().find(|private| !has(*private)) {
        let others = match uplink.addresses.as_slice() {
            [] => "none".to_owned(),
            others => list(others.iter().map(|other| other.address)),
        };
        bail!("private = {private}: uplink {} does not have it; it has {others}", uplink.name);
    }
    let mut reals = Vec::new();
    for family in IpFamily::ALL {
        let fit = |address: &&Address| {
            let Address { address, lasting } = **address;
            lasting && IpFamily::of(address) == family && real(address).is_ok()
        };
        let first = uplink.addresses.iter().find(fit).map(|address| address.address);
        let private = config.private.of(family).or(first);
        let public = config.public.of(family).filter(|public| has(*public));
        reals.extend(private);
        reals.extend(public.filter(|public| Some(*public) != private));
    }
    if reals.is_empty() {
        bail!("uplink {}: no global address; give it one", uplink.name);
    }
    Ok(reals)
}

/// Whether the fleet takes hosts of our network.
///
/// # Errors
/// If its settings list networks, and not ours.
pub fn network(config: &Config, fleet: &FleetSettings) -> Result<()> {
    if let Err(unlisted) = fleet.networks.check(&config.network) {
        bail!(
            "{unlisted}; correct `network` in the configuration of host {}, or add it to `networks` \
             in the fleet's settings",
            config.host
        );
    }
    Ok(())
}

/// The families of the fleet's overlay ranges in which we can have an overlay address, and those in
/// which we cannot for want of a real one to carry it.
///
/// # Errors
/// If there is none of the former.
pub fn families(
    uplink: &Uplink,
    reals: &[IpAddr],
    fleet: &FleetSettings,
) -> Result<(Vec<IpFamily>, Vec<IpFamily>)> {
    let in_fleet = |family: &IpFamily| fleet.range(*family).is_some();
    let in_reals = |family: &IpFamily| reals.iter().any(|real| IpFamily::of(*real) == *family);
    let (carried, missing): (Vec<_>, Vec<_>) =
        IpFamily::ALL.into_iter().filter(in_fleet).partition(in_reals);
    if carried.is_empty() {
        // We have some real address, so the fleet has one family and we have the other.
        let (theirs, ours) = (list(&missing), list(IpFamily::ALL.into_iter().filter(in_reals)));
        bail!(
            "uplink {}: no global {theirs} address, and the fleet's overlay ranges are {theirs} \
             alone ({}): an overlay address is carried by real addresses of its own family; give \
             the uplink an {theirs} address or the fleet an {ours} range",
            uplink.name,
            list(&fleet.overlay),
        );
    }
    Ok((carried, missing))
}

/// The registry's servers, as far as their names are resolved in time.
pub async fn endpoints(config: &Config) -> Vec<SocketAddr> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let resolve = async |endpoint: &str| {
        let found = timeout(PATIENCE, lookup_host(endpoint)).await;
        // Their answers are let in as all answers are.
        let failed = match found {
            Ok(Ok(addresses)) => return addresses.collect::<Vec<_>>(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "its name is not resolved".to_owned(),
        };
        tracing::warn!("registry server {endpoint}: {failed}");
        Vec::new()
    };
    let found = join_all(config.registry.endpoints().into_iter().map(resolve)).await;
    let found: BTreeSet<SocketAddr> = found.into_iter().flatten().collect();
    found.into_iter().collect()
}

pub fn me(
    config: &Config,
    uplink: &Uplink,
    overlays: Vec<IpAddr>,
    reals: Vec<IpAddr>,
    endpoints: Vec<SocketAddr>,
) -> Me {
    Me {
        id: config.host.clone(),
        network: config.network.clone(),
        role: config.role.clone(),
        overlays,
        reals,
        uplink_index: uplink.index,
        on_link: uplink.other_next_hop.clone(),
        vlans: uplink.vlans.iter().copied().collect(),
        reverse: Default::default(),
        endpoints,
    }
}

/// What we announce: of each family the address we send from as the private one.
pub fn record(config: &Config, me: &Me) -> MemberRecord {
    let mut private = Addresses::default();
    for real in me.reals.iter().rev() {
        private.insert(*real);
    }
    MemberRecord {
        format: FORMAT,
        id: me.id.clone(),
        overlays: me.overlays.clone(),
        private,
        public: config.public,
        network: me.network.clone(),
        role: config.role.clone(),
        labels: config.labels.clone().into(),
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
        overlays: me.overlays.clone(),
        reals: me.reals.clone(),
        uplink: config.uplink.clone(),
        uplink_index: me.uplink_index,
        routed: ranges.to_vec(),
        attach: means.to_string(),
        registry: config.registry.to_string(),
        revision: 0,
        members: 0,
        stale: None,
        held: None,
        registration: None,
        problems: Vec::new(),
        problem_count: 0,
    }
}

#[cfg(test)]
mod tests;
