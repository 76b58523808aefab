//! What an instance has put into the network configuration, as its settings maps tell.

use std::net::IpAddr;

use ipnet::IpNet;
use neti_common::{
    family::Family,
    maps::{Prefix, Settings},
};

/// Our overlay addresses.
pub fn addresses<F: Family>(settings: &Settings<F>) -> impl Iterator<Item = IpAddr> {
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
