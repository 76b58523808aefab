//! What hosts have and new settings would take away; `file` is what errors call
//! these. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anyhow::{Result, bail};

use crate::{
    addresses::list,
    fleet::FleetSettings,
    membership::{HostId, Members},
};

/// So many are named.
const NAMED: usize = 3;

/// Fails if addresses that are locked to hosts lie in the old ranges and in none of the new ones.
pub fn of_addresses(
    file: &str,
    old: Option<&FleetSettings>,
    new: &FleetSettings,
    claims: &BTreeMap<IpAddr, HostId>,
) -> Result<()> {
    let was_there = |address: IpAddr| old.is_none_or(|old| old.is_overlay(address));
    let lost =
        claims.iter().filter(|(address, _)| was_there(**address) && !new.is_overlay(**address));
    let lost: Vec<_> = lost.map(|(address, host)| format!("{address} ({host})")).collect();
    if lost.is_empty() {
        return Ok(());
    }
    bail!(
        "{file}: overlay = {}: would no longer contain {}; keep their range, `neti fleet release` \
         hosts that are no more, or take the addresses away with --force",
        list(&new.overlay),
        some(&lost, "address that a host has", "addresses that hosts have"),
    )
}

/// Fails if members are in networks that were listed and no longer are.
pub fn of_networks(
    file: &str,
    old: &FleetSettings,
    new: &FleetSettings,
    members: &Members,
) -> Result<()> {
    let left_out =
        |network: &str| old.networks.check(network).is_ok() && new.networks.check(network).is_err();
    let lost = members.values().filter(|record| left_out(&record.network));
    let (lost, networks): (Vec<_>, BTreeSet<_>) = lost
        .map(|record| (format!("{} ({})", record.id, record.network), record.network.as_str()))
        .unzip();
    if lost.is_empty() {
        return Ok(());
    }
    bail!(
        "{file}: networks: would leave out {}; list {}, or leave them out with --force",
        some(&lost, "member", "members"),
        list(networks),
    )
}

/// Fails if an address that a host has would stand for another, or lead to somebody who is no member.
pub fn of_overrides(
    file: &str,
    old: Option<&FleetSettings>,
    new: &FleetSettings,
    claims: &BTreeMap<IpAddr, HostId>,
    members: &Members,
) -> Result<()> {
    let stood = |overlay: &IpAddr, real: &IpAddr| {
        old.is_some_and(|old| old.policy.nat_overrides.get(overlay) == Some(real))
    };
    let has = |real: IpAddr| {
        let mut members = members.values();
        members.find(|member| member.private.contains(real) || member.public.contains(real))
    };
    let overrides = new.policy.nat_overrides.iter();
    let lost: Vec<String> = overrides
        .filter(|(overlay, real)| !stood(overlay, real))
        .flat_map(|(overlay, real)| {
            let claimed = claims.get(overlay).map(|host| format!("{overlay} ({host})"));
            let real = has(*real).map(|member| format!("{real} ({})", member.id));
            claimed.into_iter().chain(real)
        })
        .collect();
    if lost.is_empty() {
        return Ok(());
    }
    bail!(
        "{file}: nat_overrides: would take {}; use other addresses, `neti fleet release` hosts that are no \
         more, or take them away with --force",
        some(&lost, "address that a host has", "addresses that hosts have"),
    )
}

/// `2 members: hudson (ec2), walden (vpc)`; of many only the first.
pub fn some(lost: &[String], one: &str, more: &str) -> String {
    let named = lost.iter().take(NAMED);
    let rest = if lost.len() > NAMED { ", ..." } else { "" };
    let what = if lost.len() == 1 { one } else { more };
    format!("{} {what}: {}{rest}", lost.len(), list(named))
}
