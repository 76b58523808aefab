//! Networks with neti running on their hosts, as most tests start from.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    PATIENCE, eventually,
    family::Family,
    host::{Fleet, Host, HostOptions, start_all},
    topology::{Demo, Pair, UPLINK, demo, pair},
    traffic::{TcpEcho, dial},
};

/// [`Pair`] with neti on both hosts. Dropped in this order: hosts undo themselves while their fleet still exists.
#[derive(Debug)]
pub struct PairStage {
    pub left: Host,
    pub right: Host,
    pub fleet: Fleet,
    pub pair: Pair,
}

/// Two hosts on one network that know each other.
pub fn pair_stage(families: impl AsRef<[Family]>, settings: Value) -> Result<PairStage> {
    pair_stage_with(families, settings, &HostOptions::default())
}

/// The same with both families, under `enforce`.
pub fn enforcing_pair() -> Result<PairStage> {
    pair_stage(Family::ALL, json!({ "mode": "enforce" }))
}

/// Like [`pair_stage`], with more configuration for both.
pub fn pair_stage_with(
    families: impl AsRef<[Family]>,
    settings: Value,
    options: &HostOptions,
) -> Result<PairStage> {
    pair_stage_of(families, settings, [options, options])
}

/// Like [`pair_stage`], where the left host filters in tc alone and the right one in XDP.
pub fn hooks_stage(families: impl AsRef<[Family]>, settings: Value) -> Result<PairStage> {
    let [tcx, xdp] = ["tcx", "xdp"].map(|attach| HostOptions {
        extra: format!("attach = \"{attach}\"\n"),
        ..HostOptions::default()
    });
    let stage = pair_stage_of(families, settings, [&tcx, &xdp])?;
    for (host, wanted) in [(&stage.left, false), (&stage.right, true)] {
        let link = host.site.netns.ip(&format!("-details link show dev {UPLINK}"))?;
        ensure!(link.contains("prog/xdp") == wanted, "{}: XDP is {wanted}: {link}", host.name);
    }
    Ok(stage)
}

/// With more configuration for the left and the right one.
fn pair_stage_of(
    families: impl AsRef<[Family]>,
    settings: Value,
    [for_left, for_right]: [&HostOptions; 2],
) -> Result<PairStage> {
    let pair = pair(&families)?;
    let fleet = Fleet::new(&families, settings)?;
    let mut left = fleet.host_with("left", &pair.left, for_left)?;
    let mut right = fleet.host_with("right", &pair.right, for_right)?;
    start_all(&mut [&mut left, &mut right])?;
    Ok(PairStage { left, right, fleet, pair })
}

impl PairStage {
    /// Makes the fleet enforce, with this identity, and waits until both hosts do: a connection by overlay address tells,
    /// for a server on a wildcard address sees its client in the form of the setting.
    pub fn identify(&self, family: Family, identity: &str) -> Result<()> {
        let other = if identity == "overlay" { "real" } else { "overlay" };
        // By way of the other one: of an identity that stays nobody could tell when the rest of the settings before is
        // gone.
        [other, identity].into_iter().try_for_each(|identity| self.turn_to(family, identity))
    }

    fn turn_to(&self, family: Family, identity: &str) -> Result<()> {
        self.fleet.set(json!({ "mode": "enforce", "identity": identity }))?;
        for (client, server) in [(&self.left, &self.right), (&self.right, &self.left)] {
            let echo = TcpEcho::on(&server.site.netns, (family.any(), PROBED))?;
            let to = (server.overlay(family), PROBED).into();
            let wanted = match identity {
                "overlay" => client.overlay(family),
                _ => client.real(family),
            };
            eventually(&format!("servers on {} see the {identity} form", server.name), || {
                let connected = dial(&client.site.netns, None, to, PATIENCE);
                connected.is_ok() && echo.seen().peer.ip() == wanted
            });
        }
        Ok(())
    }
}

/// A port that no test uses.
const PROBED: u16 = 4;

/// [`Demo`] with neti on all three hosts.
#[derive(Debug)]
pub struct DemoStage {
    pub hudson: Host,
    pub sierra: Host,
    pub walden: Host,
    pub fleet: Fleet,
    pub demo: Demo,
}

/// Three hosts in two networks that know each other.
pub fn demo_stage(families: impl AsRef<[Family]>, settings: Value) -> Result<DemoStage> {
    let demo = demo(&families)?;
    let fleet = Fleet::new(&families, settings)?;
    let mut hudson = fleet.host("hudson", &demo.hudson)?;
    let mut sierra = fleet.host("sierra", &demo.sierra)?;
    let mut walden = fleet.host("walden", &demo.walden)?;
    start_all(&mut [&mut hudson, &mut sierra, &mut walden])?;
    Ok(DemoStage { hudson, sierra, walden, fleet, demo })
}

/// The same with both families, under `enforce`.
pub fn enforcing_demo() -> Result<DemoStage> {
    demo_stage(Family::ALL, json!({ "mode": "enforce" }))
}
