//! Containers behind a host, as Docker connects them: a bridge, masquerading, a published port and a filter that forwards
//! nothing else.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::{netns::Netns, topology::UPLINK};

/// The containers' network on one host, 172.30.0.0/24.
#[derive(Debug)]
pub struct Containers {
    host: Netns,
}

impl Containers {
    /// The port that the host publishes, TCP and UDP, for [`Containers::PORT`] of the container 172.30.0.2.
    pub const PUBLISHED: u16 = 8080;
    /// What the container listens on.
    pub const PORT: u16 = 80;

    /// Sets up `host`; the kernel tracks connections there from this moment on.
    pub fn on(host: &Netns) -> Result<Self> {
        host.ip_batch(
            "link add cont type bridge forward_delay 0 mcast_snooping 0\n\
             addr add 172.30.0.1/24 dev cont\n\
             link set cont up\n",
        )?;
        host.sysctl("net.ipv4.ip_forward", "1")?;
        let (published, port) = (Self::PUBLISHED, Self::PORT);
        host.nft(&format!(
            "table ip nat {{\n\
             chain pre {{ type nat hook prerouting priority -100\n\
               fib daddr type local iifname != cont meta l4proto {{ tcp, udp }} th dport {published} dnat to 172.30.0.2:{port}\n }}\n\
             chain post {{ type nat hook postrouting priority 100\n\
               ip saddr 172.30.0.0/24 oifname != cont masquerade\n }}\n\
             }}\n\
             table ip filter {{\n\
             chain forward {{ type filter hook forward priority 0; policy drop\n\
               oifname cont ct state established,related accept\n\
               oifname cont ct status dnat accept\n\
               iifname cont accept\n }}\n\
             }}\n"
        ))?;
        Ok(Self { host: host.clone() })
    }

    /// The container 172.30.0.`last`.
    pub fn start(&self, last: u8) -> Result<Netns> {
        let container = Netns::new(&format!("container-{last}"))?;
        let port = format!("cont-{last}");
        self.host.veth(&port, &container, UPLINK)?;
        self.host.ip(&format!("link set {port} master cont"))?;
        container.ip_batch(&format!(
            "addr add {}/24 dev {UPLINK}\n\
             route add default via 172.30.0.1 dev {UPLINK}\n",
            Self::address(last)
        ))?;
        Ok(container)
    }

    /// The address of the container that [`Containers::start`] made with this number.
    pub fn address(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(172, 30, 0, last)
    }
}
