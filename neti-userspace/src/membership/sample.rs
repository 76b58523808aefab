//! A small fleet for tests.

use std::{collections::BTreeMap, net::IpAddr};

use crate::{
    fleet::FleetSettings,
    membership::{HostId, MemberRecord, MemberState, Membership},
    view::Me,
};

pub fn id(text: &str) -> HostId {
    text.parse().unwrap()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn fleet(overlay: &str) -> FleetSettings {
    FleetSettings::parse("fleet", format!(r#"{{"overlay": ["{overlay}"]}}"#).as_bytes()).unwrap()
}

/// `hudson`, in the network `ec2`.
pub fn me() -> Me {
    Me {
        id: id("hudson"),
        network: "ec2".to_owned(),
        overlays: vec![ip("100.64.0.1")],
        reals: vec![ip("10.0.0.10")],
        uplink_index: 7,
        on_link: vec!["10.0.0.0/24".parse().unwrap()],
        vlans: [0, 100].into(),
    }
}

pub fn record(name: &str, overlay: &str, network: &str) -> MemberRecord {
    MemberRecord {
        id: id(name),
        overlays: vec![ip(overlay)],
        private: Addresses::default(),
        public: Addresses::default(),
        network: network.to_owned(),
        role: String::new(),
        labels: BTreeMap::new(),
        version: String::new(),
        generation: 1,
        since: 0,
        state: MemberState::Up,
    }
}

impl MemberRecord {
    pub fn private(self, address: &str) -> Self {
        Self { private: Some(ip(address)), ..self }
    }

    pub fn public(self, address: &str) -> Self {
        Self { public: Some(ip(address)), ..self }
    }

    pub fn since(self, since: u64) -> Self {
        Self { since, ..self }
    }

    pub fn generation(self, generation: u32) -> Self {
        Self { generation, ..self }
    }
}

pub fn membership(records: impl IntoIterator<Item = MemberRecord>) -> Membership {
    Membership {
        revision: 1,
        fleet: fleet("100.64.0.0/16"),
        members: records.into_iter().map(|record| (record.id.clone(), record)).collect(),
        problems: Vec::new(),
        stale: None,
    }
}
