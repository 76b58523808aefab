//! temporary until the policy is merged
use crate::{
    fleet::{FleetSettings, Mode, Transport},
    membership::HostId,
};
use ipnet::IpNet;
use neti_common::maps::service;
use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    pub mode: Mode,
    pub echo: bool,
    pub restricted: bool,
    pub classes: Vec<u16>,
    pub sets: Vec<ServiceSet>,
    pub allow: BTreeMap<IpNet, u32>,
    pub roles: BTreeMap<u32, u32>,
    pub hosts: BTreeMap<u32, u32>,
    pub others: u32,
}
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceSet(pub [u64; 32]);

pub fn compile(fleet: &FleetSettings, _id: &HostId, _role: &str) -> Rules {
    let mut bits: Vec<Vec<(u32, u32)>> = vec![
        fleet
            .open
            .iter()
            .map(|open| {
                let base = match open.transport {
                    Transport::Tcp => 0,
                    Transport::Udp => service::FIRST_UDP,
                };
                (base + u32::from(open.ports.first), base + u32::from(open.ports.last))
            })
            .collect(),
    ];
    let mut allow = BTreeMap::new();
    for prefix in fleet.allow.iter().flat_map(|rule| rule.from.clone()) {
        let mut services = Vec::new();
        for rule in
            fleet.allow.iter().filter(|rule| rule.from.iter().any(|from| from.contains(&prefix)))
        {
            match rule.protocol {
                None => services.push((0, service::COUNT - 1)),
                Some(p) if rule.ports.is_empty() => {
                    services.push((service::of(p, 0), service::of(p, 65_535)))
                }
                Some(p) => {
                    for ports in &rule.ports {
                        services.push((service::of(p, ports.first), service::of(p, ports.last)))
                    }
                }
            }
        }
        bits.push(services);
        allow.insert(prefix, bits.len() as u32 - 1);
    }
    let mut known: BTreeMap<Vec<usize>, u16> = [(Vec::new(), 0)].into();
    let mut sets = vec![ServiceSet([0; 32]); bits.len()];
    let mut classes = Vec::new();
    for service in 0..service::COUNT {
        let within: Vec<usize> = bits
            .iter()
            .enumerate()
            .filter(|(_, s)| s.iter().any(|(a, b)| *a <= service && service <= *b))
            .map(|(n, _)| n)
            .collect();
        let next = known.len() as u16;
        let class = *known.entry(within.clone()).or_insert(next);
        for n in within {
            sets[n].0[usize::from(class) / 64] |= 1 << (class % 64);
        }
        classes.push(class);
    }
    Rules {
        mode: fleet.mode,
        echo: fleet.echo,
        restricted: false,
        classes,
        sets,
        allow,
        roles: BTreeMap::new(),
        hosts: BTreeMap::new(),
        others: u32::MAX,
    }
}
