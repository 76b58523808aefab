//! Members that exist in the registry alone. Half of them are in the network of the host that is measured, which knows
//! those by their private and their public address and the others by the public one.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

/// Where the host that is measured takes its own overlay address from.
pub const OWN_RANGE: &str = "100.127.0.0/16";
/// Where the members have theirs from.
const RANGE: &str = "100.64.0.0/11";
/// The network of the host that is measured.
pub const HERE: &str = "ec2";
const ELSEWHERE: &str = "vpc";

const OVERLAYS: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 0);
const PRIVATES: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 0);
const PUBLICS: Ipv4Addr = Ipv4Addr::new(52, 0, 0, 0);
/// Where members move to, each time to another address.
const MOVED: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 0);

/// The fleet's settings.
pub fn settings() -> String {
    json!({ "overlay": [OWN_RANGE, RANGE], "mode": "enforce" }).to_string()
}

/// A member, by its number from 1 on.
#[derive(Clone, Debug)]
pub struct Member {
    number: u32,
    private: Ipv4Addr,
    leaves: bool,
}

impl Member {
    pub fn new(number: u32) -> Self {
        Self { number, private: plus(PRIVATES, number), leaves: false }
    }

    pub fn id(&self) -> String {
        format!("host-{:07}", self.number)
    }

    /// Whether the host that is measured sees its private address.
    pub fn is_here(&self) -> bool {
        self.number.is_multiple_of(2)
    }

    pub fn overlay(&self) -> Ipv4Addr {
        plus(OVERLAYS, self.number)
    }

    pub fn private(&self) -> Ipv4Addr {
        self.private
    }

    pub fn public(&self) -> Ipv4Addr {
        plus(PUBLICS, self.number)
    }

    /// Gives it a private address that nobody had, also if it has left; `serial` is another each time.
    pub fn move_to(&mut self, serial: u32) {
        self.private = plus(MOVED, serial);
        self.leaves = false;
    }

    /// Makes it say that it leaves.
    pub fn leave(&mut self) {
        self.leaves = true;
    }

    /// Its record.
    pub fn record(&self) -> Vec<u8> {
        let network = if self.is_here() { HERE } else { ELSEWHERE };
        let state = if self.leaves { "leaving" } else { "up" };
        let record: Value = json!({
            "id": self.id(), "overlays": [self.overlay()], "private": self.private,
            "public": self.public(), "network": network, "role": "web",
            "labels": { "rack": format!("b{}", self.number % 40) }, "version": "0.1.0",
            "generation": 1, "since": 1_700_000_000_000u64, "state": state,
        });
        record.to_string().into_bytes()
    }
}

fn plus(base: Ipv4Addr, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(base.to_bits() + number)
}
