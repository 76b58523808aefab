//! Two hosts and what is between an application and the wire on them.

use std::net::IpAddr;

use anyhow::Result;
use harness::{
    container::masquerading,
    family::Family,
    host::{Fleet, Host, HostOptions, start_all},
    rivals::Rival,
    topology::{LAN, Lan, Site},
    traces::Traces,
};
use serde_json::json;

use crate::lab;

/// What is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Neither an overlay nor a filter.
    Bare,
    Neti,
    /// neti keeping its flows out of conntrack where a nat table makes the kernel track.
    NetiBesideNat,
    /// The original Neti's rules.
    Predecessor,
}

impl Setup {
    pub const ALL: [Self; 4] = [Self::Bare, Self::Neti, Self::NetiBesideNat, Self::Predecessor];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Neti => "neti",
            Self::NetiBesideNat => "neti, nat table, notrack",
            Self::Predecessor => Rival::Sets.name(),
        }
    }

    /// Lines of neti's configuration; `None` without neti.
    fn config(self) -> Option<&'static str> {
        match self {
            Self::Bare | Self::Predecessor => None,
            Self::Neti => Some(""),
            Self::NetiBesideNat => Some("notrack = true\n"),
        }
    }
}

/// Two hosts. Dropped in this order: hosts undo themselves while their fleet still exists.
pub struct Lab {
    hosts: Vec<Host>,
    fleet: Option<Fleet>,
    pub left: Site,
    pub right: Site,
    /// The address of `right` that is dialled.
    pub to: IpAddr,
    _lan: Lan,
}

impl Lab {
    pub fn new(setup: Setup, family: Family) -> Result<Self> {
        let lan = Lan::new("ec2", family)?;
        let (left, right) = (lan.attach("left", 10)?, lan.attach("right", 11)?);
        let to = right.real(family);
        let mut lab = Self { hosts: Vec::new(), fleet: None, left, right, to, _lan: lan };
        if setup == Setup::NetiBesideNat {
            for site in [&lab.left, &lab.right] {
                site.netns.nft(&masquerading(family))?;
            }
        }
        if setup == Setup::Predecessor {
            lab.to = family.ghost(11);
            let members = [10, 11].map(|last| (family.ghost(last), LAN.host(family, last)));
            for site in [&lab.left, &lab.right] {
                Rival::Sets.install(&site.netns, family, &members)?;
            }
        }
        if let Some(extra) = setup.config() {
            lab.start(family, extra)?;
        }
        Ok(lab)
    }

    fn start(&mut self, family: Family, extra: &str) -> Result<()> {
        let fleet = Fleet::new(family, json!({ "mode": "enforce", "identity": "overlay" }))?;
        let options = HostOptions { extra: extra.to_owned(), ..HostOptions::default() };
        let mut left = fleet.host_with("left", &self.left, &options)?;
        let mut right = fleet.host_with("right", &self.right, &options)?;
        start_all(&mut [&mut left, &mut right])?;
        self.to = right.overlay(family);
        self.hosts = vec![left, right];
        self.fleet = Some(fleet);
        Ok(())
    }
}

impl lab::Lab for Lab {
    fn hosts(&self) -> Vec<&Host> {
        self.hosts.iter().collect()
    }

    fn traces(&self) -> Traces {
        self.fleet.as_ref().map_or_else(Traces::default, |fleet| Traces::of(fleet, &self.hosts))
    }
}
