//! The networks that the tests and the demo play in.
//!
//! ```text
//!   hudson 10.0.0.10  sierra 10.0.0.11                                   walden 10.0.0.10
//!        |                 |                                                  |
//!        +---- ec2 lan ----+          public 198.51.100.0/24                 vpc lan
//!                 |                                                           |
//!       router-ec2 10.0.0.1 --- 198.51.100.1   198.51.100.2 --- router-vpc 10.0.0.1
//!        (203.0.113.10, .11)          |                     (203.0.113.110)
//!                             stranger 198.51.100.99
//! ```

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::netns::Netns;

/// The interface that carries the overlay on every host.
pub const UPLINK: &str = "eth0";

/// A host's place in a network.
#[derive(Clone, Debug)]
pub struct Site {
    pub netns: Netns,
    pub network: &'static str,
    pub private: Ipv4Addr,
    pub public: Option<Ipv4Addr>,
}

/// One layer-2 network, 10.0.0.0/24, and its router (bridge `lan`, 10.0.0.1).
#[derive(Clone, Debug)]
pub struct Lan {
    pub router: Netns,
    pub network: &'static str,
}

impl Lan {
    /// An empty network.
    pub fn new(network: &'static str) -> Result<Self> {
        let router = Netns::new(&format!("router-{network}"))?;
        router.ip_batch(
            "link add lan type bridge forward_delay 0 mcast_snooping 0\n\
             addr add 10.0.0.1/24 dev lan\n\
             link set lan up\n",
        )?;
        router.sysctl("net.ipv4.ip_forward", "1")?;
        // A router that tells a host of a shorter way would change its next hop in the middle of a test.
        router.sysctl("net.ipv4.conf.all.send_redirects", "0")?;
        router.sysctl("net.ipv4.conf.lan.send_redirects", "0")?;
        // The tests provoke many errors at once, and the kernel would hold back all but a few.
        router.sysctl("net.ipv4.icmp_ratelimit", "0")?;
        Ok(Self { router, network })
    }

    /// A namespace on this network: `eth0` with the address 10.0.0.`last`, the router as its gateway. The other end is
    /// `port-LAST` of the router's bridge.
    pub fn attach(&self, label: &str, last: u8) -> Result<Site> {
        let netns = Netns::new(label)?;
        self.plug(&netns, UPLINK, &format!("port-{last}"))?;
        let private = Ipv4Addr::new(10, 0, 0, last);
        netns.ip_batch(&format!(
            "addr add {private}/24 dev {UPLINK}\n\
             route add default via 10.0.0.1 dev {UPLINK}\n"
        ))?;
        netns.sysctl("net.ipv4.icmp_ratelimit", "0")?;
        Ok(Site { netns, network: self.network, private, public: None })
    }

    /// An interface of `netns` on this network, without an address.
    pub fn plug(&self, netns: &Netns, interface: &str, port: &str) -> Result<()> {
        self.router.veth(port, netns, interface)?;
        self.router.ip(&format!("link set {port} master lan"))?;
        Ok(())
    }

    /// Gives the router a foot in the public network and a 1:1 translation of each site's public address.
    fn publish(&self, internet: &Netns, foot: u8, sites: &[&Site]) -> Result<()> {
        internet.veth(&format!("port-{foot}"), &self.router, "public")?;
        internet.ip(&format!("link set port-{foot} master public"))?;
        self.router.ip(&format!("addr add 198.51.100.{foot}/24 dev public"))?;
        let (mut inward, mut outward) = (String::new(), String::new());
        for site in sites {
            let Some(public) = site.public else { continue };
            inward += &format!("ip daddr {public} dnat to {}\n", site.private);
            outward += &format!("ip saddr {} snat to {public}\n", site.private);
        }
        self.router.nft(&format!(
            "table ip nat {{\n\
             chain in {{ type nat hook prerouting priority -100; iifname public\n {inward} }}\n\
             chain out {{ type nat hook postrouting priority 100; oifname public\n {outward} }}\n\
             }}\n"
        ))
    }
}

