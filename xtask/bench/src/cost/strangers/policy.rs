//! Policies of few or many rules, of which the last one lets in whom it is measured with.

use std::{iter::once, net::IpAddr};

use harness::{family::Family, rivals::Rule};
use serde_json::{Value, json};

use crate::{cost::server::PORT, reload::policies::stranger};

/// So many rules about strangers, and as many about members; each lets another one to another port.
pub struct Policy {
    pub family: Family,
    pub rules: usize,
    /// Whom the last one lets in.
    pub stranger: IpAddr,
}

impl Policy {
    /// Those about strangers.
    pub fn allow(&self) -> Vec<Rule> {
        let others = (1..self.rules as u32).map(|rule| (stranger(self.family, rule), port(rule)));
        let last = once((self.stranger.into(), PORT)).take(self.rules);
        others.chain(last).collect()
    }

    /// The same, as settings.
    pub fn allow_settings(&self) -> Value {
        let rule = |(from, port): Rule| json!({ "from": from, "protocol": "tcp", "ports": [port.to_string()] });
        self.allow().into_iter().map(rule).collect()
    }

    /// Those about members, as settings.
    pub fn member_settings(&self) -> Value {
        let others = (1..self.rules as u32)
            .map(|rule| format!("from host host-{rule} to host right tcp/{}", port(rule)));
        let last = once(format!("from host left to host right tcp/{PORT}")).take(self.rules);
        others.chain(last).collect()
    }
}

fn port(rule: u32) -> u16 {
    10_000 + rule as u16
}
