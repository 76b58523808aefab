//! `neti run`: the daemon.
//!
//! The order is: look at everything, take the locks, take the address, fill the maps, attach,
//! route, announce. Each step needs those before it, and the host sends to overlay addresses only
//! when the programs are there to translate them. If a first start fails, everything it made is
//! removed again; if a restart fails, the dataplane that was there goes on.

mod following;
pub mod host;
mod join;
mod reports;

use std::{cell::OnceCell, time::Duration};

use anyhow::{Context, Result, bail};
use following::{Following, follow};
use join::{Joined, Seeker};
use reports::Reports;
use rtnetlink::Handle;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{down::teardown, installed};
use crate::{
    addresses::list,
    cli::Run,
    config::Config,
    interfaces::Interfaces,
    loader::{self, Options, attach, permission, pins, pins::Pins, room},
    membership::MemberRecord,
    mixed::Mixed,
    notrack,
    registry::{self, Backend, Registration, Registry},
    reverse::Routes,
    saved,
    shutdown::Shutdown,
    status::{Status, names},
    store::kernel::KernelStore,
    sync::{self, Follower},
    tracked,
    twins::Twins,
    uplink::{self, Uplink, lock, overlay},
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
        started = start(args, config, &netlink, uplink, &pins) => started.map(Some),
        never = patience() => match never {},
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
    config: Config,
    registry: Backend,
    me: Me,
    joined: Joined,
    follower: Follower<KernelStore>,
    /// What its first step came to.
    synced: sync::Status,
    twins: Twins,
    mixed: Mixed,
    interfaces: Interfaces,
    routes: Routes,
    /// `None`: it is still to be announced.
    registration: Option<Registration>,
    status: Status,
}

async fn start(
    args: &Run,
    config: Config,
    netlink: &Handle,
    uplink: Uplink,
    pins: &Pins,
) -> Result<Daemon> {
    let registry = registry::open(&config)?;
    let reals = host::reals(&config, &uplink)?;
    let seeker = Seeker {
        config: &config,
        registry: &registry,
        netlink,
        uplink: &uplink,
        pins,
        reals: &reals,
    };
    let joined = join::join(&seeker).await?;
    let Joined { overlays, ref ranges, .. } = joined;
    let endpoints = host::endpoints(&config).await;
    // What changes while they are read is told of.
    let mut routes = Routes::subscribe(uplink.index)?;
    let reverse = routes.read().await?;
    let me = host::me(&config, &uplink, overlays.iter().collect(), reals, endpoints);
    let me = Me { reverse, ..me };

    let first = !pins.maps().exists();
    if let Some(snapshot) = &joined.snapshot {
        room::provide(pins, &snapshot.members)?;
    }
    let xdp = attach::wants_xdp(&uplink, config.attach);
    let mut ebpf = loader::load(pins, Options { trace: args.trace_drops, xdp }).await?;
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
    let mut follower = Follower::new(KernelStore::open(pins)?);
    let synced = match &joined.snapshot {
        Some(snapshot) => follower.step(&me, snapshot)?,
        None => sync::Status { stale: joined.stale.clone(), ..follower.adopt(&me)? },
    };

    if first {
        remember(pins.clone()).await;
    }
    let tc = attach::available(&uplink);
    let means = attach::attach(&mut ebpf, pins, &uplink, config.attach, tc)?;
    let guard = attach::Guard::new(ebpf, pins.clone(), tc);
    let interfaces = Interfaces::guard(guard, uplink.index).await?;
    overlay::install(netlink, &uplink, overlays, ranges).await?;
    match config.notrack {
        true => notrack::install(&config.instance, ranges)?,
        false => notrack::remove(&config.instance)?,
    }
    let registration = match &joined.watch {
        Some(_) => announce(&registry, &host::record(&config, &me)).await?,
        None => None,
    };

    let mut status = host::status(&config, &me, ranges, means);
    status.update(&synced, &interfaces.problems());
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
    let twins = Twins::open(pins)?;
    let mixed = Mixed::open(pins)?;
    Ok(Daemon {
        config,
        registry,
        me,
        joined,
        follower,
        synced,
        twins,
        mixed,
        interfaces,
        routes,
        registration,
        status,
    })
}

