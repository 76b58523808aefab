//! The policies of the fleet.

use std::net::{Ipv4Addr, Ipv6Addr};

use harness::family::Family;
use ipnet::IpNet;
use serde_json::{Value, json};

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

/// Settings whose rules each let another network to another port.
pub fn settings(family: Family, rules: u32, change: Change, number: u32) -> Value {
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
pub fn stranger(family: Family, rule: u32) -> IpNet {
    match family {
        Family::V4 => IpNet::new_assert(Ipv4Addr::from_bits(11 << 24 | rule << 8).into(), 24),
        Family::V6 => {
            let address = Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | u128::from(rule) << 64);
            IpNet::new_assert(address.into(), 64)
        }
    }
}
