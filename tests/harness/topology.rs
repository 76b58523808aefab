//! The networks that the tests and the demo play in, in either address family or in both.
//!
//! ```text
//!   hudson 10.0.0.10  sierra 10.0.0.11                                   walden 10.0.0.10
//!    fd00:0:0:1::10    fd00:0:0:1::11                                     fd00:0:0:1::10
//!        |                 |                                                  |
//!        +---- ec2 lan ----+          public 198.51.100.0/24                 vpc lan
//!                 |                 2001:db8:198:51::/64                      |
//!       router-ec2 10.0.0.1 --- 198.51.100.1   198.51.100.2 --- router-vpc 10.0.0.1
//!        (203.0.113.10, .11)          |                     (203.0.113.110)
//!      (2001:db8:203::10, ::11)       |                   (2001:db8:203::110)
//!                             stranger 198.51.100.99
//!                             2001:db8:198:51::99
//! ```

use std::net::{IpAddr, Ipv6Addr};

use anyhow::Result;

use crate::{
    family::{Family, Network, addr_add},
    netns::Netns,
};

/// The interface that carries the overlay on every host.
pub const UPLINK: &str = "eth0";

/// Every private network: they overlap.
pub const LAN: Network = Network { v4: [10, 0, 0], v6: [0xfd00, 0, 0, 1] };
/// The public network.
pub const INTERNET: Network = Network { v4: [198, 51, 100], v6: [0x2001, 0xdb8, 0x198, 0x51] };
/// The hosts' public addresses, which their routers translate.
pub const PUBLISHED: Network = Network { v4: [203, 0, 113], v6: [0x2001, 0xdb8, 0x203, 0] };

/// A host's place in a network. It has at most one address of each family.
#[derive(Clone, Debug)]
pub struct Site {
    pub netns: Netns,
    pub network: &'static str,
    pub private: Vec<IpAddr>,
    pub public: Vec<IpAddr>,
}

impl Site {
    /// Its private address.
    ///
    /// # Panics
    /// If it has none of this family.
    pub fn real(&self, family: Family) -> IpAddr {
        let real = family.among(&self.private);
        real.unwrap_or_else(|| panic!("{} has no private {family:?} address", self.netns.name()))
    }

    /// Its public address, if it has one.
    pub fn public(&self, family: Family) -> Option<IpAddr> {
        family.among(&self.public)
    }

    /// The same place, published as host number `last`.
    pub fn published(self, last: u8) -> Self {
        let families = self.private.iter().map(|address| Family::of(*address));
        let public = families.map(|family| PUBLISHED.host(family, last)).collect();
        Self { public, ..self }
    }
}

/// One layer-2 network with the prefix [`LAN`], and its router (bridge `lan`, host number 1).
#[derive(Clone, Debug)]
pub struct Lan {
    pub router: Netns,
    pub network: &'static str,
    families: Vec<Family>,
}

impl Lan {
    /// An empty network.
    pub fn new(network: &'static str, families: impl AsRef<[Family]>) -> Result<Self> {
        let families = families.as_ref().to_vec();
        let router = namespace(&format!("router-{network}"), &families)?;
        let mut lines = "link add lan type bridge forward_delay 0 mcast_snooping 0\n".to_owned();
        for family in &families {
            lines += &LAN.addr_add(*family, 1, "lan");
        }
        if families.contains(&Family::V6) {
            lines += &addr_add(gateway(Family::V6), 64, "lan");
        }
        router.ip_batch(&format!("{lines}link set lan up\n"))?;
        for family in &families {
            router.forward(*family)?;
        }
        // A router that tells a host of a shorter way would change its next hop in the middle of a test.
        router.sysctl("net.ipv4.conf.all.send_redirects", "0")?;
        router.sysctl("net.ipv4.conf.lan.send_redirects", "0")?;
        Ok(Self { router, network, families })
    }

