//! Policies that admit the same by other rules. Parts of two of them together would refuse what both admit, or admit what
//! both refuse.

use harness::{
    family::Family,
    topology::{INTERNET, LAN},
};
use ipnet::IpNet;
use serde_json::{Value, json};

/// How many there are.
pub const POLICIES: usize = 3;
/// TCP ports to which each of them lets the neighbour.
pub const ALWAYS: [u16; 2] = [80, 81];
/// TCP ports to which none does, though each lets somebody to one of them.
pub const NEVER: [u16; 3] = [84, 85, 86];
/// The TCP port to which each of them lets the stranger.
pub const SERVED: u16 = 7000;

/// The TCP port to which this policy alone lets the neighbour.
pub fn only(policy: usize) -> u16 {
    [87, 88, 89][policy]
}

/// The settings of a policy.
pub fn settings(policy: usize) -> Value {
    let only = only(policy).to_string();
    let mut rules = Vec::new();
    for family in Family::ALL {
        let host = |last| IpNet::from(LAN.host(family, last));
        let neighbour = host(66);
        // The addresses around it: host numbers are written as digits in IPv6 too.
        let around = IpNet::new_assert(neighbour.addr(), family.bits() - 6).trunc();
        let stranger = IpNet::from(INTERNET.host(family, 99));
        let mut rule = |from: IpNet, ports: &[&str]| {
            rules.push(json!({ "from": from, "protocol": "tcp", "ports": ports }));
        };
        match policy {
            0 => {
                rule(host(5), &["84"]);
                rule(neighbour, &["80-81", &only]);
                rule(stranger, &["7000"]);
            }
            1 => {
                rule(neighbour, &[&only]);
                rule(around, &["81"]);
                rule(host(200), &["85"]);
                rule(INTERNET.prefix(family), &["7000"]);
            }
            _ => {
                rule(host(5), &["85-86"]);
                rule(around, &["80", "81", &only]);
                rule(stranger, &["6990-7010"]);
            }
        }
    }
    let open: &[&str] = if policy == 1 { &["tcp/80"] } else { &[] };
    // All of them let the one member to the port and ping, of all services or of few.
    let member_rules: &[&str] = [
        &[][..],
        &["from host left to host right"],
        &["from any to host right tcp/7000,icmp", "from host right to host left"],
    ][policy];
    json!({
        "mode": "enforce", "identity": "overlay", "allow": rules, "open": open, "member_rules": member_rules,
    })
}
