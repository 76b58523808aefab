//! What hosts have and new settings would take away. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::refusal::Refusal;
use crate::{
    addresses::list,
    fleet::FleetSettings,
    membership::{HostId, Members},
};

/// So many are named.
const NAMED: usize = 3;

/// Refused if addresses that are locked to hosts lie in the old ranges and in none of the new ones.
pub fn of_addresses(
    old: Option<&FleetSettings>,
    new: &FleetSettings,
    claims: &BTreeMap<IpAddr, HostId>,
) -> Option<Refusal> {
    let was_there = |address: IpAddr| old.is_none_or(|old| old.is_overlay(address));
    let lost =
        claims.iter().filter(|(address, _)| was_there(**address) && !new.is_overlay(**address));
    let lost: Vec<_> = lost.map(|(address, host)| format!("{address} ({host})")).collect();
    if lost.is_empty() {
        return None;
    }
    let what = format!(
        "overlay = {}: would no longer contain {}",
        list(&new.overlay),
        some(&lost, "address that a host has", "addresses that hosts have"),
    );
    let instead = "keep their range, `neti fleet release` hosts that are no more, or take the addresses away with \
                   --force";
    Some(Refusal::new(what, instead))
}

/// Refused if members are in networks that were listed and no longer are.
pub fn of_networks(old: &FleetSettings, new: &FleetSettings, members: &Members) -> Option<Refusal> {
    let left_out =
        |network: &str| old.networks.check(network).is_ok() && new.networks.check(network).is_err();
    let lost = members.values().filter(|record| left_out(&record.network));
    let (lost, networks): (Vec<_>, BTreeSet<_>) = lost
        .map(|record| (format!("{} ({})", record.id, record.network), record.network.as_str()))
        .unzip();
    if lost.is_empty() {
        return None;
    }
    let what = format!("networks: would leave out {}", some(&lost, "member", "members"));
    Some(Refusal::new(what, format!("list {}, or leave them out with --force", list(networks))))
}

/// Refused if an address that a host has would stand for another, or lead to somebody who is no member.
pub fn of_overrides(
    old: Option<&FleetSettings>,
    new: &FleetSettings,
    claims: &BTreeMap<IpAddr, HostId>,
    members: &Members,
) -> Option<Refusal> {
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
        return None;
    }
    let lost = some(&lost, "address that a host has", "addresses that hosts have");
    let instead = "use other addresses, `neti fleet release` hosts that are no more, or take them away with --force";
    Some(Refusal::new(format!("nat_overrides: would take {lost}"), instead))
}

/// `2 members: hudson (ec2), walden (vpc)`; of many only the first.
pub fn some(lost: &[String], one: &str, more: &str) -> String {
    let named = lost.iter().take(NAMED);
    let rest = if lost.len() > NAMED { ", ..." } else { "" };
    let what = if lost.len() == 1 { one } else { more };
    format!("{} {what}: {}{rest}", lost.len(), list(named))
}