    /// A namespace on this network: `eth0` with the addresses of host number `last`, the router as its gateway. The
    /// other end is `port-LAST` of the router's bridge.
    pub fn attach(&self, label: &str, last: u8) -> Result<Site> {
        self.attach_with(label, last, &self.families)
    }

    /// Like [`Lan::attach`], with addresses of some families alone.
    pub fn attach_with(
        &self,
        label: &str,
        last: u8,
        families: impl AsRef<[Family]>,
    ) -> Result<Site> {
        let families = families.as_ref();
        let netns = namespace(label, families)?;
        self.plug(&netns, UPLINK, &format!("port-{last}"))?;
        let mut lines = String::new();
        for family in families {
            lines += &LAN.addr_add(*family, last, UPLINK);
            lines += &format!("route add default via {} dev {UPLINK}\n", gateway(*family));
        }
        netns.ip_batch(&lines)?;
        let private = families.iter().map(|family| LAN.host(*family, last)).collect();
        Ok(Site { netns, network: self.network, private, public: Vec::new() })
    }

    /// An interface of `netns` on this network, without an address.
    pub fn plug(&self, netns: &Netns, interface: &str, port: &str) -> Result<()> {
        self.router.veth(port, netns, interface)?;
        self.router.ip(&format!("link set {port} master lan"))?;
        Ok(())
    }

    /// Gives the router a foot in the public network, and translates the public addresses of each site.
    fn publish(&self, internet: &Netns, foot: u8, sites: &[&Site]) -> Result<()> {
        internet.veth(&format!("port-{foot}"), &self.router, "public")?;
        internet.ip(&format!("link set port-{foot} master public"))?;
        let mut tables = String::new();
        for family in &self.families {
            tables += &format!(
                "table {ip} nat {{\n\
                 chain in {{ type nat hook prerouting priority -100; }}\n\
                 chain out {{ type nat hook postrouting priority 100; }}\n\
                 }}\n",
                ip = family.nft()
            );
            self.router.ip(INTERNET.addr_add(*family, foot, "public").trim())?;
        }
        self.router.nft(&tables)?;
        sites.iter().try_for_each(|site| self.translate(site))
    }

    /// Translates the public addresses of a site 1:1.
    fn translate(&self, site: &Site) -> Result<()> {
        let mut rules = String::new();
        for public in &site.public {
            let family = Family::of(*public);
            let (ip, private) = (family.nft(), site.real(family));
            rules += &format!(
                "add rule {ip} nat in iifname public {ip} daddr {public} dnat to {private}\n\
                 add rule {ip} nat out oifname public {ip} saddr {private} snat to {public}\n"
            );
        }
        self.router.nft(&rules)
    }

    /// Sends what is for the public addresses of `sites` to the router whose foot is `foot`.
    fn route(&self, sites: &[&Site], foot: u8) -> Result<()> {
        self.router.ip_batch(&routes(sites, foot, "public"))
    }
}

/// The next hop of the default route: an IPv6 router is known by its link-local address (RFC 4861 6.3.4).
pub fn gateway(family: Family) -> IpAddr {
    match family {
        Family::V4 => LAN.host(family, 1),
        Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(),
    }
}

fn routes(sites: &[&Site], foot: u8, interface: &str) -> String {
    let mut lines = String::new();
    for public in sites.iter().flat_map(|site| &site.public) {
        let via = INTERNET.host(Family::of(*public), foot);
        lines += &format!("route add {public} via {via} dev {interface}\n");
    }
    lines
}

/// A namespace that speaks these families. The tests provoke many errors at once, of which the kernel would hold back
/// all but a few.
fn namespace(label: &str, families: &[Family]) -> Result<Netns> {
    let netns = Netns::new(label)?;
    netns.sysctl("net.ipv4.icmp_ratelimit", "0")?;
    if families.contains(&Family::V6) {
        netns.enable_ipv6()?;
        netns.sysctl("net.ipv6.icmp.ratelimit", "0")?;
    }
    Ok(netns)
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
    /// Host number 99 of the public network.
    pub stranger: Site,
}

