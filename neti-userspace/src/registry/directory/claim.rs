//! Claims: which overlay address belongs to which host, for ever.
//!
//! `overlays/<address>` is made first and decides; `hosts/<id>`, in IPv6 `hosts6/<id>`, lets a host
//! find its own again. A crash between the two leaves a claim without its `hosts` file, which the
//! next start finishes.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use rand::Rng;

use super::{Tree, files};
use crate::{
    addresses::{self, IpFamily},
    fleet::FleetSettings,
    membership::HostId,
};

/// The address of `family` that host `id` has, or a random free one.
pub fn claim(tree: &Tree, id: &HostId, fleet: &FleetSettings, family: IpFamily) -> Result<IpAddr> {
    let hosts = tree.hosts(family);
    let address = match held(hosts, id, family)? {
        Some(address) => confirm(tree, id, address)?,
        None => finish(tree, id, fleet, family)?,
    };
    if !fleet.is_overlay(address) {
        bail!(
            "{}: {address} is in no overlay range of the fleet ({}); add its range to the fleet's \
             settings, or remove this file and overlays/{address} for another address",
            hosts.join(id.as_str()).display(),
            addresses::list(&fleet.overlay),
        );
    }
    Ok(address)
}

/// What `hosts/<id>` says.
fn held(hosts: &Path, id: &HostId, family: IpFamily) -> Result<Option<IpAddr>> {
    let Some(text) = files::read(hosts, id.as_str())? else { return Ok(None) };
    match text.parse() {
        Ok(address) if IpFamily::of(address) == family => Ok(Some(address)),
        _ => bail!(
            "{}: {text:?}: must be the host's {family} overlay address; remove it",
            hosts.join(id.as_str()).display(),
        ),
    }
}

/// Sees to it that the address that we have is locked to us.
fn confirm(tree: &Tree, id: &HostId, address: IpAddr) -> Result<IpAddr> {
    let name = address.to_string();
    if !files::create(&tree.overlays, &name, id.as_str().as_bytes())? {
        let owner = files::read(&tree.overlays, &name)?.unwrap_or_default();
        if owner != id.as_str() {
            bail!(
                "{}: {address} belongs to {owner:?} by overlays/{address}; remove the wrong one \
                 of the two files",
                tree.hosts(IpFamily::of(address)).join(id.as_str()).display(),
            );
        }
    }
    Ok(address)
}

/// Locks an address, or takes the one locked before a crash, and notes it under `hosts`.
fn finish(tree: &Tree, id: &HostId, fleet: &FleetSettings, family: IpFamily) -> Result<IpAddr> {
    let hosts = tree.hosts(family);
    let address = match begun(tree, id, family)? {
        Some(address) => address,
        None => lock(tree, id, fleet, family)?,
    };
    if files::create(hosts, id.as_str(), address.to_string().as_bytes())? {
        return Ok(address);
    }
    // Another process with our id was quicker: its address is ours, and the one we locked is free.
    let held =
        held(hosts, id, family)?.context("our claim was removed while we made it; start again")?;
    if held != address {
        files::remove(&tree.overlays, &address.to_string())?;
    }
    Ok(held)
}

/// An address of `family` that is locked to `id`.
fn begun(tree: &Tree, id: &HostId, family: IpFamily) -> Result<Option<IpAddr>> {
    for address in locked(tree, family)? {
        let owner = files::read(&tree.overlays, &address.to_string())?;
        if owner.as_deref() == Some(id.as_str()) {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

/// The addresses of `family` that are locked.
fn locked(tree: &Tree, family: IpFamily) -> Result<BTreeSet<IpAddr>> {
    let names = files::names(&tree.overlays)?;
    let addresses = names.iter().filter_map(|name| name.parse().ok());
    Ok(addresses.filter(|address| IpFamily::of(*address) == family).collect())
}

/// Locks a random free address of the fleet's first range of `family` to `id`. Ranges may be far
/// too large to look at each address: only the claims are.
fn lock(tree: &Tree, id: &HostId, fleet: &FleetSettings, family: IpFamily) -> Result<IpAddr> {
    let range = fleet.range(family);
    let range = range.with_context(|| format!("the fleet has no {family} overlay range"))?;
    let (first, last) = usable(&range);
    let taken = locked(tree, family)?.into_iter().map(bits);
    let mut taken: BTreeSet<u128> = taken.filter(|bits| (first..=last).contains(bits)).collect();
    loop {
        let free = last - first + 1 - taken.len() as u128;
        if free == 0 {
            bail!(
                "{}: overlay range {range} is full: all {} addresses are claimed; remove the \
                 claims of hosts that are no more (overlays/<address> and {}/<id>), or put a \
                 larger {family} range first in the fleet's settings",
                tree.overlays.display(),
                taken.len(),
                tree.hosts(family).file_name().unwrap_or_default().display(),
            );
        }
        let bits = nth_free(first, &taken, rand::rng().random_range(0..free));
        let address = address(family, bits);
        if files::create(&tree.overlays, &address.to_string(), id.as_str().as_bytes())? {
            return Ok(address);
        }
        taken.insert(bits);
    }
}

/// The first and the last address that a host may have: not the network's own, which the route may
/// name as its next hop and which in IPv6 belongs to the routers (RFC 4291 section 2.6.1), nor the
/// last one, IPv4's broadcast address.
fn usable(range: &IpNet) -> (u128, u128) {
    (bits(range.network()) + 1, bits(range.broadcast()) - 1)
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(family: IpFamily, bits: u128) -> IpAddr {
    match family {
        IpFamily::V4 => Ipv4Addr::from_bits(bits as u32).into(),
        IpFamily::V6 => Ipv6Addr::from_bits(bits).into(),
    }
}

/// The `n`th address, counted from 0, of those that begin at `first` and are not `taken`.
fn nth_free(first: u128, taken: &BTreeSet<u128>, n: u128) -> u128 {
    let mut address = first + n;
    for &other in taken {
        if other > address {
            break;
        }
        address += 1;
    }
    address
}

#[cfg(test)]
mod tests;
