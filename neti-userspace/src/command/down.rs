//! `neti down`: removes everything an instance made, and nothing else.

use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnet::IpNet;
use rtnetlink::Handle;

use super::installed;
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

/// Removes everything of the instance. The settings maps tell what there is, so they go last, and a
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

/// As the settings maps have it, or, if the bpf file system went without the rest (it was mounted in
/// a mount namespace that has ended), the daemon's last status; `None` where nothing was installed.
fn installed(pins: &Pins) -> Result<Option<Installed>> {
    let settings = KernelStore::open(pins).and_then(|store| store.settings());
    if let Ok((v4, v6)) = settings
        && v4.valid == 1
    {
        return Ok(Some(Installed {
            uplink: v4.uplink,
            addresses: installed::addresses(&v4).chain(installed::addresses(&v6)).collect(),
            ranges: installed::ranges(&v4).chain(installed::ranges(&v6)).collect(),
        }));
    }
    Ok(status::read(pins.instance())?.map(|status| Installed {
        uplink: status.uplink_index,
        addresses: status.overlays,
        ranges: status.routed,
    }))
}
