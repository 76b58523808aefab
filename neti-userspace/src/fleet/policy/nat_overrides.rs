//! Overlay addresses that stand for one fixed address each, which is no member's.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use serde_json::{Map, Value};

use crate::{
    addresses::{self, IpFamily},
    fleet::FleetError,
    keys::Keys,
};

const RIGHT: &str = "a table of addresses, like {\"100.64.9.9\": \"203.0.113.7\"}";

/// Reads the key `nat_overrides` in a fleet with these overlay ranges.
pub fn read(keys: &mut Keys, overlay: &[IpNet]) -> Result<BTreeMap<IpAddr, IpAddr>, FleetError> {
    let table: Option<Map<String, Value>> =
        keys.optional("nat_overrides", RIGHT, |value| value.as_object().cloned())?;
    let (mut overrides, mut leading) = (BTreeMap::new(), BTreeMap::new());
    for (name, value) in table.unwrap_or_default() {
        let entry = entry(&name, &value, overlay).and_then(|(address, real)| {
            if overrides.insert(address, real).is_some() {
                return Err(format!("{address} is there twice; must be there once"));
            }
            match leading.insert(real, address) {
                None => Ok(()),
                Some(other) => Err(format!("is where {other} leads already; must be there once")),
            }
        });
        entry.map_err(|what| keys.wrong(&format!("nat_overrides.{name}"), &value, &what))?;
    }
    Ok(overrides)
}

fn entry(name: &str, value: &Value, overlay: &[IpNet]) -> Result<(IpAddr, IpAddr), String> {
    let within = |address: &IpAddr| overlay.iter().any(|range| range.contains(address));
    let address = name.parse().ok().filter(within).ok_or_else(|| {
        let ranges = addresses::list(overlay);
        format!("the key must be an address in an overlay range of the fleet: {ranges}")
    })?;
    let family = IpFamily::of(address);
    let real: Option<IpAddr> = value.as_str().and_then(|text| text.parse().ok());
    let real = real.ok_or_else(|| format!("must be the {family} address that it stands for"))?;
    let real = addresses::real(real).map_err(|error| error.to_string())?;
    if IpFamily::of(real) != family {
        return Err(format!("must be an {family} address, as {address} is"));
    }
    if within(&real) {
        return Err("is in an overlay range itself; must be outside of them".to_owned());
    }
    Ok((address, real))
}
