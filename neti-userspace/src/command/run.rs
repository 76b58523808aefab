//! `neti run`: the daemon.
//!
//! The order is: look at everything, take the locks, take the address, fill the maps, attach,
//! route, announce. Each step needs those before it, and the host sends to overlay addresses only
//! when the programs are there to translate them. If a first start fails, everything it made is
//! removed again; if a restart fails, the dataplane that was there goes on.

pub mod host;

use std::{sync::Arc, time::SystemTime};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use rtnetlink::Handle;
use tokio::sync::watch;

use super::{down::teardown, installed};
use crate::{
    addresses::{Addresses, IpFamily, list},
    cli::Run,
    config::Config,
    fleet::FleetSettings,
    loader::{self, Options, attach, permission, pins, pins::Pins},
    membership::Membership,
    notrack,
    registry::{self, Registration, Registry},
    shutdown::Shutdown,
    status::Status,
    store::{Store, kernel::KernelStore},
    sync,
    twins::Twins,
    uplink::{self, Uplink, lock, overlap, overlay, ports},
    view::Me,
};

pub async fn run(args: &Run) -> Result<()> {
    let mut shutdown = Shutdown::install()?;
    let config = Config::load(args.config.path())?;
    let netlink = uplink::netlink()?;
    let uplink = uplink::find(&netlink, &config.uplink).await?;
    let missing = permission::missing();
    if !missing.is_empty() {
        bail!("no permission: this process needs {}", missing.join(", "));
    }
    let _instance = lock::instance(&config.instance)?;
    let _uplink = lock::uplink(&uplink)?;
    pins::mount_bpffs()?;
    let pins = Pins::new(&config.instance);
    attach::check_free(&pins, &uplink)?;

    let restart = pins.exist();
    let started = tokio::select! {
        started = start(args, &config, &netlink, uplink, &pins) => started.map(Some),
        signal = shutdown.requested() => {
            tracing::info!("{signal} while starting");
            Ok(None)
        }
    };
    match started {
        Ok(Some(daemon)) => daemon.serve(shutdown).await,
        ended => {
            if !restart && let Err(error) = teardown(&netlink, &pins).await {
                tracing::error!("undoing the start: {error:#}");
            }
            ended.map(|_| ())
        }
    }
}

/// A daemon whose dataplane is up.
struct Daemon {
    instance: String,
    me: Me,
    membership: watch::Receiver<Arc<Membership>>,
    store: KernelStore,
    twins: Twins,
    registration: Registration,
    status: Status,
}

async fn start(
    args: &Run,
    config: &Config,
    netlink: &Handle,
    uplink: Uplink,
    pins: &Pins,
) -> Result<Daemon> {
    let registry = registry::open(config)?;
    let fleet = registry.fleet().await?;
    host::network(config, &fleet)?;
    overlap::check(netlink, uplink.index, &fleet.overlay).await?;
    if let Err(error) = ports::check(fleet.twin_ports) {
        tracing::warn!("{error:#}");
    }
    let reals = host::reals(config, &uplink)?;
    let (families, missing) = host::families(&uplink, &reals, &fleet)?;
    for family in missing {
        tracing::info!(
            "uplink {}: no global {family} address: this host has no {family} overlay address",
            uplink.name
        );
    }
    let overlays = registry.claim(&config.host, &fleet, &families).await?;
    let membership = registry.watch().await?;
    let me = host::me(config, &uplink, overlays.iter().collect(), reals);

    let xdp = attach::wants_xdp(&uplink, config.attach);
    let mut ebpf = loader::load(pins, Options { trace: args.trace_drops, xdp }).await?;
    let ranges = routed(&fleet, overlays);
    // The fleet may have other ranges than at the last start, and the uplink another family. As in
    // `teardown`, routes go before the programs forget what they are to translate.
    if let Some(mut left) = installed::read(pins) {
        left.addresses.retain(|address| !overlays.contains(*address));
        left.ranges.retain(|range| left.uplink != uplink.index || !ranges.contains(range));
        if !left.addresses.is_empty() {
            tracing::warn!(
                "the overlay addresses {} of the last start are taken back: connections by them end",
                list(&left.addresses)
            );
        }
        overlay::remove(netlink, left.uplink, &left.addresses, &left.ranges).await?;
    }
    let mut store = KernelStore::open(pins)?;
    let mut have = store.read()?;
    let snapshot = membership.borrow().clone();
    let synced = sync::step(&me, &snapshot, &mut have, &mut store)?;

    let tc = attach::available(&uplink);
    let means = attach::attach(&mut ebpf, pins, &uplink, config.attach, tc)?;
    overlay::install(netlink, &uplink, overlays, &ranges).await?;
    match config.notrack {
        true => notrack::install(&config.instance, &ranges)?,
        false => notrack::remove(&config.instance)?,
    }
    let registration = registry.register(&host::record(config, &me)).await?;

    let mut status = host::status(config, &me, &ranges, means);
    status.update(&synced);
    status.write(&config.instance)?;
    tracing::info!(
        "ready: overlay {overlays}, {} by {means}, {} members",
        uplink.name,
        status.members
    );
    // Without a service manager there is nobody to tell.
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!("telling the service manager: {error}");
    }
    Ok(Daemon {
        instance: config.instance.clone(),
        me,
        membership,
        store,
        twins: Twins::open(pins)?,
        registration,
        status,
    })
}

impl Daemon {
    /// Follows the fleet until a signal asks to leave. The dataplane stays.
    async fn serve(self, mut shutdown: Shutdown) -> Result<()> {
        let Self { instance, me, membership, store, twins, registration, status } = self;
        // The sender lives as long as the daemon: synchronising ends when it is gone.
        let (_me, me) = watch::channel(me);
        let (publish, synced) = watch::channel(sync::Status::default());
        let signal = tokio::select! {
            ended = sync::run(me, membership, store, publish) => {
                ended.context("following the fleet")?;
                bail!("the registry's watch ended; start neti again");
            }
            () = write_status(&instance, status, synced) => bail!("the status ended"),
            () = twins.collect() => bail!("the collection of twins ended"),
            signal = shutdown.requested() => signal,
        };
        tracing::info!("{signal}: leaving the fleet; the dataplane stays until `neti down`");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        registration.withdraw().await.context("withdrawing from the fleet")
    }
}

/// Writes the status file whenever synchronising has come to something else.
async fn write_status(
    instance: &str,
    mut status: Status,
    mut synced: watch::Receiver<sync::Status>,
) {
    while synced.changed().await.is_ok() {
        status.update(&synced.borrow_and_update());
        if let Err(error) = status.write(instance) {
            tracing::warn!("{error:#}");
        }
    }
    // The sender is gone with `sync::run`, whose end is the one to report.
    std::future::pending().await
}

/// The overlay ranges of the families in which we have an overlay address.
fn routed(fleet: &FleetSettings, overlays: Addresses) -> Vec<IpNet> {
    let has_one = |range: &&IpNet| overlays.of(IpFamily::of_range(range)).is_some();
    fleet.overlay.iter().filter(has_one).copied().collect()
}

/// Seconds since 1970; 0 on a clock that stands before.
fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map(|since| since.as_secs()).unwrap_or(0)
}
