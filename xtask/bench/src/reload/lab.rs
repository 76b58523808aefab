//! One host, in a fleet whose other members exist in the registry alone, and the policies of that fleet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use harness::{
    family::Family,
    host::{Fleet, Host, HostOptions},
    topology::Lan,
    traces::Traces,
};
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::lab;

/// The members' network, and the host's.
const NETWORK: &str = "ec2";

/// What is changed of a policy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Change {
    One,
    All,
}

impl Change {
    pub const ALL: [Self; 2] = [Self::One, Self::All];

    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one rule changes",
            Self::All => "every rule changes",
        }
    }
}

/// Dropped in this order: the host undoes itself while its fleet still exists.
pub struct Lab {
    pub host: Host,
    fleet: Fleet,
    family: Family,
    rules: u32,
    _lan: Lan,
}

impl Lab {
    /// The host runs and knows all members.
    pub fn new(family: Family, members: u32, rules: u32) -> Result<Self> {
        let lan = Lan::new(NETWORK, family)?;
        let site = lan.attach("host", 10)?;
        let fleet = Fleet::new(family, settings(family, rules, Change::All, 0))?;
        let members: Vec<(String, IpAddr, IpAddr)> = (0..members)
            .map(|number| {
                let (overlay, real) = (plus(family.range().addr(), number), real(family, number));
                (format!("host-{number:05}"), overlay, real)
            })
            .collect();
        let named = members.iter().map(|(id, overlay, real)| (&id[..], *overlay, *real));
        fleet.add_members(named, NETWORK)?;
        // Of members that show no sign of life after they were written.
        let options = HostOptions { ttl: 86_400.0, ..HostOptions::default() };
        let mut host = fleet.host_with("measured", &site, &options)?;
        host.start()?;
        let ids: Vec<&str> = members.iter().map(|(id, ..)| &id[..]).collect();
        host.await_members(&ids);
        Ok(Self { host, fleet, family, rules, _lan: lan })
    }

    /// Commits another policy than the one before; `number` is another each time.
    pub fn set(&self, change: Change, number: u32) -> Result<()> {
        self.fleet.set(settings(self.family, self.rules, change, number))
    }
}

impl lab::Lab for Lab {
    fn hosts(&self) -> Vec<&Host> {
        vec![&self.host]
    }

    fn traces(&self) -> Traces {
        Traces::of(&self.fleet, [&self.host])
    }
}

/// Settings whose rules each let another network to another port.
fn settings(family: Family, rules: u32, change: Change, number: u32) -> Value {
    let rule = |rule: u32| {
        let shift = if rule == 0 || change == Change::All { number % 2 } else { 0 };
        // Every port has one rule before and after a change, and it is not the same.
        let port = 10_000 + 2 * rule + shift;
        json!({ "from": stranger(family, rule), "protocol": "tcp", "ports": [port.to_string()] })
    };
    let rules: Vec<Value> = (0..rules).map(rule).collect();
    json!({ "mode": "enforce", "allow": rules, "open": ["tcp/443"] })
}

/// The network of strangers that a rule is about.
fn stranger(family: Family, rule: u32) -> IpNet {
    match family {
        Family::V4 => IpNet::new_assert(Ipv4Addr::from_bits(11 << 24 | rule << 8).into(), 24),
        Family::V6 => {
            let address = Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | u128::from(rule) << 64);
            IpNet::new_assert(address.into(), 64)
        }
    }
}

/// A member's real address.
fn real(family: Family, number: u32) -> IpAddr {
    match family {
        Family::V4 => plus(Ipv4Addr::new(10, 1, 0, 0).into(), number),
        Family::V6 => plus(Ipv6Addr::new(0xfd00, 0, 0, 1, 1, 0, 0, 0).into(), number),
    }
}

/// The address with this number from 1 on, counted from another.
fn plus(base: IpAddr, number: u32) -> IpAddr {
    match base {
        IpAddr::V4(base) => Ipv4Addr::from_bits(base.to_bits() + number + 1).into(),
        IpAddr::V6(base) => Ipv6Addr::from_bits(base.to_bits() + u128::from(number) + 1).into(),
    }
}
