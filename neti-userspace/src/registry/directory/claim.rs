//! Claims: which overlay address belongs to which host, for ever.
//!
//! `overlays/<address>` is made first and decides; `hosts/<id>` lets a host find its own again. A
//! crash between the two leaves a claim without its `hosts` file, which the next start finishes.

use std::{collections::BTreeSet, net::Ipv4Addr};

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;
use rand::Rng;

use super::{Tree, files};
use crate::{fleet::FleetSettings, membership::HostId};

/// The address of host `id`: the one it has, or a random free one.
pub fn claim(tree: &Tree, id: &HostId, fleet: &FleetSettings) -> Result<Ipv4Addr> {
    let address = match held(tree, id)? {
        Some(address) => confirm(tree, id, address)?,
        None => finish(tree, id, fleet)?,
    };
    if !fleet.is_overlay(address) {
        bail!(
            "{}: {address} is in no overlay range of the fleet ({}); add its range to the fleet's \
             settings, or remove this file and overlays/{address} for another address",
            tree.hosts.join(id.as_str()).display(),
            fleet.overlay.iter().map(Ipv4Net::to_string).collect::<Vec<_>>().join(", "),
        );
    }
    Ok(address)
}

/// What `hosts/<id>` says.
fn held(tree: &Tree, id: &HostId) -> Result<Option<Ipv4Addr>> {
    let Some(text) = files::read(&tree.hosts, id.as_str())? else { return Ok(None) };
    let address = text.parse().with_context(|| {
        let file = tree.hosts.join(id.as_str());
        format!("{}: {text:?}: must be the host's overlay address; remove it", file.display())
    })?;
    Ok(Some(address))
}

/// Sees to it that the address that we have is locked to us.
fn confirm(tree: &Tree, id: &HostId, address: Ipv4Addr) -> Result<Ipv4Addr> {
    let name = address.to_string();
    if !files::create(&tree.overlays, &name, id.as_str().as_bytes())? {
        let owner = files::read(&tree.overlays, &name)?.unwrap_or_default();
        if owner != id.as_str() {
            bail!(
                "{}: {address} belongs to {owner:?} by overlays/{address}; remove the wrong one \
                 of the two files",
                tree.hosts.join(id.as_str()).display(),
            );
        }
    }
    Ok(address)
}

/// Locks an address, or takes the one locked before a crash, and notes it under `hosts`.
fn finish(tree: &Tree, id: &HostId, fleet: &FleetSettings) -> Result<Ipv4Addr> {
    let address = match begun(tree, id)? {
        Some(address) => address,
        None => lock(tree, id, fleet)?,
    };
    if files::create(&tree.hosts, id.as_str(), address.to_string().as_bytes())? {
        return Ok(address);
    }
    // Another process with our id was quicker: its address is ours, and the one we locked is free.
    let held = held(tree, id)?.context("our claim was removed while we made it; start again")?;
    if held != address {
        files::remove(&tree.overlays, &address.to_string())?;
    }
    Ok(held)
}

/// An address that is locked to `id`.
fn begun(tree: &Tree, id: &HostId) -> Result<Option<Ipv4Addr>> {
    let mut names = files::names(&tree.overlays)?;
    names.sort();
    for name in names {
        if let Ok(address) = name.parse()
            && files::read(&tree.overlays, &name)?.as_deref() == Some(id.as_str())
        {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

/// Locks a random free address of the fleet's first range to `id`.
fn lock(tree: &Tree, id: &HostId, fleet: &FleetSettings) -> Result<Ipv4Addr> {
    let range = fleet.overlay.first().context("the fleet has no overlay range")?;
    let (first, last) = usable(range);
    let taken = files::names(&tree.overlays)?.into_iter().filter_map(|name| name.parse().ok());
    let mut taken: BTreeSet<u32> =
        taken.map(Ipv4Addr::to_bits).filter(|bits| (first..=last).contains(bits)).collect();
    loop {
        let free = last - first + 1 - taken.len() as u32;
        if free == 0 {
            bail!(
                "{}: overlay range {range} is full: all {} addresses are claimed; remove the \
                 claims of hosts that are no more (overlays/<address> and hosts/<id>), or put a \
                 larger range first in the fleet's settings",
                tree.overlays.display(),
                taken.len(),
            );
        }
        let bits = nth_free(first, &taken, rand::rng().random_range(0..free));
        let address = Ipv4Addr::from_bits(bits);
        if files::create(&tree.overlays, &address.to_string(), id.as_str().as_bytes())? {
            return Ok(address);
        }
        taken.insert(bits);
    }
}

/// The first and the last address that a host may have: not the network's own, which the route may
/// name as its next hop, nor the broadcast address.
fn usable(range: &Ipv4Net) -> (u32, u32) {
    (range.network().to_bits() + 1, range.broadcast().to_bits() - 1)
}

/// The `n`th address, counted from 0, of those that begin at `first` and are not `taken`.
fn nth_free(first: u32, taken: &BTreeSet<u32>, n: u32) -> u32 {
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
