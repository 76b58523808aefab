//! Claims: which overlay address belongs to which host, for ever.
//!
//! `overlays/<address>` is made first and decides; `hosts/<id>`, in IPv6 `hosts6/<id>`, lets a host
//! find its own again. A crash between the two leaves a claim without its `hosts` file, which the
//! next start finishes.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Error, Result, anyhow, bail};

use super::{Tree, files};
use crate::{
    addresses::{self, Addresses, IpFamily},
    fleet::FleetSettings,
    membership::HostId,
    registry::allocation::Pool,
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
    if let Some(real) = fleet.policy.nat_overrides.get(&address) {
        bail!(
            "{}: {address} stands for {real} by the fleet's nat_overrides; take it out of them, or \
             remove this file and overlays/{address} for another address",
            hosts.join(id.as_str()).display(),
        );
    }
    Ok(address)
}

/// All locked addresses, and to whom.
pub fn all(tree: &Tree) -> Result<BTreeMap<IpAddr, HostId>> {
    let mut all = BTreeMap::new();
    // The first settings are written before there is anything else.
    if !tree.overlays.exists() {
        return Ok(all);
    }
    for name in files::names(&tree.overlays)? {
        let owner = files::read(&tree.overlays, &name)?.and_then(|owner| owner.parse().ok());
        if let (Ok(address), Some(owner)) = (name.parse(), owner) {
            all.insert(address, owner);
        }
    }
    Ok(all)
}

/// Whether the record of host `id` was touched within `ttl` by the clock that gives files their
/// times, which on a network file system is the server's.
pub fn is_fresh(tree: &Tree, id: &HostId, ttl: Duration) -> Result<bool> {
    let record = tree.members.join(id.as_str());
    let Ok(touched) = std::fs::metadata(&record).and_then(|metadata| metadata.modified()) else {
        return Ok(false);
    };
    let now = files::now(&tree.members)?;
    Ok(now.duration_since(touched).is_ok_and(|silent| silent <= ttl))
}

/// What is wrong where the addresses of a live host are to be released.
pub fn lives(tree: &Tree, id: &HostId) -> Error {
    let record = tree.members.join(id.as_str());
    anyhow!(
        "{}: host {id} is a member of the fleet; end its neti, and release it when it is gone",
        record.display()
    )
}

/// Unlocks the addresses of host `id`, which must be silent, and removes what it left behind.
pub fn release(tree: &Tree, id: &HostId) -> Result<Addresses> {
    files::remove(&tree.members, id.as_str())?;
    let mut released = Addresses::default();
    // In this order a crash leaves a lock, which the next claim or release of this host takes up.
    for family in IpFamily::ALL {
        files::remove(tree.hosts(family), id.as_str())?;
    }
    for (address, _) in all(tree)?.into_iter().filter(|(_, owner)| owner == id) {
        files::remove(&tree.overlays, &address.to_string())?;
        released.insert(address);
    }
    Ok(released)
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
    // A host whose claims an operator makes may not even try to write there.
    if files::read(&tree.overlays, &name)?.as_deref() == Some(id.as_str()) {
        return Ok(address);
    }
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
    let locked = locked(tree, family)?;
    let mut pool = Pool::new(range, locked.into_iter().chain(fleet.overridden()));
    loop {
        let Some(address) = pool.draw() else {
            bail!(
                "{}: overlay range {range} is full: all {} addresses are claimed or in \
                 nat_overrides; remove the claims of hosts that are no more (overlays/<address> and {}/<id>), or put a \
                 larger {family} range first in the fleet's settings",
                tree.overlays.display(),
                pool.taken(),
                tree.hosts(family).file_name().unwrap_or_default().display(),
            );
        };
        if files::create(&tree.overlays, &address.to_string(), id.as_str().as_bytes())? {
            return Ok(address);
        }
        pool.take(address);
    }
}

#[cfg(test)]
mod tests;
