//! Allow rules that add nothing.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::Shadowed;
use crate::{
    fleet::AllowRule,
    rules::{services::Services, sets::Sets, sources},
};

/// What the fleet's rules let in, as far as others are compared with it.
pub struct Fleet {
    sets: Sets,
    /// By prefix, what its sources may reach.
    merged: BTreeMap<IpNet, u32>,
}

/// What a prefix of a rule adds nothing to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Open,
    Fleet,
    /// Another rule of the same part, by its index.
    Rule(usize),
    Several,
}

/// A prefix that holds the next one, or is the same.
struct Around {
    prefix: IpNet,
    /// What its sources may reach.
    merged: u32,
    /// The different sets that rules name with it, each with the first of these rules.
    named: Vec<(u32, usize)>,
}

impl Fleet {
    /// Adds those of its `rules` that add nothing to others and to what is `open`.
    pub fn new(rules: &[AllowRule], open: &Services, shadowed: &mut Vec<Shadowed>) -> Self {
        let mut fleet = Self { sets: Sets::default(), merged: BTreeMap::new() };
        fleet.beside("", rules, open, shadowed);
        let named = sources::named(rules.iter(), &mut fleet.sets);
        fleet.merged = sources::merged(named, &mut fleet.sets).into_iter().collect();
        fleet
    }

    /// Adds those of the `rules` of a role or a host that add nothing to each other, to the fleet's and
    /// to what is `open`; their keys begin with `part`.
    pub fn beside(
        &mut self,
        part: &str,
        rules: &[AllowRule],
        open: &Services,
        shadowed: &mut Vec<Shadowed>,
    ) {
        let mut added: Vec<Vec<By>> = vec![Vec::new(); rules.len()];
        for (rule, by) in self.covered(rules, open) {
            added[rule].push(by);
        }
        for (index, (rule, by)) in rules.iter().zip(added).enumerate() {
            let Some(first) = by.first().filter(|_| by.len() == rule.from.len()) else { continue };
            let one = by.iter().all(|by| by == first);
            let by = match if one { *first } else { By::Several } {
                By::Open => "`open`".to_owned(),
                By::Fleet => "the fleet's `allow`".to_owned(),
                By::Rule(other) => format!("{part}allow[{other}]"),
                By::Several => "other rules".to_owned(),
            };
            shadowed.push(Shadowed { key: format!("{part}allow[{index}]"), by });
        }
    }

    /// The rules, by their indices, once for each of their prefixes whose sources may reach as much
    /// without them.
    fn covered(&mut self, rules: &[AllowRule], open: &Services) -> Vec<(usize, By)> {
        let mut named = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let set = self.sets.index(rule.services());
            named.extend(rule.from.iter().map(|prefix| (*prefix, set, index)));
        }
        // As in `sources::merged`; of rules that say the same the first one is needed.
        named.sort_unstable();
        let mut covered = Vec::new();
        let mut around: Vec<Around> = Vec::new();
        for same in named.chunk_by(|(one, ..), (other, ..)| one == other) {
            let prefix = same[0].0;
            while around.last().is_some_and(|around| !around.prefix.contains(&prefix)) {
                around.pop();
            }
            let mut group: Vec<(u32, usize)> = Vec::new();
            for (_, set, index) in same {
                if group.last().is_none_or(|(last, _)| last != set) {
                    group.push((*set, *index));
                }
            }
            for (_, set, index) in same {
                let by = self.by(prefix, (*set, *index), &group, &around, open);
                covered.extend(by.map(|by| (*index, by)));
            }
            let mut merged = around.last().map(|around| around.merged);
            for (set, _) in &group {
                merged = Some(merged.map_or(*set, |merged| self.sets.union(merged, *set)));
            }
            if let Some(merged) = merged {
                around.push(Around { prefix, merged, named: group });
            }
        }
        covered
    }

    /// What makes a rule's word about `prefix` needless: `group` are all words about it, `around` those
    /// about the prefixes around it.
    fn by(
        &self,
        prefix: IpNet,
        (set, index): (u32, usize),
        group: &[(u32, usize)],
        around: &[Around],
        open: &Services,
    ) -> Option<By> {
        let services = self.sets.get(set);
        let holds = |set: u32| self.sets.get(set).contains(&services);
        if open.contains(&services) {
            return Some(By::Open);
        }
        if sources::longest(&self.merged, prefix).is_some_and(|set| holds(*set)) {
            return Some(By::Fleet);
        }
        if around.last().is_some_and(|around| holds(around.merged)) {
            let named = around.iter().rev().flat_map(|around| &around.named);
            let one = named.into_iter().find(|(set, _)| holds(*set));
            return Some(one.map_or(By::Several, |(_, index)| By::Rule(*index)));
        }
        let other = |(other_set, other): &&(u32, usize)| {
            if *other_set == set { *other != index } else { holds(*other_set) }
        };
        group.iter().find(other).map(|(_, index)| By::Rule(*index))
    }
}
