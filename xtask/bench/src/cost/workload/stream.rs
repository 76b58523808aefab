//! TCP streams over links of one MTU or another.

use anyhow::Result;
use harness::topology::UPLINK;

use crate::{
    cost::lab::{LEFT, RIGHT, Way},
    iperf::Streams,
};

/// The MTU that links have.
pub const USUAL: u32 = 1500;
/// That of jumbo frames.
pub const LARGE: u32 = 9000;

/// Gbit/s that arrive by so many streams at once.
pub fn measure(way: &Way, number: u32, mtu: u32, seconds: u32) -> Result<Vec<f64>> {
    let Way { client, server, address, .. } = way;
    let streams = Streams { client, server, to: *address, number, seconds };
    let rate = if mtu == USUAL {
        streams.rate()?
    } else {
        let _links = Links::with(way, mtu)?;
        streams.rate()?
    };
    Ok(vec![rate])
}

/// Both hosts' links, with another MTU until dropped.
struct Links<'a>(&'a Way);

impl<'a> Links<'a> {
    fn with(way: &'a Way, mtu: u32) -> Result<Self> {
        let links = Self(way);
        links.set(mtu)?;
        Ok(links)
    }

    /// On both ends of each.
    fn set(&self, mtu: u32) -> Result<()> {
        let Way { client, server, lan, .. } = self.0;
        let set = |link| format!("link set {link} mtu {mtu}\n");
        let ports = [LEFT, RIGHT].map(|last| set(format!("port-{last}")));
        lan.router.ip_batch(&ports.concat())?;
        [client, server].into_iter().try_for_each(|host| host.ip_batch(&set(UPLINK.to_owned())))
    }
}

impl Drop for Links<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.set(USUAL) {
            eprintln!("bench: the MTU of {}'s links is not put back: {error:#}", self.0.name);
        }
    }
}
