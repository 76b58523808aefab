//! `neti down`: removes everything an instance made, and nothing else.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net};
use neti_common::{
    family::{Family, V4},
    maps::{Prefix, Settings},
};
use rtnetlink::Handle;

use crate::{
    cli::Down,
    config::Config,
    loader::{attach, pins::Pins},
    notrack, status,
    store::kernel::KernelStore,
    uplink::{self, lock, overlay},
};

pub async fn run(args: &Down) -> Result<()> {
    let instance = match (&args.instance.instance, &args.config) {
        (Some(instance), _) => instance.clone(),
        (None, Some(file)) => Config::load(file)?.instance,
        (None, None) => args.instance.name().to_owned(),
    };
    let _lock = lock::instance(&instance).context("end the daemon first")?;
    teardown(&uplink::netlink()?, &Pins::new(&instance)).await
}

/// Removes everything of the instance. The settings map tells what there is, so it goes last, and a
/// teardown that failed half-way can be repeated.
///
/// The routes go first: without them nothing is sent to an overlay address any more, and the
/// programs can go without an overlay address getting onto the wire.
pub async fn teardown(netlink: &Handle, pins: &Pins) -> Result<()> {
    if let Some(Installed { uplink, addresses, ranges }) = installed(pins)? {
        overlay::remove(netlink, uplink, &addresses, &ranges).await?;
        attach::remove_clsact(netlink, pins, uplink).await?;
    }
    notrack::remove(pins.instance())?;
    pins.remove()?;
    status::remove(pins.instance())
}

/// What an instance has put into the network configuration.
struct Installed {
    uplink: u32,
    addresses: Vec<IpAddr>,
    ranges: Vec<IpNet>,
}

/// As the settings map has it, or, if the bpf file system went without the rest (it was mounted in a
/// mount namespace that has ended), the daemon's last status; `None` where nothing was installed.
fn installed(pins: &Pins) -> Result<Option<Installed>> {
    let settings = KernelStore::open(pins).and_then(|store| store.settings());
    if let Ok(settings) = settings
        && settings.valid == 1
    {
        return Ok(Some(Installed {
            uplink: settings.uplink,
            addresses: addresses(&settings),
            ranges: ranges(&settings),
        }));
    }
    Ok(status::read(pins.instance())?.map(|status| Installed {
        uplink: status.uplink_index,
        addresses: vec![status.overlay.into()],
        ranges: status.routed,
    }))
}

fn addresses(settings: &Settings<V4>) -> Vec<IpAddr> {
    let used = settings.overlays.iter().filter(|address| **address != V4::UNSPECIFIED);
    used.map(|address| Ipv4Addr::from(*address).into()).collect()
}

fn ranges(settings: &Settings<V4>) -> Vec<IpNet> {
    let used = settings.ranges.iter().filter(|range| **range != Prefix::NONE);
    used.filter_map(|range| {
        let (network, mask) = (Ipv4Addr::from(range.network), Ipv4Addr::from(range.mask));
        Some(IpNet::V4(Ipv4Net::with_netmask(network, mask).ok()?))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_is_installed() {
        let mut settings = Settings::<V4>::UNSET;
        assert!(addresses(&settings).is_empty() && ranges(&settings).is_empty());
        settings.overlays[0] = [100, 64, 3, 7];
        settings.ranges[0] = Prefix { network: [100, 64, 0, 0], mask: V4::mask(16) };
        assert_eq!(addresses(&settings), ["100.64.3.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(ranges(&settings), ["100.64.0.0/16".parse::<IpNet>().unwrap()]);
    }
}
