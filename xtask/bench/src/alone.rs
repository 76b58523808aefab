//! One host, in a fleet whose other members exist in the registry alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use harness::{
    family::Family,
    host::{Fleet, Host, HostOptions},
    topology::Lan,
    traces::Traces,
};
use serde_json::Value;

use crate::lab::Lab;

/// The members' network, and the host's.
const NETWORK: &str = "ec2";

/// Dropped in this order: the host undoes itself while its fleet still exists.
pub struct Alone {
    pub host: Host,
    pub fleet: Fleet,
    _lan: Lan,
}

impl Alone {
    /// The host runs by these settings and knows all members.
    pub fn new(family: Family, members: u32, settings: Value) -> Result<Self> {
        let lan = Lan::new(NETWORK, family)?;
        let site = lan.attach("host", 10)?;
        let fleet = Fleet::new(family, settings)?;
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
        Ok(Self { host, fleet, _lan: lan })
    }
}

impl Lab for Alone {
    fn hosts(&self) -> Vec<&Host> {
        vec![&self.host]
    }

    fn traces(&self) -> Traces {
        Traces::of(&self.fleet, [&self.host])
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
