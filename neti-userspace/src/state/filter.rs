//! What the maps of the filter must hold: the rules of one host in the form in which packets ask them.

use std::{collections::BTreeMap, sync::Arc};

use ipnet::IpNet;
use neti_common::{
    family::{Family, V4, V6},
    maps::{CLASS_WORDS, SET_WORDS, Settings, members},
    ropes::{Prefix, Ropes},
};

use crate::{
    fleet::{FleetSettings, Mode},
    rules::{self, Rules, ServiceSet},
    view::Me,
};

/// The contents of one slot of the filter's maps. They change as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterState {
    /// Four classes a word, the first in the lowest bits; empty if all are 0.
    pub classes: Vec<u64>,
    /// Set after set, up to the last word that is not 0.
    pub sets: Vec<u64>,
    /// By what is numbered, a role or a host ([`members`]), and its number.
    pub subjects: BTreeMap<(u32, u32), u32>,
    pub v4: Ropes<V4>,
    pub v6: Ropes<V6>,
    /// What goes into the settings of both families.
    pub policy: Policy,
}

/// The part of [`Settings`] that is the filter's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub mode: u8,
    pub echo: u8,
    pub members: u8,
    pub others: u32,
}

impl FilterState {
    /// Maps that nobody has filled.
    pub fn empty() -> Self {
        let Settings { mode, echo, members, others, .. } = Settings::<V4>::UNSET;
        Self {
            classes: Vec::new(),
            sets: Vec::new(),
            subjects: BTreeMap::new(),
            v4: Ropes::EMPTY,
            v6: Ropes::EMPTY,
            policy: Policy { mode, echo, members, others },
        }
    }

    /// Of a host in its fleet.
    pub fn of(me: &Me, fleet: &FleetSettings) -> Arc<Self> {
        Arc::new(Self::new(&rules::compile(fleet, &me.id, &me.role)))
    }

    pub fn new(rules: &Rules) -> Self {
        let roles = rules.roles.iter().map(|(role, set)| ((members::BY_ROLE, *role), *set));
        let hosts = rules.hosts.iter().map(|(host, set)| ((members::BY_HOST, *host), *set));
        let subject = |((kind, number), set): ((u8, u32), u32)| ((kind.into(), number), set);
        Self {
            classes: classes(&rules.classes),
            sets: sets(&rules.sets),
            subjects: roles.chain(hosts).map(subject).collect(),
            v4: ropes(&rules.allow),
            v6: ropes(&rules.allow),
            policy: Policy {
                mode: match rules.mode {
                    Mode::Observe => neti_common::maps::mode::OBSERVE,
                    Mode::Enforce => neti_common::maps::mode::ENFORCE,
                },
                echo: rules.echo.into(),
                members: match rules.restricted {
                    false => members::ALL,
                    true if rules.hosts.is_empty() => members::BY_ROLE,
                    true => members::BY_HOST,
                },
                others: rules.others,
            },
        }
    }

    /// The slot's part of a family's settings.
    pub fn put<F: Family>(&self, ropes: &Ropes<F>, settings: Settings<F>) -> Settings<F> {
        let Policy { mode, echo, members, others } = self.policy;
        let Ropes { rope, anywhere, .. } = *ropes;
        Settings { mode, echo, members, others, rope, anywhere, ..settings }
    }
}

fn classes(classes: &[u16]) -> Vec<u64> {
    let word =
        |four: &[u16]| four.iter().rev().fold(0, |word, class| word << 16 | u64::from(*class));
    let words: Vec<u64> = classes.chunks(4).map(word).collect();
    debug_assert!(words.len() <= CLASS_WORDS as usize);
    if words.iter().all(|word| *word == 0) { Vec::new() } else { words }
}

fn sets(sets: &[ServiceSet]) -> Vec<u64> {
    let mut words: Vec<u64> = Vec::with_capacity(sets.len() * SET_WORDS as usize);
    sets.iter().for_each(|set| words.extend(set.0.iter()));
    trimmed(words)
}

/// Without the zeros at its end.
pub fn trimmed(mut words: Vec<u64>) -> Vec<u64> {
    let used = words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
    words.truncate(used);
    words
}

/// Of the prefixes in `F`.
fn ropes<F: Family>(allow: &BTreeMap<IpNet, u32>) -> Ropes<F> {
    let prefix = |(range, set): (&IpNet, &u32)| -> Option<(Prefix<F>, u32)> {
        Some(((range.prefix_len().into(), F::of(range.network())?), *set))
    };
    Ropes::new(&allow.iter().filter_map(prefix).collect())
}
