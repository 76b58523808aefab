//! Promise: nobody behind another interface than the uplink speaks in the name of a member, in whatever mode, and however
//! and whenever the interface came about.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, ensure};
use harness::{
    container::CONTAINERS,
    eventually,
    family::{Family, Network},
    footprint::files,
    host::{Fleet, Host, HostOptions},
    netns::Netns,
    packets::{Link, Wire, tagged},
    topology::{LAN, Pair, UPLINK, pair},
    traffic::UdpEcho,
    tunnel::Tunnel,
};
use nix::sys::signal::Signal;
use serde_json::json;

type Result = anyhow::Result<()>;

const PORT: u16 = 7000;
const HOOK: &str = "guard";
const FORGED: &str = "spoofed-overlay";

/// A second network of the host.
const SECOND: Network = Network { v4: [10, 9, 0], v6: [0xfd09, 0, 0, 1] };

/// Where somebody may be who is not behind the uplink: what it is called, and a way to send from there.
struct Place {
    what: &'static str,
    network: Network,
    way: Way,
}

enum Way {
    Wire(Wire, Link),
    Tunnel(Tunnel),
}

impl Place {
    /// The other end of a veth of the host, which must not have it yet.
    fn veth(
        what: &'static str,
        host: &Netns,
        interface: &str,
        network: Network,
    ) -> anyhow::Result<Self> {
        let other = Netns::new(what)?;
        host.veth(interface, &other, UPLINK)?;
        let link = Link { from: other.mac(UPLINK)?, to: host.mac(interface)? };
        Ok(Self { what, network, way: Way::Wire(Wire::open(&other, UPLINK)?, link) })
    }

    /// Sends a datagram from `source`, under these VLAN tags where there is a link-layer header for them.
    fn send(&self, source: IpAddr, to: IpAddr, tags: &[u16]) -> Result {
        let (source, to) = (SocketAddr::new(source, 4000), SocketAddr::new(to, PORT));
        match &self.way {
            Way::Wire(wire, link) => wire.send(&tagged(&link.udp(source, to, b"forged"), tags)),
            Way::Tunnel(tunnel) => {
                let link = Link { from: [0; 6], to: [0; 6] };
                tunnel.send(&link.udp(source, to, b"forged")[14..])
            }
        }
    }
}

/// A host with a container, a bridge, a second network and a tunnel.
struct Stage {
    places: Vec<Place>,
    /// What the host's sockets get, by family.
    servers: Vec<(Family, UdpEcho)>,
    host: Host,
    _fleet: Fleet,
    _pair: Pair,
}

fn stage() -> anyhow::Result<Stage> {
    let pair = pair(Family::ALL)?;
    let netns = &pair.left.netns;
    let places = vec![
        Place::veth("container", netns, "cont0", CONTAINERS)?,
        bridged(netns)?,
        Place::veth("second", netns, "eth1", SECOND)?,
        Place {
            what: "tunnel",
            network: Network { v4: [10, 8, 0], v6: [0xfd08, 0, 0, 1] },
            way: Way::Tunnel(Tunnel::open(netns, "tun0")?),
        },
    ];
    let mut servers = Vec::new();
    for family in Family::ALL {
        netns.ip_batch(&CONTAINERS.addr_add(family, 1, "cont0"))?;
        netns.ip_batch(&SECOND.addr_add(family, 1, "eth1"))?;
        servers.push((family, UdpEcho::on(netns, (family.any(), PORT))?));
    }
    // Nothing is asked of strangers; the guard asks for no mode.
    let fleet = Fleet::new(Family::ALL, json!({ "mode": "observe" }))?;
    for family in Family::ALL {
        let id = format!("ghost-{}", family.nft());
        fleet.add_member(&id, family.ghost(1), "ec2", LAN.host(family, 61))?;
    }
    // Nobody keeps the ghosts' records alive.
    let options = HostOptions { ttl: 600.0, ..HostOptions::default() };
    let host = fleet.host_with("left", &pair.left, &options)?;
    Ok(Stage { places, servers, host, _fleet: fleet, _pair: pair })
}

/// A neighbour on a bridge of the host.
fn bridged(host: &Netns) -> anyhow::Result<Place> {
    host.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0")?;
    host.ip("link set br0 up")?;
    let network = Network { v4: [10, 7, 0], v6: [0xfd07, 0, 0, 1] };
    let mut place = Place::veth("bridged", host, "port0", network)?;
    host.ip("link set port0 master br0")?;
    if let Way::Wire(_, link) = &mut place.way {
        link.to = host.mac("br0")?;
    }
    Ok(place)
}

impl Stage {
    fn forged(&self) -> anyhow::Result<u64> {
        self.host.count(HOOK, FORGED)
    }

    /// Requires that what is sent in a member's name comes to nothing, and is counted.
    fn is_guarded(&self, place: &Place, tags: &[u16]) -> Result {
        let before = self.forged()?;
        let mut sent = 0;
        for (family, _) in &self.servers {
            for source in [family.ghost(1), family.ghost(9), self.host.overlay(*family)] {
                for to in [self.host.real(*family), self.host.overlay(*family)] {
                    place.send(source, to, tags)?;
                    sent += 1;
                }
            }
        }
        eventually(&format!("{} under tags {tags:?}: all are counted", place.what), || {
            self.forged().is_ok_and(|after| after == before + sent)
        });
        for (family, server) in &self.servers {
            let seen = server.try_seen();
            ensure!(seen.is_none(), "{}: a forgery by {family} is delivered: {seen:?}", place.what);
        }
        Ok(())
    }

