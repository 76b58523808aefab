//! What strangers have to come past.

use std::net::IpAddr;

use anyhow::Result;
use harness::{
    bpf::{Kind, Sieve},
    family::Family,
    flood::prefix,
    rivals::Rival,
    topology::UPLINK,
};

use super::policy::Policy;
use crate::{
    cost::lab::{Lab, Neti, Pair, RIGHT, settings},
    in_force::{Slot, all_follow},
};

/// A pair, and what is between its server and others.
pub struct Gate<'a> {
    pub name: &'static str,
    pub pair: &'a Pair,
    /// The server's address, as a member dials it.
    pub member: IpAddr,
    lab: &'a Lab,
    by: By<'a>,
}

enum By<'a> {
    Nothing,
    /// A program that drops strangers and does nothing else, where they are refused.
    Sieve(Kind),
    Rival(Rival),
    /// With what tells when each host judges by other rules.
    Neti(&'a Neti, [Slot; 2]),
}

/// All of them; what others are compared with comes first.
pub fn all(lab: &Lab) -> Result<Vec<Gate<'_>>> {
    let gate = |name, pair, member, by| Gate { name, pair, member, lab, by };
    let bare = |name, by| gate(name, &lab.bare, lab.bare.right.real(lab.family), by);
    let mut all = vec![
        bare("drop in XDP", By::Sieve(Kind::Xdp)),
        bare("drop in tcx", By::Sieve(Kind::SchedClassifier)),
        bare("bare", By::Nothing),
    ];
    for (rival, pair) in &lab.rivals {
        all.push(gate(rival.name(), pair, lab.family.ghost(RIGHT), By::Rival(*rival)));
    }
    for (name, neti) in [("neti", &lab.neti), ("neti XDP", &lab.xdp)] {
        let slots = [Slot::of(&neti.left)?, Slot::of(&neti.right)?];
        let member = neti.right.overlay(lab.family);
        all.push(gate(name, &neti.pair, member, By::Neti(neti, slots)));
    }
    Ok(all)
}

impl Gate<'_> {
    /// The server's address, as a stranger dials it.
    pub fn real(&self) -> IpAddr {
        self.pair.right.real(self.family())
    }

    fn family(&self) -> Family {
        self.lab.family
    }

    pub fn refuses(&self) -> bool {
        !matches!(self.by, By::Nothing)
    }

    pub fn lets_in(&self) -> bool {
        !matches!(self.by, By::Sieve(_))
    }

    /// From now on the server goes by a policy of so many rules.
    pub fn allow(&mut self, rules: usize) -> Result<()> {
        let family = self.family();
        let policy = Policy { family, rules, stranger: self.pair.stranger.real(family) };
        match &mut self.by {
            By::Nothing | By::Sieve(_) => Ok(()),
            By::Rival(rival) => rival.allow(&self.pair.right.netns, family, &policy.allow()),
            By::Neti(neti, slots) => {
                let mut settings = settings(self.lab.range());
                settings["allow"] = policy.allow_settings();
                settings["member_rules"] = policy.member_settings();
                all_follow(slots, &neti.fleet, settings).map(drop)
            }
        }
    }

    /// Does something while strangers are refused.
    pub fn closed<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let By::Sieve(kind) = self.by else { return work() };
        let (server, family) = (&self.pair.right.netns, self.family());
        let _sieve = Sieve::on(server, UPLINK, kind, family, prefix(family))?;
        work()
    }
}
