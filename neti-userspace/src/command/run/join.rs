//! Joining the fleet: what a host must know of it before its dataplane can come up. The registry
//! tells it; while that cannot be reached, what is left of last time does: the maps that are still
//! pinned, or after a reboot the state file.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use rtnetlink::Handle;
use tokio::sync::watch;

use super::{super::installed, host};
use crate::{
    addresses::{Addresses, IpFamily, list},
    config::Config,
    fleet::FleetSettings,
    guard::Guard,
    loader::pins::Pins,
    membership::{Members, Membership, Stale},
    registry::{self, Backend, Registry, RegistryError, retry},
    saved::{self, Owner, Saved},
    store::kernel::KernelStore,
    uplink::{Uplink, overlap, ports},
};

/// This host, and where it looks.
pub struct Seeker<'a> {
    pub config: &'a Config,
    pub registry: &'a Backend,
    pub netlink: &'a Handle,
    pub uplink: &'a Uplink,
    pub pins: &'a Pins,
    /// Our addresses on the uplink.
    pub reals: &'a [IpAddr],
}

/// What a host knows when its dataplane comes up.
pub struct Joined {
    pub overlays: Addresses,
    /// The overlay ranges of the families in which we have an overlay address.
    pub ranges: Vec<IpNet>,
    /// The fleet; `None` where only the pinned maps know it.
    pub snapshot: Option<Arc<Membership>>,
    /// Follows the registry; `None` if it has not been reached yet.
    pub watch: Option<watch::Receiver<Arc<Membership>>>,
    pub guard: Guard,
    /// Why nothing of this comes from the registry.
    pub stale: Option<Stale>,
}

/// Asks the registry. Where nobody answers, it goes on with what is left of last time, or asks until
/// somebody does if nothing is.
///
/// # Errors
/// If the registry answers and this host cannot join.
pub async fn join(seeker: &Seeker<'_>) -> Result<Joined> {
    let saved = saved::read(&owner(seeker.config)).unwrap_or_else(|error| {
        tracing::warn!("{error:#}; it is not used");
        None
    });
    if !is_left(seeker, saved.as_ref()) {
        let asked = retry::until_reached(|| ask(seeker)).await?;
        return Ok(asked.guarded(seeker, None));
    }
    match ask(seeker).await {
        Ok(asked) => Ok(asked.guarded(seeker, saved)),
        Err(error) if error.is_outage() => from_last_time(seeker, saved, &error).await,
        Err(error) => Err(error.into()),
    }
}

/// Whose state this host's is.
pub fn owner(config: &Config) -> Owner {
    Owner {
        instance: config.instance.clone(),
        host: config.host.clone(),
        fleet: config.registry.tree(),
    }
}

/// What the registry tells.
struct Asked {
    overlays: Addresses,
    watch: watch::Receiver<Arc<Membership>>,
}

async fn ask(seeker: &Seeker<'_>) -> registry::Result<Asked> {
    let Seeker { config, registry, .. } = seeker;
    let fleet = registry.fleet().await?;
    let families = check(seeker, &fleet).await?;
    let overlays = registry.claim(&config.host, &fleet, &families).await?;
    let begun = Instant::now();
    let watch = registry.watch().await?;
    let took_ms = begun.elapsed().as_millis();
    tracing::info!(members = watch.borrow().members.len(), took_ms, "registry read");
    Ok(Asked { overlays, watch })
}

/// Sees to it that we fit into the fleet, and says in which families.
async fn check(seeker: &Seeker<'_>, fleet: &FleetSettings) -> Result<Vec<IpFamily>> {
    let Seeker { config, netlink, uplink, reals, .. } = seeker;
    host::network(config, fleet)?;
    overlap::check(netlink, uplink.index, &fleet.overlay).await?;
    if let Err(error) = ports::check(fleet.twin_ports) {
        tracing::warn!("{error:#}");
    }
    let (families, missing) = host::families(uplink, reals, fleet)?;
    for family in missing {
        tracing::info!(
            "uplink {}: no global {family} address: this host has no {family} overlay address",
            uplink.name
        );
    }
    Ok(families)
}

