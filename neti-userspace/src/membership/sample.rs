//! A small fleet for tests. It is written in IPv4; what holds for both families is tested by saying
//! the same in IPv6 ([`said`]).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net};
use neti_common::family::Family;
use proptest::prelude::*;

use crate::{
    addresses::{Addresses, IpFamily},
    fleet::FleetSettings,
    membership::{FORMAT, HostId, Labels, MemberRecord, MemberState, Membership},
    reverse::{Hop, ReversePath},
    view::Me,
};

pub fn id(text: &str) -> HostId {
    text.parse().unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A fleet with these overlay ranges, which may be smaller than an operator's.
pub fn fleet(overlay: &[&str]) -> FleetSettings {
    let settings = br#"{"overlay": ["100.64.0.0/16"]}"#;
    let overlay = overlay.iter().map(|range| range.parse().unwrap()).collect();
    FleetSettings { overlay, ..FleetSettings::parse("fleet", settings).unwrap() }
}

/// What `text` says of IPv4 addresses and ranges, said of those of `family`: in IPv6 they are the
/// last 32 bits behind fd00::/96.
pub fn said(family: IpFamily, text: &str) -> String {
    let mapped = |address: Ipv4Addr| {
        Ipv6Addr::from_bits(0xfd << 120 | u128::from(address.to_bits())).to_string()
    };
    let word = |word: &str| match (word.parse::<Ipv4Addr>(), word.parse::<Ipv4Net>()) {
        (Ok(address), _) => mapped(address),
        (_, Ok(range)) => format!("{}/{}", mapped(range.addr()), range.prefix_len() + 96),
        _ => word.to_owned(),
    };
    let apart = |c: char| !(c.is_ascii_digit() || c == '.' || c == '/');
    let translate = |part: &str| {
        let slash = part.len() - part.trim_start_matches('/').len();
        let end = part.find(apart).unwrap_or(part.len());
        part[..slash].to_owned() + &word(&part[slash..end]) + &part[end..]
    };
    match family {
        IpFamily::V4 => text.to_owned(),
        IpFamily::V6 => {
            text.replace("IPv4", "IPv6").split_inclusive(apart).map(translate).collect()
        }
    }
}

/// The addresses of `family` that [`said`] has for these.
pub fn these(family: IpFamily, addresses: &[IpAddr]) -> Vec<IpAddr> {
    addresses.iter().map(|address| ip(&said(family, &address.to_string()))).collect()
}

/// The family that `F` is.
pub fn kind<F: Family>() -> IpFamily {
    IpFamily::of(F::to_ip(&F::UNSPECIFIED))
}

/// The address of `F` that [`said`] has for this one.
pub fn at<F: Family>(address: &str) -> F::Addr {
    F::of(ip(&said(kind::<F>(), address))).unwrap()
}

/// `hudson`, in the network `ec2`.
pub fn me() -> Me {
    Me {
        id: id("hudson"),
        network: "ec2".to_owned(),
        role: String::new(),
        overlays: vec![ip("100.64.0.1")],
        reals: vec![ip("10.0.0.10")],
        uplink_index: 7,
        on_link: vec!["10.0.0.0/24".parse().unwrap()],
        vlans: [0, 100].into(),
        reverse: Default::default(),
        endpoints: Vec::new(),
    }
}

impl Me {
    /// The same in `family`.
    pub fn said(self, family: IpFamily) -> Self {
        let range = |range: &IpNet| said(family, &range.to_string()).parse().unwrap();
        Self {
            overlays: these(family, &self.overlays),
            reals: these(family, &self.reals),
            on_link: self.on_link.iter().map(range).collect(),
            ..self
        }
    }

    /// The same with routes out of other interfaces, each a prefix and the interface's name, in both
    /// families.
    pub fn routed(self, routes: &[(&str, &str)]) -> Self {
        let hops = IpFamily::ALL.into_iter().flat_map(|family| {
            routes.iter().zip(20..).map(move |((to, _), interface)| Hop {
                to: said(family, to).parse().unwrap(),
                metric: 0,
                interface,
            })
        });
        let names = (20..).zip(routes.iter().map(|(_, name)| name.to_string())).collect();
        let reverse = ReversePath::new(hops.collect(), self.uplink_index, &names);
        Self { reverse: Arc::new(reverse), ..self }
    }

    /// The same in both families at once.
    pub fn dual(self) -> Self {
        let both = |four: &[IpAddr], six: Vec<IpAddr>| four.iter().copied().chain(six).collect();
        let six = self.clone().said(IpFamily::V6);
        Self {
            overlays: both(&self.overlays, six.overlays),
            reals: both(&self.reals, six.reals),
            on_link: self.on_link.into_iter().chain(six.on_link).collect(),
            ..six
        }
    }
}

/// A member with this overlay address, or these, between commas.
pub fn record(name: &str, overlays: &str, network: &str) -> MemberRecord {
    MemberRecord {
        format: FORMAT,
        id: id(name),
        overlays: overlays.split(',').map(ip).collect(),
        private: Addresses::default(),
        public: Addresses::default(),
        network: network.to_owned(),
        role: String::new(),
        labels: Labels::default(),
        version: String::new(),
        generation: 1,
        since: 0,
        state: MemberState::Up,
    }
}

impl MemberRecord {
    pub fn private(mut self, address: &str) -> Self {
        self.private.insert(ip(address));
        self
    }

    pub fn public(mut self, address: &str) -> Self {
        self.public.insert(ip(address));
        self
    }

    pub fn since(self, since: u64) -> Self {
        Self { since, ..self }
    }

    pub fn generation(self, generation: u32) -> Self {
        Self { generation, ..self }
    }

    /// The same in `family`.
    pub fn said(self, family: IpFamily) -> Self {
        let same = |addresses: Addresses| {
            Addresses::collect(these(family, &addresses.iter().collect::<Vec<_>>())).unwrap()
        };
        Self {
            overlays: these(family, &self.overlays),
            private: same(self.private),
            public: same(self.public),
            ..self
        }
    }
}

/// A fleet with the overlay range 100.64.0.0/16 in both families.
pub fn membership(records: impl IntoIterator<Item = MemberRecord>) -> Membership {
    let range = "100.64.0.0/16";
    Membership {
        heard: None,
        revision: 1,
        fleet: Arc::new(fleet(&[range, &said(IpFamily::V6, range)])),
        fleet_text: "".into(),
        members: records.into_iter().map(|record| (record.id.clone(), Arc::new(record))).collect(),
        problems: Vec::new(),
        stale: None,
        outages: 0,
        confirmed: None,
        held: None,
    }
}

/// Records with few addresses, so that claims collide.
pub fn records() -> impl Strategy<Value = Vec<MemberRecord>> {
    let address = |range: Vec<&'static str>| {
        let family = prop::sample::select(&IpFamily::ALL);
        (family, prop::sample::select(range)).prop_map(|(family, text)| ip(&said(family, text)))
    };
    let overlay =
        || address(vec!["100.64.0.0", "100.64.0.1", "100.64.0.2", "100.64.0.3", "10.0.0.9"]);
    let reals = || {
        let few = vec!["10.0.0.8", "10.0.0.9", "10.0.0.10", "10.0.0.11", "10.0.0.12", "100.64.0.4"];
        prop::collection::vec(address(few), 0..3).prop_map(|reals| {
            let mut addresses = Addresses::default();
            for real in reals {
                addresses.insert(real);
            }
            addresses
        })
    };
    let overlays = prop::collection::btree_set(overlay(), 1..4);
    let fields = ("[a-h]|hudson", overlays, reals(), reals(), any::<bool>(), 1u32..3, 0u64..4);
    let record = fields.prop_map(|(name, overlays, private, public, here, generation, since)| {
        MemberRecord {
            overlays: overlays.into_iter().collect(),
            private,
            public,
            ..record(&name, "100.64.0.1", if here { "ec2" } else { "vpc" })
                .generation(generation)
                .since(since)
        }
    });
    prop::collection::vec(record, 0..8)
}