/// Three hosts in two networks with the same private range, and a stranger between them.
#[derive(Clone, Debug)]
pub struct Demo {
    /// The public network's bridge (`public`).
    pub internet: Netns,
    pub ec2: Lan,
    pub vpc: Lan,
    pub hudson: Site,
    pub sierra: Site,
    pub walden: Site,
    /// 198.51.100.99, in the public network.
    pub stranger: Site,
}

/// Builds [`Demo`].
pub fn demo() -> Result<Demo> {
    let internet = Netns::new("internet")?;
    internet.ip_batch(
        "link add public type bridge forward_delay 0 mcast_snooping 0\nlink set public up\n",
    )?;
    let (ec2, vpc) = (Lan::new("ec2")?, Lan::new("vpc")?);
    let with_public = |site: Site, last| Site { public: Some([203, 0, 113, last].into()), ..site };
    let hudson = with_public(ec2.attach("hudson", 10)?, 10);
    let sierra = with_public(ec2.attach("sierra", 11)?, 11);
    let walden = with_public(vpc.attach("walden", 10)?, 110);
    ec2.publish(&internet, 1, &[&hudson, &sierra])?;
    vpc.publish(&internet, 2, &[&walden])?;
    ec2.router.ip("route add 203.0.113.110/32 via 198.51.100.2 dev public")?;
    vpc.router.ip_batch(
        "route add 203.0.113.10/32 via 198.51.100.1 dev public\n\
         route add 203.0.113.11/32 via 198.51.100.1 dev public\n",
    )?;

    let stranger = Netns::new("stranger")?;
    internet.veth("port-99", &stranger, UPLINK)?;
    internet.ip("link set port-99 master public")?;
    stranger.ip_batch(&format!(
        "addr add 198.51.100.99/24 dev {UPLINK}\n\
         route add 203.0.113.110/32 via 198.51.100.2 dev {UPLINK}\n\
         route add default via 198.51.100.1 dev {UPLINK}\n"
    ))?;
    let stranger = Site {
        netns: stranger,
        network: "public",
        private: [198, 51, 100, 99].into(),
        public: Some([198, 51, 100, 99].into()),
    };
    Ok(Demo { internet, ec2, vpc, hudson, sierra, walden, stranger })
}

/// Two hosts on one network, a stranger beside them and another behind the router.
#[derive(Clone, Debug)]
pub struct Pair {
    pub lan: Lan,
    /// 10.0.0.10.
    pub left: Site,
    /// 10.0.0.11.
    pub right: Site,
    /// 10.0.0.66: on the same network, but no member.
    pub neighbour: Site,
    /// 198.51.100.99, reached through the router without translation.
    pub stranger: Site,
}

/// Builds [`Pair`].
pub fn pair() -> Result<Pair> {
    let lan = Lan::new("ec2")?;
    let left = lan.attach("left", 10)?;
    let right = lan.attach("right", 11)?;
    let neighbour = lan.attach("neighbour", 66)?;
    let stranger = outsider(&lan, "stranger", 99)?;
    Ok(Pair { lan, left, right, neighbour, stranger })
}

/// A namespace with the address 198.51.100.`last` behind the router, on a link of its own (`out-LAST` of the router).
pub fn outsider(lan: &Lan, label: &str, last: u8) -> Result<Site> {
    let netns = Netns::new(label)?;
    let port = format!("out-{last}");
    lan.router.veth(&port, &netns, UPLINK)?;
    lan.router.ip_batch(&format!(
        "addr add 198.51.100.1/32 dev {port}\n\
         route add 198.51.100.{last}/32 dev {port}\n"
    ))?;
    netns.ip_batch(&format!(
        "addr add 198.51.100.{last}/24 dev {UPLINK}\n\
         route add default via 198.51.100.1 dev {UPLINK}\n"
    ))?;
    netns.sysctl("net.ipv4.icmp_ratelimit", "0")?;
    let private = Ipv4Addr::new(198, 51, 100, last);
    Ok(Site { netns, network: "public", private, public: Some(private) })
}
