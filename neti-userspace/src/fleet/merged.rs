//! What each source prefix may reach, as the maps hold it that have room for
//! [`ALLOW_ENTRIES`] protocols and ranges of ports for each. What has no room is not let in.

use std::collections::BTreeMap;

use ipnet::IpNet;
use neti_common::maps::{ALLOW_ENTRIES, Allow, AllowEntry};

use super::AllowRule;
use crate::rules::{
    services::{self, Services, TCP, UDP},
    sets::Sets,
    sources,
};

pub fn allow(rules: &[AllowRule]) -> BTreeMap<IpNet, Allow> {
    let mut sets = Sets::default();
    let named = sources::named(rules.iter(), &mut sets);
    let merged = sources::merged(named, &mut sets);
    merged.into_iter().map(|(prefix, set)| (prefix, entries(&sets.get(set)))).collect()
}

fn entries(services: &Services) -> Allow {
    let entry = |protocol, first, last| AllowEntry { first, last, protocol, _pad: 0 };
    let mut all = Vec::new();
    if *services == Services::all() {
        all.push(entry(AllowEntry::ANY_PROTOCOL, 0, u16::MAX));
    } else {
        for protocol in 0..=u8::MAX {
            let (begin, end) = services::range(protocol, None);
            for (first, last) in services.ranges() {
                let (first, last) = ((*first).max(begin), (*last).min(end));
                if first > last {
                    continue;
                }
                match protocol {
                    TCP | UDP => {
                        all.push(entry(protocol, (first - begin) as u16, (last - begin) as u16));
                    }
                    _ => all.push(entry(protocol, 0, u16::MAX)),
                }
            }
        }
    }
    let mut allow = Allow { count: all.len().min(ALLOW_ENTRIES) as u32, ..Allow::default() };
    allow.entries.iter_mut().zip(all).for_each(|(room, entry)| *room = entry);
    allow
}
