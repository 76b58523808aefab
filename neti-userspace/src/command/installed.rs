//! What an instance has put into the network configuration.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use neti_common::{
    family::Family,
    maps::{Prefix, Settings},
};

use crate::{loader::pins::Pins, status, store::kernel::KernelStore};

/// Addresses on `lo`, and ranges that are routed out of the interface `uplink`.
#[derive(Debug, Default)]
pub struct Installed {
    pub uplink: u32,
    pub addresses: BTreeSet<IpAddr>,
    pub ranges: BTreeSet<IpNet>,
}

/// As the settings maps and the daemon's last status have it, for either may lack something: the
/// maps follow the fleet, while the status has the ranges that were routed when the daemon started;
/// and the bpf file system may have gone without the rest (it was mounted in a mount namespace that
/// has ended). `None` where nothing was installed.
pub fn read(pins: &Pins) -> Option<Installed> {
    let mut installed = None;
    let status = status::read(pins.instance()).unwrap_or_else(|error| {
        tracing::warn!("{error:#}");
        None
    });
    if let Some(status) = status {
        let installed = installed.get_or_insert_with(Installed::default);
        installed.uplink = status.uplink_index;
        installed.addresses.extend(status.overlays);
        installed.ranges.extend(status.routed);
    }
    let settings = KernelStore::open(pins).and_then(|store| store.settings());
    if let Ok((v4, v6)) = settings
        && v4.valid == 1
    {
        let installed = installed.get_or_insert_with(Installed::default);
        installed.uplink = v4.uplink;
        installed.addresses.extend(addresses(&v4).chain(addresses(&v6)));
        installed.ranges.extend(ranges(&v4).chain(ranges(&v6)));
    }
    installed
}

/// Our overlay addresses.
fn addresses<F: Family>(settings: &Settings<F>) -> impl Iterator<Item = IpAddr> {
    settings.overlays.iter().filter(|address| **address != F::UNSPECIFIED).map(F::to_ip)
}

/// The fleet's overlay ranges.
pub fn ranges<F: Family>(settings: &Settings<F>) -> impl Iterator<Item = IpNet> {
    let used = settings.ranges.iter().filter(|range| **range != Prefix::NONE);
    used.filter_map(|range| {
        IpNet::with_netmask(F::to_ip(&range.network), F::to_ip(&range.mask)).ok()
    })
}

#[cfg(test)]
mod tests {
    use neti_common::family::{V4, V6};

    use super::*;

    #[test]
    fn reads_back_what_is_installed() {
        fn check<F: Family>(address: &str, range: &str) {
            let mut settings = Settings::<F>::UNSET;
            assert_eq!((addresses(&settings).count(), ranges(&settings).count()), (0, 0));
            let (address, range): (IpAddr, IpNet) =
                (address.parse().unwrap(), range.parse().unwrap());
            settings.overlays[0] = F::of(address).unwrap();
            let mask = F::mask(range.prefix_len().into());
            settings.ranges[0] = Prefix { network: F::of(range.network()).unwrap(), mask };
            assert_eq!(addresses(&settings).collect::<Vec<_>>(), [address]);
            assert_eq!(ranges(&settings).collect::<Vec<_>>(), [range]);
        }
        check::<V4>("100.64.3.7", "100.64.0.0/16");
        check::<V6>("fd64::7", "fd64::/64");
    }
}
