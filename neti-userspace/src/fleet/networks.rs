//! The networks of the fleet, and which of them reach each other's private addresses.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use thiserror::Error;

use super::FleetError;
use crate::{
    addresses,
    keys::Keys,
    membership::{HostId, is_name},
};

/// By name, each with its peers. Where the settings list none, a network is whatever its members
/// call it, and none is peered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks(Option<BTreeMap<String, BTreeSet<String>>>);

/// A network that the settings do not list.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("network {network:?} is not one of the fleet's settings, which list {listed}")]
pub struct Unlisted {
    network: String,
    listed: String,
}

const RIGHT: &str = "a table of tables by network, like {\"ec2\": {}, \"vpc\": {\"peered\": \
                     [\"dc\"]}, \"dc\": {}}";

impl Networks {
    /// Whether members may be in `network`.
    pub fn check(&self, network: &str) -> Result<(), Unlisted> {
        match &self.0 {
            Some(networks) if !networks.contains_key(network) => Err(Unlisted {
                network: network.to_owned(),
                listed: addresses::list(networks.keys()),
            }),
            _ => Ok(()),
        }
    }

    /// Whether private addresses of one network are reached from the other: they are one, or peered.
    pub fn adjoin(&self, one: &str, other: &str) -> bool {
        let peers = self.0.as_ref().and_then(|networks| networks.get(one));
        one == other || peers.is_some_and(|peers| peers.contains(other))
    }
}

/// Reads the key `networks`. It is enough if one of two peers names the other.
pub fn read(keys: &mut Keys) -> Result<Networks, FleetError> {
    let Some(tables) = keys.named_tables("networks", RIGHT)? else {
        return Ok(Networks::default());
    };
    if tables.is_empty() {
        return Err(keys.wrong("networks", &"{}", "must list at least one network"));
    }
    let names: BTreeSet<String> = tables.iter().map(|(name, _)| name.clone()).collect();
    let mut networks: BTreeMap<_, BTreeSet<_>> =
        names.iter().map(|name| (name.clone(), BTreeSet::new())).collect();
    for (name, mut table) in tables {
        if !is_name(&name) {
            let what = format!("the network's name must be {}", HostId::RIGHT);
            return Err(keys.wrong(&format!("networks.{name}"), &"{}", &what));
        }
        let peers = table.list("peered", "a network's name", |value| peer(value, &name, &names))?;
        table.finish()?;
        for peer in peers.unwrap_or_default() {
            networks.entry(peer.clone()).or_default().insert(name.clone());
            networks.entry(name.clone()).or_default().insert(peer);
        }
    }
    Ok(Networks(Some(networks)))
}

fn peer(value: &Value, own: &str, names: &BTreeSet<String>) -> Result<String, String> {
    let peer = value.as_str().filter(|peer| *peer != own && names.contains(*peer));
    peer.map(str::to_owned).ok_or_else(|| {
        let others = addresses::list(names.iter().filter(|name| *name != own));
        let others = if others.is_empty() { "it lists none" } else { &others };
        format!("must be another network that `networks` lists: {others}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::FleetSettings;

    fn networks(text: &str) -> Result<Networks, FleetError> {
        let text = format!(r#"{{"overlay": ["100.64.0.0/16"], "networks": {text}}}"#);
        FleetSettings::parse("fleet", text.as_bytes()).map(|fleet| fleet.networks)
    }

    #[test]
    fn peering_is_mutual_and_goes_no_further() {
        let networks = networks(
            r#"{"ec2": {}, "vpc": {"peered": ["dc", "lab"]}, "dc": {"peered": ["vpc"]},
                         "lab": {"peered": []}}"#,
        )
        .unwrap();
        for (one, other, adjoin) in [
            ("ec2", "ec2", true),
            ("ec2", "vpc", false),
            ("vpc", "dc", true),
            ("dc", "vpc", true),
            ("lab", "vpc", true),
            ("dc", "lab", false),
        ] {
            assert_eq!(networks.adjoin(one, other), adjoin, "{one} {other}");
        }
        assert_eq!(networks.check("ec2"), Ok(()));
        assert_eq!(
            networks.check("vpd").unwrap_err().to_string(),
            "network \"vpd\" is not one of the fleet's settings, which list dc, ec2, lab, vpc"
        );
    }

    #[test]
    fn without_a_list_every_network_is_known_and_alone() {
        let networks = Networks::default();
        assert_eq!(networks.check("ec2"), Ok(()));
        assert!(networks.adjoin("ec2", "ec2") && !networks.adjoin("ec2", "vpc"));
    }

    #[test]
    fn errors_name_the_key() {
        for (text, error) in [
            ("[]", "networks = []: must be a table of tables by network, like {\"ec2\""),
            ("{}", "networks = {}: must list at least one network"),
            (r#"{"ec2": 1}"#, "networks.ec2 = 1: must be a table"),
            (r#"{"e c": {}}"#, "networks.e c = {}: the network's name must be 1 to 64 of"),
            (r#"{"ec2": {"peer": []}}"#, "networks.ec2.peer = []: unknown key; known are peered"),
            (
                r#"{"ec2": {"peered": "dc"}, "dc": {}}"#,
                "networks.ec2.peered = \"dc\": must be a list, each element a network's name",
            ),
            (
                r#"{"ec2": {"peered": ["vpc", "vpd"]}, "vpc": {}, "dc": {}}"#,
                "networks.ec2.peered[1] = \"vpd\": must be another network that `networks` lists: \
                 dc, vpc",
            ),
            (
                r#"{"ec2": {"peered": ["ec2"]}, "dc": {}}"#,
                "networks.ec2.peered[0] = \"ec2\": must be another network that `networks` lists: \
                 dc",
            ),
        ] {
            let found = networks(text).unwrap_err().to_string();
            assert!(found.starts_with(&format!("fleet: {error}")), "{text}: {found}");
        }
    }
}
