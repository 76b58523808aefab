//! Promise: a member's private address is accepted only where this host's own routes lead to it by the uplink, as they
//! are now; whoever else has it here, a container say, is not taken for the member.

use anyhow::{Context, ensure};
use harness::{
    container::CONTAINERS,
    eventually,
    family::{Family, Network, addr_add},
    host::{Fleet, Host, HostOptions, counted},
    netns::Netns,
    packets::{Link, Wire},
    topology::{INTERNET, LAN, UPLINK, pair},
};
use serde_json::json;

type Result = anyhow::Result<()>;

/// A second network of the host.
const SECOND: Network = Network { v4: [10, 9, 0], v6: [0xfd09, 0, 0, 1] };

/// In each family a member that has a container's address.
const INSIDE: [&str; 2] = ["inside-ip", "inside-ip6"];
/// In each family a member on the uplink's network.
const NEAR: [&str; 2] = ["near-ip", "near-ip6"];
/// A member that has a container's address as its private one, and a public one.
const PUBLIC: &str = "public";

fn members(fleet: &Fleet) -> Result {
    for (n, family) in Family::ALL.into_iter().enumerate() {
        let (inside, near) = (CONTAINERS.host(family, 2), LAN.host(family, 62));
        fleet.add_member(INSIDE[n], family.ghost(2), "ec2", inside)?;
        fleet.add_member(NEAR[n], family.ghost(3), "ec2", near)?;
    }
    let family = Family::V4;
    let record = json!({
        "id": PUBLIC, "overlays": [family.ghost(4)], "private": CONTAINERS.host(family, 9),
        "public": INTERNET.host(family, 50), "network": "ec2", "role": "", "labels": {},
        "version": "0.1.0", "generation": 1, "state": "up",
    });
    fleet.put(&format!("members/{PUBLIC}"), &record.to_string())
}

#[test]
fn a_members_private_address_that_is_routed_elsewhere_is_refused() -> Result {
    let pair = pair(Family::ALL)?;
    let netns = &pair.left.netns;
    let rest = Netns::new("rest")?;
    for (interface, network) in [("cont0", CONTAINERS), ("eth1", SECOND)] {
        netns.veth(interface, &rest, &format!("to-{interface}"))?;
        for family in Family::ALL {
            netns.ip_batch(&network.addr_add(family, 1, interface))?;
        }
    }
    let fleet = Fleet::new(Family::ALL, json!({ "mode": "enforce" }))?;
    members(&fleet)?;
    // Nobody keeps the members' records alive.
    let options = HostOptions { ttl: 600.0, ..HostOptions::default() };
    let mut host = fleet.host_with("left", &pair.left, &options)?;
    host.start()?;
    let near = [NEAR[0], NEAR[1], PUBLIC];
    let everyone = [INSIDE[0], INSIDE[1], NEAR[0], NEAR[1], PUBLIC];
    host.await_members(&near);
    refuses(&host, INSIDE, "cont0");
    let shown = host.show("members")?;
    let public = shown.as_array().and_then(|all| all.iter().find(|one| one["id"] == PUBLIC));
    let real = json!(INTERNET.host(Family::V4, 50));
    ensure!(public.is_some_and(|public| public["real"] == real), "by its public address: {shown}");

    // The routes change while everything runs.
    let each = |what: &str, network: Network, last: u8, interface: &str| -> Result {
        Family::ALL.into_iter().try_for_each(|family| {
            let to = network.host(family, last);
            netns.ip(&format!("route {what} {to} dev {interface}")).map(drop)
        })
    };
    let neighbour = &pair.neighbour.netns;
    let link = Link { from: neighbour.mac(UPLINK)?, to: netns.mac(UPLINK)? };
    let wire = Wire::open(neighbour, UPLINK)?;
    let judged = |reason: &str, action: &str| -> Result {
        Family::ALL.into_iter().try_for_each(|family| {
            let (from, to) = (LAN.host(family, 62), pair.left.real(family));
            let syn = link.syn((from, 40_000).into(), (to, 80).into());
            counted(&host, reason, action, || wire.send(&syn)).with_context(|| from.to_string())
        })
    };
    judged("member", "pass")?;
    each("add", LAN, 62, "eth1")?;
    host.await_members(&[PUBLIC]);
    refuses(&host, NEAR, "eth1");
    judged("stranger", "drop")?;
    each("del", LAN, 62, "eth1")?;
    host.await_members(&near);
    judged("member", "pass")?;

    // IPv4 tells of no route that goes with its interface.
    netns.ip("link del cont0")?;
    host.await_members(&everyone);
    eventually("nothing is wrong any more", || {
        host.show("status").is_ok_and(|status| status["problems"] == json!([]))
    });

    // Of two ways the longer prefix is the one.
    netns.ip_batch("link add br0 type bridge\nlink set br0 up\n")?;
    for family in Family::ALL {
        let wide = CONTAINERS.prefix(family).supernet().context("a wider prefix")?;
        netns.ip_batch(&addr_add(CONTAINERS.host(family, 1), wide.prefix_len(), "br0"))?;
    }
    host.await_members(&near);
    refuses(&host, INSIDE, "br0");
    each("add", CONTAINERS, 2, UPLINK)?;
    host.await_members(&everyone);
    Ok(())
}

/// Requires that these members are told of as refused, for an address behind `interface`.
fn refuses(host: &Host, members: [&str; 2], interface: &str) {
    for member in members {
        eventually(&format!("{member} is refused"), || {
            let status = host.show("status").unwrap_or_default();
            let problems = status["problems"].as_array();
            problems.into_iter().flatten().any(|problem| {
                let what = problem["what"].as_str().unwrap_or_default();
                problem["key"] == format!("members/{member}")
                    && what.contains(&format!("is routed out of {interface} here"))
            })
        });
    }
}
