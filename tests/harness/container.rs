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
pub const CONTAINERS: Network = Network { v4: [172, 30, 0], v6: [0xfd00, 0, 0, 0x30] };

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
    family: Family,
}

impl Containers {
    /// The port that the host publishes, TCP and UDP, for [`Containers::PORT`] of container number 2.
    pub const PUBLISHED: u16 = 8080;
    /// What the container listens on.
    pub const PORT: u16 = 80;

    /// Sets up `host`; the kernel tracks connections there from this moment on.
    pub fn on(host: &Netns, family: Family) -> Result<Self> {
        host.ip_batch(&format!(
            "link add cont type bridge forward_delay 0 mcast_snooping 0\n\
             {}\
             link set cont up\n",
            CONTAINERS.addr_add(family, 1, "cont")
        ))?;
        host.forward(family)?;
        let (published, port) = (Self::PUBLISHED, Self::PORT);
        let (ip, network) = (family.nft(), CONTAINERS.prefix(family));
        let server = SocketAddr::new(Self::address(family, 2), port);
        host.nft(&format!(
            "table {ip} nat {{\n\
             chain pre {{ type nat hook prerouting priority -100\n\
               fib daddr type local iifname != cont meta l4proto {{ tcp, udp }} th dport {published} dnat to {server}\n }}\n\
             chain post {{ type nat hook postrouting priority 100\n\
               {ip} saddr {network} oifname != cont masquerade\n }}\n\
             }}\n\
             table {ip} filter {{\n\
             chain forward {{ type filter hook forward priority 0; policy drop\n\
               oifname cont ct state established,related accept\n\
               oifname cont ct status dnat accept\n\
               iifname cont accept\n }}\n\
             }}\n"
        ))?;
        Ok(Self { host: host.clone(), family })
    }

    /// Container number `last`.
    pub fn start(&self, last: u8) -> Result<Netns> {
        let container = Netns::new(&format!("container-{last}"))?;
        if self.family == Family::V6 {
            container.enable_ipv6()?;
        }
        let port = format!("cont-{last}");
        self.host.veth(&port, &container, UPLINK)?;
        self.host.ip(&format!("link set {port} master cont"))?;
        container.ip_batch(&format!(
            "{}route add default via {} dev {UPLINK}\n",
            CONTAINERS.addr_add(self.family, last, UPLINK),
            Self::address(self.family, 1)
        ))?;
        Ok(container)
    }

    /// The address of the container that [`Containers::start`] made with this number.
    pub fn address(family: Family, last: u8) -> IpAddr {
        CONTAINERS.host(family, last)
    }
}
