//! `neti down`: removes everything an instance made, and nothing else.

use anyhow::{Context, Result};
use rtnetlink::Handle;

use super::installed::{self, Installed};
use crate::{
    cli::Down,
    config::Config,
    loader::{attach, pins::Pins},
    notrack, saved, status,
    uplink::{self, lock, overlay},
};

pub async fn run(args: &Down) -> Result<()> {
    let instance = match (&args.instance.instance, &args.config) {
        (Some(instance), _) => instance.clone(),
        (None, Some(file)) => Config::load(file)?.instance,
        (None, None) => args.instance.name().to_owned(),
    };
    let _lock = lock::instance(&instance).context("end the daemon first")?;
    teardown(&uplink::netlink()?, &Pins::new(&instance)).await?;
    saved::remove(&instance)
}

/// Removes everything of the instance but its state file, which a start that failed still needs. The
/// settings maps tell what there is, so they go last, and a
/// teardown that failed half-way can be repeated.
///
/// The routes go first: without them nothing is sent to an overlay address any more, and the
/// programs can go without an overlay address getting onto the wire.
pub async fn teardown(netlink: &Handle, pins: &Pins) -> Result<()> {
    if let Some(Installed { uplink, addresses, ranges }) = installed::read(pins) {
        overlay::remove(netlink, uplink, &addresses, &ranges).await?;
        attach::remove_clsact(netlink, pins, uplink).await?;
    }
    notrack::remove(pins.instance())?;
    pins.remove()?;
    status::remove(pins.instance())
}