impl Demo {
    /// A further host of `ec2`, with number `last`'s addresses of these families.
    pub fn attach(&self, label: &str, last: u8, families: impl AsRef<[Family]>) -> Result<Site> {
        let site = self.ec2.attach_with(label, last, families)?.published(last);
        self.ec2.translate(&site)?;
        self.vpc.route(&[&site], 1)?;
        Ok(site)
    }
}

/// Builds [`Demo`].
pub fn demo(families: impl AsRef<[Family]>) -> Result<Demo> {
    let families = families.as_ref();
    let internet = Netns::new("internet")?;
    internet.ip_batch(
        "link add public type bridge forward_delay 0 mcast_snooping 0\nlink set public up\n",
    )?;
    let (ec2, vpc) = (Lan::new("ec2", families)?, Lan::new("vpc", families)?);
    let hudson = ec2.attach("hudson", 10)?.published(10);
    let sierra = ec2.attach("sierra", 11)?.published(11);
    let walden = vpc.attach("walden", 10)?.published(110);
    ec2.publish(&internet, 1, &[&hudson, &sierra])?;
    vpc.publish(&internet, 2, &[&walden])?;
    ec2.route(&[&walden], 2)?;
    vpc.route(&[&hudson, &sierra], 1)?;

    let stranger = namespace("stranger", families)?;
    internet.veth("port-99", &stranger, UPLINK)?;
    internet.ip("link set port-99 master public")?;
    let stranger = on_the_internet(stranger, families, 99)?;
    stranger.netns.ip_batch(&routes(&[&walden], 2, UPLINK))?;
    Ok(Demo { internet, ec2, vpc, hudson, sierra, walden, stranger })
}

/// Two hosts on one network, a stranger beside them and another behind the router.
#[derive(Clone, Debug)]
pub struct Pair {
    pub lan: Lan,
    /// Host number 10.
    pub left: Site,
    /// Host number 11.
    pub right: Site,
    /// Host number 66: on the same network, but no member.
    pub neighbour: Site,
    /// Host number 99 of the public network, reached through the router without translation.
    pub stranger: Site,
}

/// Builds [`Pair`].
pub fn pair(families: impl AsRef<[Family]>) -> Result<Pair> {
    let lan = Lan::new("ec2", families)?;
    let left = lan.attach("left", 10)?;
    let right = lan.attach("right", 11)?;
    let neighbour = lan.attach("neighbour", 66)?;
    let stranger = outsider(&lan, "stranger", 99)?;
    Ok(Pair { lan, left, right, neighbour, stranger })
}

/// A namespace with the addresses of host number `last` in the public network, behind the router, on a link of its own
/// (`out-LAST` of the router).
pub fn outsider(lan: &Lan, label: &str, last: u8) -> Result<Site> {
    let netns = namespace(label, &lan.families)?;
    let port = format!("out-{last}");
    lan.router.veth(&port, &netns, UPLINK)?;
    let mut lines = String::new();
    for family in &lan.families {
        lines += &addr_add(INTERNET.host(*family, 1), family.bits(), &port);
        lines += &format!("route add {} dev {port}\n", INTERNET.host(*family, last));
    }
    lan.router.ip_batch(&lines)?;
    on_the_internet(netns, &lan.families, last)
}

/// Makes `netns` host number `last` of the public network, with host number 1 as its gateway.
fn on_the_internet(netns: Netns, families: &[Family], last: u8) -> Result<Site> {
    let mut lines = String::new();
    for family in families {
        lines += &INTERNET.addr_add(*family, last, UPLINK);
        let gateway = INTERNET.host(*family, 1);
        lines += &format!("route add default via {gateway} dev {UPLINK}\n");
    }
    netns.ip_batch(&lines)?;
    let own: Vec<IpAddr> = families.iter().map(|family| INTERNET.host(*family, last)).collect();
    Ok(Site { netns, network: "public", private: own.clone(), public: own })
}
