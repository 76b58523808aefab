//! The contract of every [`Store`], as a test that each implementation runs.

use anyhow::{Context, Result, ensure};

use super::Store;
use crate::{
    diff::diff,
    fleet::FleetSettings,
    membership::HostId,
    state::{FilterState, MapState, state},
    view::{Me, Peer, View},
};

/// Checks `store`, which must hold nothing yet and holds nothing afterwards. The error says what it
/// does wrong.
pub fn check(store: &mut impl Store) -> Result<()> {
    let empty = MapState::empty();
    let first = sample(
        r#"{"overlay": ["100.64.0.0/16", "fd00::/64"], "open": ["tcp/80", "udp/53"],
            "allow": [{"from": "198.51.100.0/24"}, {"from": "198.51.100.7/32"},
                      {"from": "2001:db8:1::/48"}, {"from": "2001:db8:1::7/128"}]}"#,
        &[("sierra", "web", 2, 11), ("walden", "", 3, 12)],
    )?;
    let second = sample(
        r#"{"overlay": ["100.64.0.0/16", "fd00::/64"], "mode": "enforce",
            "open": ["tcp/443", "udp/53"],
            "allow": [{"from": "198.51.100.0/24", "protocol": "tcp"}, {"from": "0.0.0.0/0"},
                      {"from": "2001:db8:1::/48", "protocol": "icmpv6"}, {"from": "::/0"}]}"#,
        &[("sierra", "db", 2, 13), ("brook", "web", 4, 12)],
    )?;
    // Settings of one family that change alone, and leave the other's as they are.
    let mut third = second.clone();
    third.v6.settings.overlays[1] = third.v6.settings.overlays[0];
    let steps = [
        ("filled", &empty, &first),
        ("changed", &first, &second),
        ("told again what it holds", &first, &second),
        ("told nothing", &second, &second),
        ("changed in one family", &second, &third),
        ("changed back", &third, &second),
        ("emptied", &second, &empty),
        ("told to remove what is gone", &second, &empty),
        ("filled again", &empty, &first),
        ("emptied again", &first, &empty),
    ];
    ensure!(store.read()? == empty, "a store that nobody has filled does not read as empty");
    for (step, have, want) in steps {
        store.apply(&diff(have, want)).with_context(|| format!("a store {step}"))?;
        let read = store.read().with_context(|| format!("a store {step}"))?;
        ensure!(read == *want, "a store {step} holds\n{read:?}\nand not\n{want:?}");
    }
    Ok(())
}

/// Peers by name, with their role and the last bytes of their overlay and real addresses.
fn sample(fleet: &str, peers: &[(&str, &str, u8, u8)]) -> Result<MapState> {
    let mut view = View::default();
    for (name, role, overlay, real) in peers {
        let (overlay, real) = (*overlay, *real);
        let six = |net: [u16; 2], last: u8| [net[0], net[1], 0, 0, 0, 0, 0, last.into()].into();
        let peer = Peer {
            overlays: vec![[100, 64, 0, overlay].into(), six([0xfd00, 0], overlay)],
            reals: vec![
                [10, 0, 0, real].into(),
                [203, 0, 113, real].into(),
                six([0x2001, 0xdb8], real),
            ],
            host: crate::rules::numbers::of_host(&name.parse()?),
            role: (*role).to_owned(),
            generation: 1,
        };
        view.peers.insert(name.parse::<HostId>()?, peer);
    }
    let me = Me {
        id: "hudson".parse()?,
        network: "ec2".to_owned(),
        role: String::new(),
        overlays: vec![[100, 64, 0, 1].into(), [0xfd00, 0, 0, 0, 0, 0, 0, 1].into()],
        reals: vec![[10, 0, 0, 10].into(), [0x2001, 0xdb8, 0, 0, 0, 0, 0, 10].into()],
        uplink_index: 7,
        on_link: vec!["10.0.0.0/24".parse()?],
        vlans: [peers.len() as u16, 4094].into(),
        reverse: Default::default(),
        endpoints: vec![([192, 0, 2, 7], 2379).into()],
    };
    let fleet = FleetSettings::parse("fleet", fleet.as_bytes())?;
    Ok(state(&me, &fleet, &FilterState::of(&me, &fleet), &view))
}