    /// Requires that what is sent from an address of the place itself is delivered, by either address of the host.
    fn is_open(&self, place: &Place) -> Result {
        for (family, server) in &self.servers {
            for to in [self.host.real(*family), self.host.overlay(*family)] {
                place.send(place.network.host(*family, 2), to, &[])?;
                let seen = server.seen().ip();
                ensure!(seen == place.network.host(*family, 2), "{}: {seen} is seen", place.what);
            }
        }
        Ok(())
    }

    /// Requires that nothing keeps a forgery from the host's sockets.
    fn is_unguarded(&self, place: &Place) -> Result {
        for (family, server) in &self.servers {
            place.send(family.ghost(1), self.host.real(*family), &[])?;
            let seen = server.seen().ip();
            ensure!(seen == family.ghost(1), "{}: {seen} is seen", place.what);
        }
        Ok(())
    }

    /// A place that comes while everything runs, or does not.
    fn plug(&mut self, what: &'static str, interface: &str) -> Result {
        let network = Network { v4: [10, 6, 0], v6: [0xfd06, 0, 0, 1] };
        self.places.push(Place::veth(what, &self.host.site.netns, interface, network)?);
        Ok(())
    }

    fn await_guard(&self, interface: &str) -> Result {
        let link = format!("links/guard-{}", self.host.site.netns.index(interface)?);
        eventually(&format!("{interface} is guarded"), || self.host.pin(&link).is_ok());
        Ok(())
    }
}

#[test]
fn nobody_beside_the_uplink_speaks_in_the_name_of_a_member() -> Result {
    let mut stage = stage()?;
    for place in &stage.places {
        stage.is_unguarded(place).context("before neti")?;
    }
    stage.host.start()?;
    for place in &stage.places {
        stage.is_guarded(place, &[])?;
        stage.is_open(place)?;
    }
    let status = stage.host.show("status")?;
    let attached = status["attached"].as_array().context("what is attached")?;
    ensure!(attached.contains(&json!(HOOK)) && status["problems"] == json!([]), "{status}");

    // Tags that the stack takes off behind us, and VLANs that somebody may still add.
    for tags in [&[0][..], &[0, 0], &[7], &[0, 7]] {
        stage.is_guarded(&stage.places[0], tags)?;
    }
    claims_by_arp(&stage)?;

    stage.plug("plugged in", "hot0")?;
    stage.await_guard("hot0")?;
    everywhere(&stage).context("with what was plugged in")?;

    stage.host.stop(Signal::SIGTERM)?;
    everywhere(&stage).context("without the daemon")?;
    stage.host.start()?;
    everywhere(&stage).context("after a restart")?;
    stage.host.stop(Signal::SIGKILL)?;
    everywhere(&stage).context("after the daemon was killed")?;
    stage.plug("plugged in meanwhile", "hot1")?;
    stage.is_unguarded(&stage.places[5]).context("nobody is there to guard it")?;
    stage.host.start()?;
    everywhere(&stage).context("after another start")?;

    stage.host.stop(Signal::SIGTERM)?;
    ensure!(stage.host.down()?.status.success());
    ensure!(files(&stage.host).is_empty(), "neti down leaves: {:?}", files(&stage.host));
    for place in &stage.places {
        stage.is_unguarded(place).context("after neti down")?;
    }
    Ok(())
}

fn everywhere(stage: &Stage) -> Result {
    for place in &stage.places {
        stage.is_guarded(place, &[])?;
        stage.is_open(place)?;
    }
    Ok(())
}

/// A container says by ARP that it is a member, and is not heard; under its own name it is.
fn claims_by_arp(stage: &Stage) -> Result {
    let Way::Wire(wire, link) = &stage.places[0].way else { unreachable!("a veth") };
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => unreachable!("an IPv4 address"),
    };
    let target = octets(CONTAINERS.host(Family::V4, 1));
    let ask = |sender: IpAddr| {
        // RFC 826: a request for IPv4 over Ethernet.
        let head = [&link.to[..], &link.from, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &link.from].concat();
        wire.send(&[&head[..], &octets(sender), &[0; 6], &target].concat())
    };
    let netns = &stage.host.site.netns;
    let known = |address: IpAddr| {
        let neighbours = netns.ip("neigh show dev cont0");
        neighbours.is_ok_and(|text| text.contains(&format!("{address} lladdr")))
    };
    let (forged, own) = (Family::V4.ghost(1), CONTAINERS.host(Family::V4, 2));
    let before = stage.forged()?;
    ask(forged)?;
    eventually("it is counted", || stage.forged().is_ok_and(|after| after == before + 1));
    ask(own)?;
    eventually("the container is known", || known(own));
    ensure!(!known(forged), "the forged claim is believed");
    Ok(())
}
