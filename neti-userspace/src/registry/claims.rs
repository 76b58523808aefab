//! Which overlay address belongs to which host, for ever, in a registry with transactions:
//! `overlays/<address>` and `hosts/<id>` are written together or not at all.

use std::{future::Future, net::IpAddr};

use anyhow::{Context, anyhow};

use super::{RegistryError, Result, allocation::Pool, hosts_key};
use crate::{
    addresses::{self, Addresses, IpFamily},
    fleet::FleetSettings,
    membership::HostId,
};

/// How a lock came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    Done,
    /// Some host has the address.
    AddressTaken,
    /// The host has an address of this family.
    HostHasOne,
}

/// What a registry can do about locks.
pub trait Locks {
    /// A key of the tree as messages name it, with the registry and the prefix.
    fn key(&self, key: &str) -> String;

    /// The text of a key.
    fn read(&self, key: &str) -> impl Future<Output = Result<Option<String>>> + Send;

    /// The names under `overlays`.
    fn locked(&self) -> impl Future<Output = Result<Vec<String>>> + Send;

    /// Writes `overlays/<address>` and `hosts/<id>`, unless one of them is there.
    fn lock(&self, id: &HostId, address: IpAddr) -> impl Future<Output = Result<Lock>> + Send;
}

/// After so many addresses that turned out to be taken all claims are listed.
const GUESSES: usize = 8;

/// The address that host `id` has in each of `families`, or a random free one.
pub async fn claim(
    locks: &impl Locks,
    id: &HostId,
    fleet: &FleetSettings,
    families: &[IpFamily],
) -> Result<Addresses> {
    let mut claimed = Addresses::default();
    for family in families {
        claimed.insert(of_family(locks, id, fleet, *family).await?);
    }
    Ok(claimed)
}

async fn of_family(
    locks: &impl Locks,
    id: &HostId,
    fleet: &FleetSettings,
    family: IpFamily,
) -> Result<IpAddr> {
    let address = match held(locks, id, family).await? {
        Some(address) => address,
        None => take(locks, id, fleet, family).await?,
    };
    if !fleet.is_overlay(address) {
        let key = locks.key(&host_key(family, id));
        return Err(RegistryError::Other(anyhow!(
            "{key}: {address} is in no overlay range of the fleet ({}); add its range to the \
             fleet's settings, or `neti fleet release {id}` for another address",
            addresses::list(&fleet.overlay),
        )));
    }
    if let Some(real) = fleet.policy.nat_overrides.get(&address) {
        let key = locks.key(&host_key(family, id));
        return Err(RegistryError::Other(anyhow!(
            "{key}: {address} stands for {real} by the fleet's nat_overrides; take it out of them, or \
             `neti fleet release {id}` for another address",
        )));
    }
    Ok(address)
}

/// The address that the host has, if the lock agrees.
async fn held(locks: &impl Locks, id: &HostId, family: IpFamily) -> Result<Option<IpAddr>> {
    let key = host_key(family, id);
    let Some(text) = locks.read(&key).await? else { return Ok(None) };
    let address = match text.parse() {
        Ok(address) if IpFamily::of(address) == family => address,
        _ => {
            return Err(RegistryError::Other(anyhow!(
                "{}: {text:?}: must be the host's {family} overlay address; `neti fleet release \
                 {id}` removes it",
                locks.key(&key),
            )));
        }
    };
    let owner = locks.read(&format!("overlays/{address}")).await?;
    if owner.as_deref() != Some(id.as_str()) {
        let owner = owner.map_or("nobody".to_owned(), |owner| format!("{owner:?}"));
        return Err(RegistryError::Other(anyhow!(
            "{}: {address} belongs to {owner} by overlays/{address}; `neti fleet release {id}` \
             gives the host another address",
            locks.key(&key),
        )));
    }
    Ok(Some(address))
}

/// Locks a random free address of the fleet's first range of `family`.
async fn take(
    locks: &impl Locks,
    id: &HostId,
    fleet: &FleetSettings,
    family: IpFamily,
) -> Result<IpAddr> {
    let range = fleet.range(family);
    let range = range.with_context(|| format!("the fleet has no {family} overlay range"))?;
    // Most of a range is free, and to list its claims is dear.
    let guesses = Pool::new(range, fleet.overridden());
    for address in (0..GUESSES).filter_map(|_| guesses.draw()) {
        if let Some(address) = attempt(locks, id, address).await? {
            return Ok(address);
        }
    }
    let names = locks.locked().await?;
    let locked = names.iter().filter_map(|name| name.parse().ok());
    let mut pool = Pool::new(range, locked.chain(fleet.overridden()));
    while let Some(address) = pool.draw() {
        if let Some(address) = attempt(locks, id, address).await? {
            return Ok(address);
        }
        pool.take(address);
    }
    Err(RegistryError::Other(anyhow!(
        "{}: overlay range {range} is full: all {} addresses are claimed or in nat_overrides; `neti \
         fleet release` the hosts that are no more, or put a larger {family} range first in the fleet's settings",
        locks.key("overlays"),
        pool.taken(),
    )))
}

/// The address that is ours after an attempt to lock this one; `None` if somebody else has it.
async fn attempt(locks: &impl Locks, id: &HostId, address: IpAddr) -> Result<Option<IpAddr>> {
    let locked = locks.lock(id, address).await.map_err(|error| match error {
        RegistryError::Refused(why) => RegistryError::Refused(format!(
            "{why}; where hosts may not lock addresses, an operator does: `neti fleet claim {id}`"
        )),
        error => error,
    });
    match locked? {
        Lock::Done => Ok(Some(address)),
        Lock::AddressTaken => Ok(None),
        // Another process with our id was quicker: its address is ours.
        Lock::HostHasOne => {
            let held = held(locks, id, IpFamily::of(address)).await?;
            held.context("our claim was removed while we made it; start again")
                .map(Some)
                .map_err(RegistryError::Other)
        }
    }
}

/// The key under which the address of a host stands.
pub fn host_key(family: IpFamily, id: &HostId) -> String {
    format!("{}/{id}", hosts_key(family))
}
