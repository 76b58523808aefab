//! tc programs before kernel 6.6: filters of the clsact qdisc. A filter outlives its process without
//! a pin, so its handle tells that it is ours.

use std::{fs, io, path::PathBuf};

use anyhow::{Context, Result};
use aya::programs::{
    Link, SchedClassifier, TcAttachType,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
};
use futures_util::TryStreamExt;
use neti_common::verdict::Hook;
use nix::net::if_::{if_indextoname, if_nameindex};
use rtnetlink::Handle;

use super::{Pins, program_name};
use crate::status;

/// "neti" as a handle; one for all instances, for an uplink has one neti.
const HANDLE: TcHandle = TcHandle::new(0x6e65, 0x7469);
/// Priorities run upwards: first at ingress, last at egress.
const FIRST: u16 = 1;
const LAST: u16 = 0xfffe;

/// Where a filter stands, and by what it is known.
#[derive(Debug, Clone, Copy)]
struct Filter {
    kind: TcAttachType,
    priority: u16,
    handle: TcHandle,
}

/// Attaches `program` to an interface, or swaps it for the one that is there.
pub fn attach(
    program: &mut SchedClassifier,
    pins: &Pins,
    index: u32,
    name: &str,
    hook: Hook,
) -> Result<()> {
    match tc::qdisc_add_clsact(name) {
        // Remembered, so that `neti down` does not remove somebody else's.
        Ok(()) => mark_added(pins, index)?,
        Err(TcError::AlreadyAttached) => {}
        // EEXIST: the qdisc is there.
        Err(error) => tracing::debug!("adding clsact to {name}: {error}"),
    }
    let Filter { kind, priority, handle } = filter(pins, hook);
    let ours = SchedClassifierLink::attached(name, kind, priority, handle, None)?;
    let id = match program.attach_to_link(ours) {
        Ok(id) => id,
        Err(_) => {
            let options = NlOptions { priority, handle, classid: None };
            program.attach_with_options(name, kind, TcAttachOptions::Netlink(options))?
        }
    };
    // Dropped, the link would detach the filter, which must outlive this process.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// Removes the filters from all interfaces and, where this instance added it and nobody else uses it,
/// the qdisc. Idempotent. An interface that is gone took its filters with it.
pub async fn remove(netlink: &Handle, pins: &Pins, uplink: u32) -> Result<()> {
    for interface in if_nameindex().context("listing interfaces")?.iter() {
        let (index, name) = (interface.index(), interface.name().to_string_lossy());
        let removed = remove_from(netlink, pins, index, &name, index == uplink).await;
        if removed.is_err() && if_indextoname(index).is_ok() {
            return removed;
        }
    }
    Ok(())
}

async fn remove_from(
    netlink: &Handle,
    pins: &Pins,
    index: u32,
    name: &str,
    is_uplink: bool,
) -> Result<()> {
    let hooks: &[Hook] =
        if is_uplink { &[Hook::Ingress, Hook::Egress, Hook::Guard] } else { &[Hook::Guard] };
    for &hook in hooks {
        let filter = filter(pins, hook);
        if filters(netlink, index, filter.kind).await.contains(&u32::from(filter.handle)) {
            detach(name, filter)
                .with_context(|| format!("detaching {} from {name}", program_name(hook)))?;
        }
    }
    if mark(pins, index).exists() {
        remove_qdisc(netlink, index)
            .await
            .with_context(|| format!("removing clsact from {name}"))?;
        forget(pins, index)?;
    }
    Ok(())
}

/// Detaches the guard from an interface on which it may stand.
pub fn detach_guard(pins: &Pins, name: &str) {
    if let Err(error) = detach(name, filter(pins, Hook::Guard)) {
        tracing::debug!("detaching the guard from {name}: {error:#}");
    }
}

fn detach(name: &str, filter: Filter) -> Result<()> {
    let Filter { kind, priority, handle } = filter;
    Ok(SchedClassifierLink::attached(name, kind, priority, handle, None)?.detach()?)
}

/// Forgets what was added to an interface that has taken it along.
pub fn forget(pins: &Pins, index: u32) -> Result<()> {
    let mark = mark(pins, index);
    match fs::remove_file(&mark) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", mark.display()))
        }
        _ => Ok(()),
    }
}

/// Removes the qdisc unless it has filters of somebody else.
async fn remove_qdisc(netlink: &Handle, index: u32) -> Result<()> {
    for kind in [TcAttachType::Ingress, TcAttachType::Egress] {
        if !filters(netlink, index, kind).await.is_empty() {
            return Ok(());
        }
    }
    let mut request = netlink.qdisc().del(index as i32);
    let header = &mut request.message_mut().header;
    // TC_H_CLSACT is TC_H_INGRESS.
    header.parent = rtnetlink::packet_route::tc::TcHandle::INGRESS;
    Ok(request.execute().await?)
}

/// The handles of the filters at a hook; none where there is no clsact qdisc.
async fn filters(netlink: &Handle, index: u32, kind: TcAttachType) -> Vec<u32> {
    let mut handle = netlink.traffic_filter(index as i32);
    let request = match kind {
        TcAttachType::Egress => handle.get().egress(),
        _ => handle.get().ingress(),
    };
    let messages: Vec<_> = request.execute().try_collect().await.unwrap_or_default();
    // A filter's priority is listed once more without a handle, as the head of its chain.
    let handles = messages.iter().map(|message| u32::from(message.header.handle));
    handles.filter(|handle| *handle != 0).collect()
}

fn filter(pins: &Pins, hook: Hook) -> Filter {
    match hook {
        Hook::Egress => Filter { kind: TcAttachType::Egress, priority: LAST, handle: HANDLE },
        Hook::Guard => {
            let handle = guard_handle(pins.instance()).into();
            Filter { kind: TcAttachType::Ingress, priority: FIRST, handle }
        }
        _ => Filter { kind: TcAttachType::Ingress, priority: FIRST, handle: HANDLE },
    }
}

/// An interface has a guard of every instance beside whose uplink it is: FNV-1a of the instance's name.
fn guard_handle(instance: &str) -> u32 {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    // 0 is no handle.
    instance.bytes().fold(0x811c_9dc5, step).max(1)
}

fn mark(pins: &Pins, index: u32) -> PathBuf {
    status::directory(pins.instance()).join(format!("clsact-{index}"))
}

fn mark_added(pins: &Pins, index: u32) -> Result<()> {
    let directory = status::directory(pins.instance());
    fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
    let mark = mark(pins, index);
    fs::write(&mark, "").with_context(|| format!("writing {}", mark.display()))
}
