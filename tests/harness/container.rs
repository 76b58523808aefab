//! Containers behind a host, as Docker connects them: a bridge, masquerading, a published port and a filter that forwards
//! nothing else.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;

use crate::{
    family::{Family, Network},
    netns::Netns,
    topology::UPLINK,
};

/// The containers' network on every host.
pub const CONTAINERS: Network = Network { v4: [172, 17, 0], v6: [0xfd00, 0, 0, 0x17] };

/// Rules of which one is for the containers, and which make the kernel track everything, as container engines have them.
pub fn masquerading(family: Family) -> String {
    let (ip, network) = (family.nft(), CONTAINERS.prefix(family));
    format!(
        "table {ip} nat {{\n\
         chain post {{ type nat hook postrouting priority 100\n {ip} saddr {network} masquerade\n }}\n\
         }}\n"
    )
}

/// The containers of one host.
#[derive(Debug)]
pub struct Containers {
    host: Netns,
    families: Vec<Family>,
}

impl Containers {
    /// The port that the host publishes, TCP and UDP, for [`Containers::PORT`] of container number 2.
    pub const PUBLISHED: u16 = 8080;
    /// What the container listens on.
    pub const PORT: u16 = 80;

    /// Sets up `host`; the kernel tracks connections there from this moment on.
    pub fn on(host: &Netns, families: impl AsRef<[Family]>) -> Result<Self> {
        let families = families.as_ref().to_vec();
        host.ip_batch(
            "link add cont type bridge forward_delay 0 mcast_snooping 0\nlink set cont up\n",
        )?;
        for &family in &families {
            host.ip_batch(&CONTAINERS.addr_add(family, 1, "cont"))?;
            host.forward(family)?;
            host.nft(&rules(family))?;
        }
        Ok(Self { host: host.clone(), families })
    }

    /// Container number `last`.
    pub fn start(&self, last: u8) -> Result<Netns> {
        let container = Netns::new(&format!("container-{last}"))?;
        if self.families.contains(&Family::V6) {
            container.enable_ipv6()?;
        }
        let port = format!("cont-{last}");
        self.host.veth(&port, &container, UPLINK)?;
        self.host.ip(&format!("link set {port} master cont"))?;
        for &family in &self.families {
            container.ip_batch(&format!(
                "{}route add default via {} dev {UPLINK}\n",
                CONTAINERS.addr_add(family, last, UPLINK),
                Self::address(family, 1)
            ))?;
        }
        Ok(container)
    }

    /// The address of the container that [`Containers::start`] made with this number.
    pub fn address(family: Family, last: u8) -> IpAddr {
        CONTAINERS.host(family, last)
    }

    /// Where the container listens whose port is published.
    pub fn server(family: Family) -> SocketAddr {
        SocketAddr::new(Self::address(family, 2), Self::PORT)
    }
}

/// Docker's rules, for clients elsewhere and on the host itself. Containers that dial their host are left to a proxy.
fn rules(family: Family) -> String {
    let (ip, network, loopback) = (family.nft(), CONTAINERS.prefix(family), family.loopback());
    let (published, server) = (Containers::PUBLISHED, Containers::server(family));
    format!(
        "table {ip} nat {{\n\
         chain published {{ meta l4proto {{ tcp, udp }} th dport {published} dnat to {server}\n }}\n\
         chain pre {{ type nat hook prerouting priority -100\n\
           fib daddr type local iifname != cont jump published\n }}\n\
         chain out {{ type nat hook output priority -100\n\
           {ip} daddr != {loopback} fib daddr type local jump published\n }}\n\
         chain post {{ type nat hook postrouting priority 100\n\
           {ip} saddr {network} oifname != cont masquerade\n }}\n\
         }}\n\
         table {ip} filter {{\n\
         chain forward {{ type filter hook forward priority 0; policy drop\n\
           oifname cont ct state established,related accept\n\
           oifname cont ct status dnat accept\n\
           iifname cont accept\n }}\n\
         }}\n"
    )
}