/// Keeps hints of what is older than the maps. Without them all else works.
async fn remember(pins: Pins) {
    let kept = tokio::task::spawn_blocking(move || tracked::remember(&pins)).await;
    match kept.map_err(anyhow::Error::from).flatten() {
        Ok(0) => {}
        Ok(kept) => tracing::info!("{kept} flows that the kernel tracks go on"),
        Err(error) => tracing::warn!("connections of containers may end: {error:#}"),
    }
}

/// Announces `record`; an outage puts it off.
async fn announce(registry: &Backend, record: &MemberRecord) -> Result<Option<Registration>> {
    match registry.register(record).await {
        Ok(registration) => Ok(Some(registration)),
        Err(error) if error.is_outage() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Asks the service manager for patience as long as the start goes on: the registry may be away for
/// longer than a start usually takes.
async fn patience() -> std::convert::Infallible {
    const PERIOD: Duration = Duration::from_secs(10);
    loop {
        let more = sd_notify::NotifyState::ExtendTimeoutUsec(3 * PERIOD.as_micros() as u32);
        // Without a service manager there is nobody to ask.
        let _ = sd_notify::notify(&[more]);
        sleep(PERIOD).await;
    }
}

impl Daemon {
    /// Follows the fleet until a signal asks to leave. The dataplane stays.
    async fn serve(self, mut shutdown: Shutdown) -> Result<()> {
        let Self { config, registry, me, joined, follower, synced, registration, .. } = self;
        let instance = &config.instance;
        let record = host::record(&config, &me);
        let (ourselves, me) = watch::channel(me);
        let (tell_unguarded, unguarded) = watch::channel(self.interfaces.problems());
        let (publish, synced) = watch::channel(synced);
        let names = tokio::spawn(names::follow(instance.clone(), synced.clone()));
        let (snapshots, membership) = watch::channel(joined.snapshot);
        let (tell, trouble) = watch::channel(None);
        let registered = OnceCell::new();
        if let Some(registration) = registration {
            let _ = registered.set(registration);
        }
        let following = Following {
            config: &config,
            registry: &registry,
            overlays: joined.overlays,
            watch: joined.watch,
            guard: joined.guard,
            record,
            registration: &registered,
        };
        let reports = Reports { synced, unguarded, trouble };
        let state = saved::keep(join::owner(&config), joined.overlays, membership.clone());
        let signal = tokio::select! {
            ended = sync::run(follower, me, membership, publish) => {
                ended.context("following the fleet")?;
                bail!("following the fleet ended");
            }
            ended = follow(following, &snapshots, &tell) => {
                ended?;
                bail!("following the registry ended");
            }
            () = state => bail!("the state file ended"),
            ended = self.interfaces.follow(&tell_unguarded) => {
                ended.context("guarding interfaces")?;
                bail!("guarding interfaces ended");
            }
            ended = self.routes.follow(&ourselves) => {
                ended.context("following the routes")?;
                bail!("following the routes ended");
            }
            () = reports.write(instance, self.status) => bail!("the status ended"),
            () = self.twins.collect() => bail!("the collection of twins ended"),
            () = self.mixed.watch() => bail!("the look at sockets of mixed forms ended"),
            signal = shutdown.requested() => signal,
        };
        tracing::info!("{signal}: leaving the fleet; the dataplane stays until `neti down`");
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        // It ends with what it follows.
        names.await.context("writing the names")?;
        let Some(registration) = registered.into_inner() else { return Ok(()) };
        // That the registry is away is no failure of ours: the record ends by itself.
        match timeout(WITHDRAWAL, registration.withdraw()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("our record is left to expire: {error:#}"),
            Err(_) => tracing::warn!("our record is left to expire: the registry does not answer"),
        }
        Ok(())
    }
}

/// How long leaving the fleet may take.
const WITHDRAWAL: Duration = Duration::from_secs(5);