impl Asked {
    /// While a dataplane of ours is there, flows go through it, and a mass removal since it was last
    /// in step with the registry is as suspect as one before our eyes.
    fn guarded(self, seeker: &Seeker<'_>, saved: Option<Saved>) -> Joined {
        let Self { overlays, watch } = self;
        let before = saved.filter(|_| seeker.pins.exist()).map(|saved| saved.membership);
        let now = Instant::now();
        let mut guard = guard(seeker, before.as_ref());
        if before.is_some() {
            // The registry may have come back just before us.
            guard = guard.settling(now);
        }
        let snapshot = guard.pass(&watch.borrow(), now);
        Joined {
            overlays,
            ranges: routed(&snapshot.fleet, overlays),
            snapshot: Some(snapshot),
            watch: Some(watch),
            guard,
            stale: None,
        }
    }
}

fn guard(seeker: &Seeker<'_>, before: Option<&Membership>) -> Guard {
    let members = before.map_or_else(Members::new, |before| before.members.clone());
    let confirmed = before.and_then(|before| before.confirmed.as_ref());
    let confirmed = confirmed.map(|confirmed| confirmed.id.clone());
    Guard::new(seeker.config.host.clone(), members, confirmed)
}

/// Whether anything is left of last time.
fn is_left(seeker: &Seeker<'_>, saved: Option<&Saved>) -> bool {
    saved.is_some() || pinned(seeker).is_some()
}

/// The addresses and ranges of a dataplane that still stands, with maps of this layout that hold
/// something: others could not be gone on with.
fn pinned(seeker: &Seeker<'_>) -> Option<(Addresses, Vec<IpNet>)> {
    let (settings, _) = KernelStore::open(seeker.pins).ok()?.settings().ok()?;
    if settings.valid != 1 {
        return None;
    }
    let installed = installed::read(seeker.pins)?;
    let overlays = Addresses::collect(installed.addresses).ok()?;
    (!overlays.is_empty()).then(|| (overlays, installed.ranges.into_iter().collect()))
}

async fn from_last_time(
    seeker: &Seeker<'_>,
    saved: Option<Saved>,
    error: &RegistryError,
) -> Result<Joined> {
    let since = SystemTime::now();
    // The maps may know of changes that the state file had no time for.
    if let Some((overlays, ranges)) = pinned(seeker) {
        let why = format!("{error}; this host goes on with its pinned maps, as they are");
        tracing::warn!("{why}");
        let stale = Some(Stale { since, why });
        let guard = guard(seeker, saved.as_ref().map(|saved| &saved.membership));
        return Ok(Joined { overlays, ranges, snapshot: None, watch: None, guard, stale });
    }
    let Saved { overlays, membership, at } = saved.context("nothing is left of last time")?;
    let families = check(seeker, &membership.fleet).await?;
    let carried = overlays.iter().filter(|one| families.contains(&IpFamily::of(*one)));
    let overlays = Addresses::collect(carried)?;
    if overlays.is_empty() {
        bail!(
            "{error}; the state file has overlay addresses of other families than uplink {} has \
             real ones",
            seeker.uplink.name
        );
    }
    let age = at.elapsed().unwrap_or_default().as_secs();
    let why = format!("{error}; this host goes on with its state file, written {age} s ago");
    tracing::warn!("{why}");
    let stale = Some(Stale { since, why });
    let guard = guard(seeker, Some(&membership));
    let snapshot = Membership { stale: stale.clone(), ..membership };
    Ok(Joined {
        overlays,
        ranges: routed(&snapshot.fleet, overlays),
        snapshot: Some(Arc::new(snapshot)),
        watch: None,
        guard,
        stale,
    })
}

/// Waits until the registry can be reached by a host that came up without it, and follows it.
///
/// # Errors
/// If the host has another overlay address there than it has taken.
pub async fn late(
    config: &Config,
    registry: &Backend,
    overlays: Addresses,
) -> Result<watch::Receiver<Arc<Membership>>> {
    let ask = async || {
        let fleet = registry.fleet().await?;
        let families: Vec<_> = overlays.iter().map(IpFamily::of).collect();
        let claimed = registry.claim(&config.host, &fleet, &families).await?;
        Ok((claimed, registry.watch().await?))
    };
    let (claimed, watch) = retry::until_done(ask).await;
    if claimed != overlays {
        bail!(
            "the registry gives this host {}, and not {}, by which it goes on; start neti again",
            list(claimed.iter()),
            list(overlays.iter()),
        );
    }
    Ok(watch)
}

/// The overlay ranges of the families in which we have an overlay address.
fn routed(fleet: &FleetSettings, overlays: Addresses) -> Vec<IpNet> {
    let has_one = |range: &&IpNet| overlays.of(IpFamily::of_range(range)).is_some();
    fleet.overlay.iter().filter(has_one).copied().collect()
}
